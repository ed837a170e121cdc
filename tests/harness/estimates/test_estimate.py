"""Statistics against cases worked by hand and against scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories.records import CONFIGURATION, SESSIONS, SLICES, make_session, make_slice
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from harness.estimates.clean_runs import SETTLING_RUNS, clean_slices, contention
from harness.estimates.estimate import (
    RatioEstimate,
    combined_interval,
    estimate,
    half_width,
    session_ratios,
    wall_time,
)
from harness.measurement.plan import FINAL, QUICK, SCREEN
from harness.records import SessionRecord, SettledRuns, Slice

MS = 1_000_000


def interval_of(result: RatioEstimate) -> tuple[float, float]:
    assert result.interval is not None
    return result.interval


def session_of(ratios: list[float] | np.ndarray, reference_ns: int = 10_000_000) -> SessionRecord:
    """Return a session whose slices have these ratios."""
    return make_session(
        [make_slice([round(r * reference_ns)] * 5, [reference_ns] * 2, [reference_ns] * 2) for r in ratios]
    )


def test_session_ratios_keep_the_order() -> None:
    assert session_ratios(session_of([3.0, 1.0, 2.0])) == (3.0, 1.0, 2.0)


def test_the_estimate_is_the_median_of_session_medians() -> None:
    sessions = [session_of([1.0, 1.1, 9.0]), session_of([1.3, 1.3, 1.3]), session_of([1.2, 1.2, 5.0, 0.9])]
    result = estimate(sessions)
    assert result.ratio == pytest.approx(1.2)
    assert (result.sessions, result.slices) == (3, 10)
    low, high = interval_of(result)
    assert low <= result.ratio <= high


def test_fewer_than_six_slices_carry_no_interval() -> None:
    assert estimate([session_of([1.0, 1.1, 1.2, 1.3, 1.4])]).interval is None
    assert estimate([session_of([1.0]), session_of([1.5])]).interval is None
    low, high = interval_of(estimate([session_of([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])]))
    assert 1.0 <= low < 1.25 < high <= 1.5


def test_an_even_number_of_sessions_meets_in_the_middle() -> None:
    assert estimate([session_of([1.0]), session_of([1.5])]).ratio == pytest.approx(1.25)


def test_equal_slices_leave_no_doubt() -> None:
    result = estimate([session_of([1.5] * 12)])
    assert (result.ratio, result.interval) == (1.5, (1.5, 1.5))


def test_the_interval_is_the_same_each_time_and_moves_with_the_seed() -> None:
    rng = np.random.default_rng(1)
    sessions = [session_of(rng.normal(2, 0.1, 25)) for _ in range(3)]
    assert estimate(sessions) == estimate(sessions)
    assert any(estimate(sessions, seed=seed) != estimate(sessions) for seed in range(1, 5))


def slowed(piece: Slice, factor: int) -> Slice:
    def times(times_ns: tuple[int, ...]) -> list[int]:  # no long run, not even 50 times slower
        return [(ns % 990_000 + 1) * factor for ns in times_ns]

    return make_slice(
        times(piece.network_ns), times(piece.reference_before_ns), times(piece.reference_after_ns)
    )


@given(slices=st.lists(SLICES, min_size=1, max_size=6), factor=st.integers(1, 50))
@settings(deadline=None, max_examples=40)
def test_what_slows_network_and_reference_alike_cancels(slices: list[Slice], factor: int) -> None:
    one, other = (estimate([make_session([slowed(piece, by) for piece in slices])]) for by in (1, factor))
    assert other.ratio == pytest.approx(one.ratio)
    assert other.interval == (one.interval and pytest.approx(one.interval))


def test_a_step_between_two_slices_moves_the_one_before_it_alone() -> None:
    steps = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    slices = [make_slice([2 * MS * by] * 5, [MS * by] * 2, [MS * by] * 2) for by in steps]
    ratios = [piece.ratio for piece in clean_slices(make_session(slices))]
    assert [index for index, ratio in enumerate(ratios) if ratio != 2] == [5]
    assert estimate([make_session(slices)]).ratio == 2


def test_sessions_of_different_configurations_are_never_merged() -> None:
    one = session_of([1.0])
    with pytest.raises(ValueError, match="never merged"):
        estimate([one, replace(one, configuration=replace(CONFIGURATION, clock_tier="A"))])
    with pytest.raises(ValueError, match="never merged"):
        estimate([one, replace(one, model_digest="0" * 64)])
    with pytest.raises(ValueError, match="no session"):
        estimate([])


@settings(deadline=None, max_examples=30)
@given(session=SESSIONS)
def test_any_session_has_a_finite_estimate_within_its_interval_and_its_slices(session: SessionRecord) -> None:
    result = estimate([session])
    ratios = session_ratios(session)
    assert min(ratios) <= result.ratio <= max(ratios)
    assert (result.interval is None) == (len(ratios) < 6)
    if result.interval is not None:
        low, high = result.interval
        assert min(ratios) <= low <= result.ratio <= high <= max(ratios)
        assert np.isfinite(result.interval).all()
    assert wall_time([session]).median_ms > 0


def test_the_interval_of_one_session_is_scipys() -> None:
    rng = np.random.default_rng(7)
    for spread, count in ((0.02, 41), (0.1, 25), (0.3, 101)):
        session = session_of(np.exp(rng.normal(0.2, spread, count)))
        ratios = np.sort(session_ratios(session))
        low, high = interval_of(estimate([session]))
        theirs = bootstrap(
            (ratios,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(3)
        ).confidence_interval
        # Resampled medians of an odd number are slices themselves: the bounds may differ by one slice.
        ranks = np.searchsorted(ratios, [low, theirs.low, high, theirs.high], side="right")
        assert abs(ranks[0] - ranks[1]) <= 1
        assert abs(ranks[2] - ranks[3]) <= 1


def test_the_interval_of_an_even_number_of_slices_is_that_of_plain_resampling() -> None:
    rng = np.random.default_rng(8)
    for count in (6, 10, 30):
        values = np.exp(rng.normal(0.2, 0.1, count))
        session = session_of(values)
        ratios = np.array(session_ratios(session))
        plain = np.median(rng.choice(ratios, (20_000, count)), axis=1)
        bounds = interval_of(estimate([session]))
        for bound, share in zip(bounds, (0.025, 0.975), strict=True):
            # Quantiles of 2,000 draws: their rank among the others wavers by 0.35 %.
            assert np.mean(plain < bound) - 0.012 <= share <= np.mean(plain <= bound) + 0.012


def test_scatter_between_sessions_widens_the_interval() -> None:
    alike = estimate([session_of([2.0] * 12) for _ in range(5)])
    unlike = estimate([session_of([level] * 12) for level in (1.9, 1.95, 2.0, 2.05, 2.1)])
    assert alike.interval == (2.0, 2.0)
    low, high = interval_of(unlike)
    assert low <= 1.95
    assert high >= 2.05


def test_wall_time_is_plain_and_knows_when_a_percentile_is_not_to_be_had() -> None:
    cold, times_ns = 10**9, [2_000_000, 4_000_000, 6_000_000]
    few = make_session([make_slice([cold, *times_ns], [1], [1], after_switch_ns=cold)] * 21)
    result = wall_time([few])
    assert (result.median_ms, result.p90_ms, result.samples) == (4.0, None, 63)
    times_ns = [k * 100_000 for k in range(1, 101)]
    halves = [make_slice([cold, *half], [1], [1]) for half in (times_ns[:50], times_ns[50:])]
    many = wall_time([make_session(halves)])
    assert (many.median_ms, many.samples) == (pytest.approx(5.05), 100)
    assert many.p90_ms == pytest.approx(9.01)


def test_a_99th_percentile_wants_662_samples() -> None:
    times_ns = [k * 1_000_000 for k in range(1, 663)]
    full = wall_time([make_session([make_slice([10**9, *times_ns], [1], [1])])])
    assert full.p99_ms == pytest.approx(np.quantile(np.arange(1, 663), 0.99))
    assert wall_time([make_session([make_slice(times_ns, [1], [1])])]).p99_ms is None


def test_wall_time_divides_by_the_loops_of_each_session() -> None:
    one = make_session([make_slice([10_000_000], [1], [1])], network_loops=10)
    other = make_session([make_slice([3_000_000], [1], [1])], network_loops=1)
    assert wall_time([one]).median_ms == 1.0
    assert wall_time([one, other]).median_ms == 2.0
    with pytest.raises(ValueError, match="no sample"):
        wall_time([])


def settled(
    *runs_ns: int, delays_ns: Sequence[int] = (), gaps_ns: Sequence[int] = (), **changes: Any
) -> SessionRecord:
    """Return a session of 5 ms runs in its slices whose network then ran alone: 6 runs of 9 ms, and these."""
    nothing = (0,) * 6
    alone = SettledRuns(
        at_ns=1,
        network_ns=(9 * MS,) * 6 + runs_ns,
        delays_ns=delays_ns and nothing + tuple(delays_ns),
        gaps_ns=gaps_ns and nothing + tuple(gaps_ns),
    )
    return replace(
        make_session([make_slice([5 * MS] * 5, [2 * MS] * 2, [2 * MS] * 2)] * 20), settled=alone, **changes
    )


def test_the_median_wall_time_is_that_of_settled_runs_from_the_seventh_on() -> None:
    assert wall_time([settled(3 * MS, 4 * MS, 4 * MS)]).median_ms == 4
    assert wall_time([settled(3 * MS, network_loops=10)]).median_ms == 0.3
    assert wall_time([settled(3 * MS), settled(), make_session()]).median_ms == 3
    assert wall_time([settled()]).median_ms == 5, "of too few the slices tell"


def test_a_disturbed_settled_run_does_not_count_nor_does_the_one_after_it() -> None:
    runs_ns = (8 * MS, 7 * MS, 3 * MS)
    assert wall_time([settled(*runs_ns, delays_ns=(MS, 0, 0))]).median_ms == 3
    assert wall_time([settled(*runs_ns, gaps_ns=(0, 20_001, 0))]).median_ms == 5.5
    assert wall_time([settled(*runs_ns, delays_ns=(0, 0, 30_000))]).median_ms == 7
    assert wall_time([settled(*runs_ns, delays_ns=(0, 0, 30_001))]).median_ms == 7.5
    pool = {"delay_source": "schedstat", "baseline_ns": {"network": 10_000, "reference": 0}}
    assert wall_time([settled(*runs_ns, delays_ns=(0, 0, 30_001), scheduling=pool)]).median_ms == 7


def test_where_every_settled_run_was_disturbed_the_slices_tell_the_wall_time() -> None:
    disturbed = settled(8 * MS, 8 * MS, delays_ns=(MS, MS))
    assert wall_time([disturbed]).median_ms == 5
    assert wall_time([disturbed, settled(3 * MS)]).median_ms == 3


def test_levels_that_rank_ask_for_settled_runs_that_count_and_quick_sessions_save_the_time() -> None:
    for plan in (SCREEN.shared, SCREEN.plan, FINAL.plan):
        assert plan is not None and plan.settled_runs > SETTLING_RUNS
    assert QUICK.plan.settled_runs == 0


def test_settled_runs_change_nothing_but_the_median_wall_time() -> None:
    session = settled(3 * MS, 3 * MS)
    without = replace(session, settled=None)
    assert estimate([session]) == estimate([without])
    assert clean_slices(session) == clean_slices(without)
    assert contention(session) == contention(without)
    assert replace(wall_time([session]), median_ms=5.0) == wall_time([without])


def waiting(session: SessionRecord, share: float, places: slice = slice(None)) -> SessionRecord:
    """Return a session in some of whose slices every run waited for a share of its time."""
    slices = list(session.slices)
    for place in range(len(slices))[places]:
        delays_ns = tuple(int(share * ns) for ns in slices[place].runs_ns)
        slices[place] = replace(slices[place], delays_ns=delays_ns)
    return replace(session, slices=tuple(slices))


def test_only_clean_slices_enter_an_estimate() -> None:
    session = waiting(session_of([2.0] * 12 + [9.0] * 10), 0.02, slice(12, None))
    result = estimate([session])
    assert (result.ratio, result.slices) == (2.0, 12)


def test_sessions_without_a_clean_slice_are_not_used() -> None:
    lost, good = waiting(session_of([9.0] * 12), 0.5), session_of([2.0] * 12)
    assert estimate([lost, good, good]).ratio == 2.0
    assert (estimate([lost, good]).sessions, estimate([lost, good]).slices) == (1, 12)
    with pytest.raises(ValueError, match="1 sessions, none with a clean slice"):
        estimate([lost])


def test_sessions_of_one_process_are_one_value() -> None:
    pair = [session_of([1.9] * 12), session_of([2.1] * 12)]
    apart = estimate(pair)
    same = estimate([replace(session, process="worker 1") for session in pair])
    assert (apart.processes, same.processes, same.sessions, same.slices) == (2, 1, 2, 24)
    assert apart.between_cv is not None
    assert same.between_cv is None
    mixed = estimate([replace(pair[0], process="worker 1"), replace(pair[1], process="worker 2")])
    assert (mixed.processes, mixed.interval) == (2, apart.interval)


def test_a_half_width_is_relative_to_its_value() -> None:
    assert half_width(2.0, (1.9, 2.2)) == pytest.approx(0.075)


def test_an_uncertain_factor_widens_an_interval_as_variances_add() -> None:
    low, high = combined_interval(2.0, (2.0 / 1.03, 2.0 * 1.04), 0.04)
    assert np.log(2.0 / low) == pytest.approx(np.hypot(np.log(1.03), 0.04))
    assert np.log(high / 2.0) == pytest.approx(np.hypot(np.log(1.04), 0.04))
    assert combined_interval(2.0, (1.9, 2.2), 0.0) == pytest.approx((1.9, 2.2))
    low, high = combined_interval(2.0, (1.9, 2.2), 1e6)
    assert 0 < low < 1e-9 and 1e9 < high < np.inf, "of a doubt beyond all numbers"

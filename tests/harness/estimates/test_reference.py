"""The reference's latency pooled from made-up levels: quiet most of the time, slowed in bursts, unlike between visits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from factories.records import make_session, make_slice

from harness.estimates import reference
from harness.estimates.reference import (
    BLOCK_DRAWS,
    BLOCK_SD,
    QUIET_SHARE,
    VISIT_SD,
    VISIT_SHARE,
    ReferenceLevel,
    beside_idle_cores,
    pool_reference,
    reference_level_ns,
)

QUIET_NS = 2.4e6
BURSTS_SD = 0.03  # what bursts of 2 to 10 % in half of the time make of blocks of 10 s
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)


def level(at_s: float, latency_ns: float = QUIET_NS) -> ReferenceLevel:
    return ReferenceLevel(latency_ns=latency_ns, started_utc=(BEGIN + timedelta(seconds=at_s)).isoformat())


def visit(
    rng: np.random.Generator,
    begin_s: float = 0.0,
    lasts_s: float = 90.0,
    *,
    visit_sd: float = VISIT_SHARE * BURSTS_SD,
    most: float = 0.1,
) -> list[ReferenceLevel]:
    """Return levels of a campaign, a session each 1.5 s: other work slows half of it by up to `most`, for 5 to 15 s each.

    The quiet level is the visit's own, and differs by `visit_sd` from one to another.
    """
    own = rng.normal(0, visit_sd)
    levels, until, slowed = [], -1.0, 0.0
    for at_s in np.arange(0, lasts_s, 1.5):
        if at_s > until:
            until = at_s + rng.uniform(5, 15)
            slowed = rng.uniform(0.2, 1.0) * most if rng.random() < 0.5 else 0.0
        log = own + slowed + abs(rng.normal(0, 0.004))
        levels.append(level(begin_s + at_s, QUIET_NS * np.exp(log)))
    return levels


def test_the_level_of_a_session_is_a_low_quantile_of_its_fastest_clean_runs() -> None:
    slices = [make_slice([1000], [2 * ns, 3 * ns], [2 * ns + 1, 5 * ns]) for ns in range(100, 111)]
    assert reference_level_ns(make_session(slices)) == pytest.approx(202)
    assert reference_level_ns(make_session(slices, reference_loops=2)) == pytest.approx(101)


def test_a_session_without_a_clean_slice_has_no_level() -> None:
    piece = make_slice([1000], [1000], [1000])
    assert reference_level_ns(make_session([replace(piece, delays_ns=(500,) * 4)])) is None


def test_bursts_of_other_work_do_not_raise_the_pooled_level() -> None:
    levels = [level(at_s, QUIET_NS * (1.1 if at_s % 40 < 20 else 1.0)) for at_s in range(100)]
    latency_ns = pool_reference(levels).latency_ns
    assert latency_ns == pytest.approx(QUIET_NS)


def test_sessions_beside_idle_cores_tell_the_quiet_level_unless_their_core_was_but_faster() -> None:
    best = {"CPython": 50_000.0}

    def told(busy: float, slower: float, pace_ns: float) -> ReferenceLevel:
        one = level(0, QUIET_NS * (1 + slower))
        return replace(one, others_busy=busy, pace_ns=pace_ns, paced_by="CPython")

    quiet = told(0.1, 0.0, 50_000)
    for slower, pace_ns, is_quiet in (
        (0.1, 50_000, True),
        (0.1, 55_000, False),
        (0.2, 55_000, True),
        (0.02, 50_000, False),
    ):
        every = [*[told(0.9, slower, pace_ns)] * 30, quiet]
        assert beside_idle_cores(every, best) == ([quiet] if is_quiet else every)


def test_a_short_campaign_knows_less_of_the_quiet_level_than_a_long_one() -> None:
    sds = [pool_reference([level(at_s) for at_s in range(0, lasts_s, 2)]).sd for lasts_s in (8, 28, 200)]
    assert sds == pytest.approx([np.hypot(BLOCK_SD / blocks, 2**0.5 * VISIT_SD) for blocks in (1, 3, 20)])


def test_a_restless_device_is_expected_to_differ_from_visit_to_visit() -> None:
    blocks = [1.0, 1.12, 1.0, 1.06, 1.12, 1.0]
    levels = [level(10 * n + s, QUIET_NS * block) for n, block in enumerate(blocks) for s in range(0, 10, 2)]
    latency_ns, sd, *_ = pool_reference(levels)
    assert latency_ns == pytest.approx(QUIET_NS)
    assert sd >= 2**0.5 * VISIT_SHARE * np.std(np.log(blocks), ddof=1) > 2**0.5 * VISIT_SD


def test_unrest_between_blocks_shows() -> None:
    rng = np.random.default_rng(1)
    steady = [level(at_s) for at_s in range(0, 200, 2)]
    restless = [level(at_s, QUIET_NS * np.exp(0.2 * rng.random())) for at_s in range(0, 200, 10)]
    assert pool_reference(restless).sd > 1.3 * pool_reference(steady).sd


@pytest.mark.parametrize("lengths", [[1], [3], [1, 1, 1], [1, 4, 2], [10] * 12])
@pytest.mark.parametrize("at_once", [1, 500, 1 << 20])
def test_drawn_levels_are_quantiles_of_the_blocks_that_were_drawn(
    lengths: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "DRAWN_AT_ONCE", at_once)
    values = np.random.default_rng(1).normal(size=sum(lengths)).round(1)  # some are equal
    blocks = np.split(values, np.cumsum(lengths)[:-1])
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    drawn = reference._drawn_quiet(values, numbers, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    put_together = [
        np.concatenate([blocks[one] for one in rng.integers(0, len(blocks), len(blocks))])
        for _ in range(BLOCK_DRAWS)
    ]
    assert drawn.tolist() == [float(np.quantile(one, QUIET_SHARE)) for one in put_together]


def test_several_visits_that_agree_leave_less_doubt_and_those_that_differ_more() -> None:
    def sd(levels_ns: list[float]) -> float:
        return pool_reference(
            [level(3600 * n + s, ns) for n, ns in enumerate(levels_ns) for s in range(0, 60, 2)]
        ).sd

    one, agreeing, unlike = (
        sd([QUIET_NS]),
        sd([QUIET_NS] * 6),
        sd([QUIET_NS * (1 + 0.02 * n) for n in range(6)]),
    )
    assert agreeing < one / 2
    assert unlike > 1.5 * agreeing


def test_a_visit_that_was_busy_all_along_does_not_ruin_the_others() -> None:
    quiet = [level(3600 * n + s) for n in range(3) for s in range(0, 60, 2)]
    busy = [level(4 * 3600 + s, 3 * QUIET_NS) for s in range(0, 60, 2)]
    found = pool_reference(quiet + busy)
    assert found.latency_ns == pytest.approx(QUIET_NS)
    assert pool_reference(quiet).sd < found.sd < 0.15
    assert found.hour_sd < 0.01, "no grade D for all networks"


def test_levels_in_any_order_pool_alike_and_unreadable_times_do_no_harm() -> None:
    levels = visit(np.random.default_rng(2))
    assert pool_reference(levels) == pool_reference(levels[::-1])
    assert pool_reference([ReferenceLevel(latency_ns=5.0, started_utc="yesterday")])[:2] == (
        pytest.approx(5.0),
        pytest.approx(np.hypot(BLOCK_SD, 2**0.5 * VISIT_SD)),
    )
    with pytest.raises(ValueError, match="no session tells"):
        pool_reference([])


def test_visits_are_parted_by_half_an_hour_without_a_session() -> None:
    assert pool_reference([level(at_s) for at_s in (0, 1800, 3600, 3600 + 1801, 5402)]).visits == 2
    assert pool_reference([level(0.0)]).visits == 1


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("visits", "visit_sd", "least"),
    [
        *((visits, visit_sd, 0.86) for visits in (1, 2, 3, 5) for visit_sd in (0.003, 0.025)),
        (5, 0.1, 0.76),
    ],
)
def test_a_visit_at_another_hour_lies_within_what_those_before_say(
    visits: int, visit_sd: float, least: float
) -> None:
    """A restless device, whose visits differ by four times the default, shows that soon."""
    rng, inside = np.random.default_rng(3), 0
    for _ in range(150):
        calm = [visit(rng, 7200.0 * n, lasts_s=45.0, visit_sd=visit_sd, most=0.03) for n in range(visits)]
        known = [one for levels in calm for one in levels]
        latency_ns, sd, *_ = pool_reference(known)
        another_ns = pool_reference(visit(rng, visit_sd=visit_sd, most=0.03)).latency_ns
        inside += abs(np.log(another_ns / latency_ns)) <= 1.645 * sd
    assert inside / 150 >= least, "of 90 %, which waver by 2.4 %"


@pytest.mark.simulation
def test_many_visits_that_agree_leave_little_doubt_of_the_next_one() -> None:
    rng = np.random.default_rng(4)
    levels = [one for n in range(8) for one in visit(rng, 7200.0 * n, lasts_s=45.0, visit_sd=0.002)]
    assert pool_reference(levels).sd < 0.6 * 2**0.5 * VISIT_SD


def test_sessions_of_seconds_that_differ_by_half_leave_the_level_unknown() -> None:
    """Four sessions beside a program on the other hyperthread, as measured; blocks of ten seconds cannot show that."""
    latencies_ns = (123_200.0, 72_530.0, 107_614.0, 110_544.0)
    unlike = pool_reference([level(at_s, one) for at_s, one in enumerate(latencies_ns)])
    even = pool_reference([level(at_s, 72_530.0) for at_s in range(4)])
    assert unlike.hour_sd > 0.08 > 0.03 > even.hour_sd, (
        "beyond what grade C allows, and as known as ever where they agree"
    )

"""Which runs are samples, by hand: disturbed ones, cold ones, long ones; and what a session says of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import ref

import numpy as np
import pytest
from factories.records import CONFIGURATION, make_session, make_slice, without_waits

from device_agents import clean_runs as agents_clean
from harness.estimates.clean_runs import (
    FEW_RUNS_DOUBT,
    REFILL_SHARE,
    clean_slices,
    contention,
    is_contended,
    is_known,
    is_seen_free,
    steal_share,
    usable_sessions,
)
from harness.records import SessionRecord, Slice

MS = 1_000_000
KNOWN = {"delay_source": "schedstat"}
# The places of runs in a slice: 2 of the reference, the network's after the switch and 5 more, 2 of the reference. The first two
# of each model after a switch find cold caches.
SWITCH, NETWORK, AFTER = 2, range(3, 8), (8, 9)


def slice_of(
    waits_ns: Mapping[int, int] | None = None,
    gaps_ns: Mapping[int, int] | None = None,
    network_ns: Sequence[int] = (20 * MS,) * 5,
    reference_ns: Sequence[int] = (10 * MS,) * 4,
) -> Slice:
    """Return a slice whose runs at these places waited; the wait is within the run's time."""
    piece = make_slice(network_ns, reference_ns[:2], reference_ns[2:], after_switch_ns=21 * MS)
    waits = [(waits_ns or {}).get(place, 0) for place in range(10)]
    gaps = [(gaps_ns or {}).get(place, 0) for place in range(10)]
    return replace(piece, delays_ns=tuple(waits), gaps_ns=tuple(gaps))


def session_of(*slices: Slice, **changes: Any) -> SessionRecord:
    return make_session(slices, **{"scheduling": KNOWN} | changes)


def only(piece: Slice, **changes: Any) -> Any:
    """Return the clean slice of a session of one slice, None where it is lost."""
    found = clean_slices(session_of(piece, **changes))
    return found[0] if found else None


def test_a_run_that_waited_over_one_percent_of_its_time_is_no_sample() -> None:
    times = (20 * MS, 15 * MS, 20 * MS, 20 * MS, 20 * MS)
    assert only(slice_of(network_ns=times)).network_ns == 15 * MS
    assert only(slice_of({4: 150_000}, network_ns=times)).network_ns == 15 * MS, "just within 1 %"
    assert only(slice_of({4: 150_001}, network_ns=times)).network_ns == 20 * MS


def test_the_run_after_a_disturbed_one_is_cold_and_the_one_after_that_is_not() -> None:
    times = (20 * MS, 20 * MS, 15 * MS, 16 * MS, 20 * MS)
    assert only(slice_of({4: MS}, network_ns=times)).network_ns == 16 * MS
    assert only(slice_of({3: MS}, network_ns=times)).network_ns == 15 * MS


def test_a_wait_between_two_runs_leaves_the_next_one_cold() -> None:
    times = (20 * MS, 20 * MS, 15 * MS, 20 * MS, 20 * MS)
    assert only(slice_of(gaps_ns={5: 20_000}, network_ns=times)).network_ns == 15 * MS
    assert only(slice_of(gaps_ns={5: 20_001}, network_ns=times)).network_ns == 20 * MS
    assert only(slice_of(gaps_ns={4: 90_000}, network_ns=times)).network_ns == 15 * MS


def test_the_first_run_of_a_slice_is_cold_after_a_disturbed_end_of_the_last_one() -> None:
    fast = slice_of(reference_ns=(9 * MS, 10 * MS, 10 * MS, 10 * MS))
    first, second = clean_slices(session_of(fast, fast))
    assert first.reference_ns == second.reference_ns == 9 * MS
    first, second = clean_slices(session_of(replace(fast, delays_ns=(0,) * 9 + (MS,)), fast))
    assert (first.reference_ns, second.reference_ns) == (9 * MS, 10 * MS)


def test_a_disturbed_switch_leaves_the_next_network_run_cold() -> None:
    times = (55 * MS, 60 * MS, 60 * MS, 60 * MS, 60 * MS)  # long runs: of the others this one never counts
    assert only(slice_of(network_ns=times)).network_ns == 55 * MS
    assert only(slice_of({SWITCH: MS}, network_ns=times)).network_ns == 60 * MS


def test_only_runs_from_the_third_after_a_switch_on_are_samples() -> None:
    fast = 5 * MS
    for place in range(10):
        runs = [10 * MS] * 2 + [20 * MS] * 6 + [10 * MS] * 2
        runs[place] = fast
        piece = replace(
            slice_of(network_ns=runs[3:8], reference_ns=runs[:2] + runs[8:]), after_switch_ns=runs[2]
        )
        found = only(piece)
        assert (fast in (found.network_ns, found.reference_ns)) == (place in (0, 1, 4, 5, 6, 7)), place


def test_a_cold_run_that_was_disturbed_still_leaves_the_next_one_cold() -> None:
    times = (20 * MS, 15 * MS, 16 * MS, 20 * MS, 20 * MS)
    assert only(slice_of({3: MS}, network_ns=times)).network_ns == 16 * MS


def test_long_runs_count_from_the_second_after_a_switch_on() -> None:
    network = (50 * MS, 60 * MS, 60 * MS, 60 * MS, 60 * MS)
    assert only(slice_of(network_ns=network)).network_ns == 50 * MS
    assert only(slice_of(network_ns=(50 * MS - 1, *network[1:]))).network_ns == 60 * MS
    reference = (60 * MS, 60 * MS, 55 * MS, 60 * MS)
    assert only(slice_of(reference_ns=reference)).reference_ns == 55 * MS


def test_slices_too_short_to_have_a_third_run_keep_the_second() -> None:
    assert only(make_slice([20 * MS], [10 * MS], [9 * MS])).ratio == 20 / 9.5
    assert only(make_slice([20 * MS, 22 * MS], [10 * MS], [9 * MS, 9 * MS])).ratio == 22 / 10
    assert only(make_slice([20 * MS], [], [10 * MS] * 3)).ratio == 2


def test_what_a_pool_waits_on_a_free_machine_is_no_disturbance() -> None:
    waits = dict.fromkeys(range(10), 2 * MS)
    assert only(slice_of(waits)) is None
    baseline = {"network": 2 * MS, "reference": 2 * MS}
    assert only(slice_of(waits), scheduling=KNOWN | {"baseline_ns": baseline}).ratio == 2.0
    unlike = {"network": 2 * MS, "reference": MS}
    assert only(slice_of(waits), scheduling=KNOWN | {"baseline_ns": unlike}) is None


def test_a_slice_needs_a_clean_run_of_both() -> None:
    assert only(slice_of(dict.fromkeys(NETWORK, MS))) is None
    assert only(slice_of(dict.fromkeys((0, 1), MS))) is None
    assert only(slice_of({0: MS})) is None, "1 is cold, 8 and 9 follow a switch"
    assert only(slice_of({1: MS})) is not None
    assert only(slice_of({1: MS} | dict.fromkeys((3, 4, 5), MS))) is not None


def test_loops_make_times_of_one_run() -> None:
    piece = slice_of(network_ns=(20 * MS, 18 * MS, 20 * MS, 20 * MS, 20 * MS))
    whole = only(piece, network_loops=6, reference_loops=2)
    assert (whole.network_ns, whole.reference_ns) == (3 * MS, 5 * MS)
    assert whole.ratio == pytest.approx(only(piece).ratio / 3)


# Of these the first finds cold caches; the halves are 22 and 24, 21 and 23.
NETWORK_NS = (19 * MS, 22 * MS, 24 * MS, 21 * MS, 23 * MS)


def test_the_fastest_of_each_half_is_compared_with_the_fastest_on_each_side() -> None:
    piece = slice_of({}, {}, NETWORK_NS, (10 * MS, 11 * MS, 9 * MS, 9 * MS))
    assert only(piece).ratio == 21.5 / 10
    slices = [piece, slice_of({}, {}, NETWORK_NS, (12 * MS, 14 * MS, 9 * MS, 9 * MS))]
    assert [one.ratio for one in clean_slices(session_of(*slices))] == [21.5 / 11, 21.5 / 12]
    assert [one.doubt for one in clean_slices(session_of(*slices))] == [0, 0]


def test_few_clean_runs_are_compared_with_as_many_of_the_other() -> None:
    reference_ns = (10 * MS, 11 * MS, 9 * MS, 9 * MS)
    # Cold 0: one run of the reference, four of the network, of which one is as likely as any other.
    found = only(slice_of({}, {0: 50_000}, NETWORK_NS, reference_ns))
    assert found.ratio == pytest.approx(np.mean(NETWORK_NS[1:]) / (11 * MS))
    assert (found.network_ns, found.reference_ns, found.doubt) == (21 * MS, 11 * MS, FEW_RUNS_DOUBT)
    # Cold 7: the second half has one run, so the first one speaks, by two as the reference.
    found = only(slice_of({}, {7: 50_000}, NETWORK_NS, reference_ns))
    assert found.ratio == pytest.approx(2.2)
    assert found.doubt == 0
    # One run in either half, one on either side.
    slices = [slice_of({}, {place: 50_000 for place in (0, 5, 6)}, NETWORK_NS, reference_ns)] * 2
    found = clean_slices(session_of(*slices))[0]
    assert found.ratio == pytest.approx((22 + 23) / 2 / 11)
    assert found.doubt == FEW_RUNS_DOUBT


def test_the_reference_counts_on_both_sides_of_the_network() -> None:
    def with_reference(before_ns: int, **changes: Any) -> Slice:
        return slice_of(reference_ns=(before_ns, before_ns, 5 * MS, 5 * MS), **changes)

    slices = [with_reference(10 * MS), with_reference(8 * MS), with_reference(12 * MS)]
    assert [piece.ratio for piece in clean_slices(session_of(*slices))] == [20 / 9, 2.0, 20 / 12], (
        "the last one has its own alone"
    )
    lost = [with_reference(10 * MS, waits_ns={0: MS, 1: MS}), with_reference(8 * MS)]
    assert [piece.ratio for piece in clean_slices(session_of(*lost))] == [2.5, 2.5]


def test_a_steady_drift_cancels_within_a_slice_too() -> None:
    slices = []
    for index in range(12):
        runs = 1 + 0.002 * (10 * index + np.arange(10))  # each run is slower than the one before by 0.2 %
        network_ns, reference_ns = 20 * MS * runs[3:8], 10 * MS * runs[[0, 1, 8, 9]]
        slices.append(slice_of({}, {}, network_ns.astype(int).tolist(), reference_ns.astype(int).tolist()))
    *whole, last = (piece.ratio for piece in clean_slices(session_of(*slices)))
    assert whole == pytest.approx([2.0] * 11, rel=0.001), "to half a run"
    assert last > 2.015, "which has the runs before alone"


def test_thinned_out_quiet_slices_keep_their_ratio_within_the_doubt() -> None:
    rng = np.random.default_rng(1)
    for lost in (range(5, 8), (0,), (5, 1), (*range(5, 8), 0), ()):
        slices = []
        for _ in range(400):
            noise = 1 + rng.exponential(0.02, 9)
            times = (np.array([20] * 5 + [10] * 4) * MS * noise).astype(int).tolist()
            slices.append(slice_of({}, dict.fromkeys(lost, 30_000), times[:5], times[5:]))
        ratio = np.median([piece.ratio for piece in clean_slices(session_of(*slices))])
        assert ratio == pytest.approx(2.0, rel=FEW_RUNS_DOUBT)


def test_long_runs_of_which_none_is_clean_are_corrected_and_doubted() -> None:
    waits = dict.fromkeys((2, *NETWORK), 30 * MS)
    long = slice_of(waits, network_ns=(90 * MS, 95 * MS, 90 * MS, 90 * MS, 90 * MS))
    found = clean_slices(session_of(*[long] * 12, configuration=replace(CONFIGURATION, threads=1)))
    assert len(found) == 12
    assert {piece.corrected for piece in found} == {True}
    assert found[0].ratio == pytest.approx(6.0)
    assert found[0].doubt == pytest.approx(REFILL_SHARE * 30 / 60)
    accelerated = replace(CONFIGURATION, threads=1, provider="CUDAExecutionProvider")
    for at_once in (CONFIGURATION, accelerated):
        (found, *_) = clean_slices(session_of(*[long] * 12, configuration=at_once))
        assert found.doubt == pytest.approx((1 + REFILL_SHARE) * 30 / 60), (
            "the run's work may have gone on meanwhile"
        )
    short = slice_of(waits, network_ns=(79 * MS,) * 5)
    assert clean_slices(session_of(*[short] * 12)) == (), "49 ms of its own"


def test_a_session_with_enough_clean_slices_corrects_none() -> None:
    quiet, long = (
        slice_of(dict.fromkeys((2, *NETWORK), wait), network_ns=(60 * MS + wait,) * 5)
        for wait in (0, 30 * MS)
    )
    assert [piece.index for piece in clean_slices(session_of(*[quiet, long] * 12))] == list(range(0, 24, 2))
    found = clean_slices(session_of(*[quiet, long] * 3, *[long] * 12))
    assert [piece.index for piece in found] == list(range(18))
    assert [piece.corrected for piece in found[:4]] == [False, True, False, True]


def test_a_session_that_does_not_know_keeps_all_its_runs() -> None:
    session = without_waits(session_of(*[slice_of()] * 3))
    assert not is_known(session)
    assert [piece.ratio for piece in clean_slices(session)] == [2.0] * 3
    silent = replace(
        session_of(*[slice_of(dict.fromkeys(range(10), MS))] * 3), scheduling={"delay_source": ""}
    )
    assert not is_known(silent)
    assert len(clean_slices(silent)) == 3
    assert not is_known(session_of(slice_of(), replace(slice_of(), delays_ns=(), gaps_ns=())))


def test_contention_counts_runs_waits_and_slices() -> None:
    dirty = slice_of(dict.fromkeys((0, 1, *AFTER), MS))
    found = contention(session_of(*[slice_of()] * 3, dirty))
    assert (found.known, found.clean_slices, found.slices) == (True, 3, 4)
    assert found.waited_share == pytest.approx(2 / (4 * 100))
    old = without_waits(session_of(slice_of(), loop_s=2.0, conditions_after={"waited_s": 0.5}))
    assert (contention(old).known, contention(old).waited_share) == (False, 0.25)
    assert contention(without_waits(session_of(slice_of()))).waited_share is None


@pytest.mark.parametrize(
    ("clean", "lost", "expected"),
    [
        (12, 100, False),  # as many as the plan asks for
        (11, 12, True), (11, 11, False),  # half of them
        (6, 6, False), (5, 5, True), (5, 1, True),  # enough for an interval
        (5, 0, False), (1, 0, False),  # few, but none was lost
    ],
)  # fmt: skip
def test_a_session_is_contended_that_lost_too_many_slices(clean: int, lost: int, expected: bool) -> None:
    dirty = slice_of(dict.fromkeys((0, 1), MS))
    session = session_of(*[slice_of()] * clean, *[dirty] * lost, plan={"min_slices": 12})
    assert is_contended(session) == expected


def test_a_session_that_ended_because_others_held_the_core_is_contended_however_many_slices_are_clean() -> (
    None
):
    """Its worker saw less than a quarter of them clean: those were picked by the other program's turns."""
    dirty = slice_of(dict.fromkeys((0, 1), MS))
    pieces = [*[slice_of()] * 12, *[dirty] * 37]
    assert not is_contended(session_of(*pieces, stop="cap"))
    assert is_contended(session_of(*pieces, stop="contended"))


def test_what_a_hypervisor_took_makes_a_session_contended() -> None:
    for steal_s, expected in ((0.04, False), (0.041, True)):
        session = session_of(*[slice_of()] * 12, loop_s=2.0, scheduling=KNOWN | {"steal_s": steal_s})
        assert steal_share(session) == steal_s / 2
        assert is_contended(session) == expected


def test_a_record_of_before_is_contended_by_its_whole_wait() -> None:
    old = without_waits(session_of(*[slice_of()] * 12, loop_s=2.0))
    assert not is_contended(old)
    assert not is_contended(replace(old, conditions_after={"waited_s": 0.2}))
    assert is_contended(replace(old, conditions_after={"waited_s": 0.21}))


def test_next_to_no_wait_speaks_for_a_free_core_of_one_thread_alone() -> None:
    alone = replace(CONFIGURATION, threads=1)
    old = without_waits(
        session_of(slice_of(), configuration=alone, loop_s=2.0, conditions_after={"waited_s": 0.009})
    )
    assert is_seen_free(old)
    assert not is_seen_free(replace(old, configuration=CONFIGURATION))
    assert not is_seen_free(replace(old, conditions_after={}))
    assert not is_seen_free(replace(old, conditions_after={"waited_s": 0.01}))


def test_contended_sessions_are_used_only_where_there_are_no_others() -> None:
    dirty = slice_of(dict.fromkeys((0, 1), MS))
    good, poor, lost = session_of(*[slice_of()] * 12), session_of(slice_of(), *[dirty] * 9), session_of(dirty)
    assert usable_sessions([good, poor, lost, good]) == [good, good]
    assert usable_sessions([poor, lost]) == [poor]
    assert usable_sessions([lost]) == []


def test_the_agent_follows_the_same_rule() -> None:
    rng = np.random.default_rng(1)
    slices = []
    for _ in range(40):
        times = (np.array([20] * 5 + [10] * 4) * MS * (1 + rng.exponential(0.05, 9))).astype(int).tolist()
        places = rng.integers(0, 10, 3).tolist()
        slices.append(slice_of({places[0]: MS}, {places[1]: 30_000}, times[:5], times[5:]))
    agent = agents_clean.CleanRuns(1, 1, 0, 0)
    seen = [agent.add({name: getattr(piece, name) for name in Slice.__slots__}) for piece in slices][1:]
    mine = {piece.index: piece.ratio for piece in clean_slices(session_of(*slices))}
    assert [index for index, ratio in enumerate(seen) if ratio is not None] == sorted(mine)[: len(mine) - 1]
    off = [ratio / mine[index] for index, ratio in enumerate(seen) if ratio is not None]
    assert off == pytest.approx([1] * len(off), rel=0.15), (
        "it takes the fastest of few, which decides nothing there"
    )
    assert sum(one == pytest.approx(1) for one in off) > 5


def test_what_is_seen_in_a_session_is_kept_as_long_as_that_is_there() -> None:
    one = make_session([slice_of()] * 6)
    assert clean_slices(one) is clean_slices(one)
    there = ref(one)
    del one
    assert there() is None

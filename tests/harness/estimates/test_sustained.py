"""Runs under load: known slow-downs are found, intervals hold, and what other programs do is told and counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from factories.records import CONFIGURATION, make_block, make_block_run

from harness.estimates.sustained import Sustained, sustained
from harness.records import BlockRun, TimedBlock

TIMED = 60


def run_of(
    latency_ms: Callable[[float], float],
    minutes: int = 30,
    timed: int = TIMED,
    *,
    noise: float = 0.01,
    drift: float = 0.0,
    seed: int = 0,
    change: Callable[[int, TimedBlock], TimedBlock] = lambda minute, block: block,
    **changes: object,
) -> BlockRun:
    """Return a run whose network takes so long at a second; `drift` moves whole minutes, `change` a minute's block."""
    rng = np.random.default_rng(seed)
    blocks = []
    for minute in range(minutes):
        begin_s = 10.0 + 60 * minute
        level = 1 + drift * rng.standard_normal()
        at_s = begin_s + 1 + 59 * np.arange(timed) / timed
        shape = level * (1 + noise * np.abs(rng.standard_normal(timed)))
        runs_ms = [latency_ms(float(at - 10.0)) * float(one) for at, one in zip(at_s, shape, strict=True)]
        blocks.append(make_block("reference", begin_s, 1.0, [8.0 * level] * 20))
        blocks.append(change(minute, make_block("network", begin_s + 1, 59.0, runs_ms)))
    return make_block_run(blocks, **changes)


def waiting(share: float) -> Callable[[int, TimedBlock], TimedBlock]:
    """Return what makes that share of a minute's runs wait, and take twice as long, in the last ten minutes of thirty."""

    def change(minute: int, block: TimedBlock) -> TimedBlock:
        if minute < 20:
            return block
        hit = [number % 100 < 100 * share for number in range(0, 7 * TIMED, 7)]
        runs_ns = [run * 2 if one else run for run, one in zip(block.runs_ns, hit, strict=True)]
        delays_ns = [run // 2 if one else 0 for run, one in zip(runs_ns, hit, strict=True)]
        return replace(block, runs_ns=tuple(runs_ns), delays_ns=tuple(delays_ns))

    return change


def paused(minutes: range, pause_s: float) -> Callable[[int, TimedBlock], TimedBlock]:
    """Return what stops a worker in some minutes for so long, early in each."""

    def change(minute: int, block: TimedBlock) -> TimedBlock:
        left = [at for at in block.at_ns if not 5e9 < at - block.start_ns <= (5 + pause_s) * 1e9]
        count = len(left)
        if minute not in minutes:
            return block
        return replace(
            block, at_ns=tuple(left), runs_ns=block.runs_ns[:count], delays_ns=block.delays_ns[:count]
        )

    return change


@pytest.mark.parametrize(("count", "is_told"), [(1, True), (2, False)])
def test_a_device_that_rested_in_between_is_not_compared_with_how_it_began(count: int, is_told: bool) -> None:
    """Whatever stops the worker (a signal, a frozen group) lets a throttled device cool."""
    found = sustained(run_of(lambda at_s: 4.0, change=paused(range(15, 15 + count), 25.0)))
    assert (found.ratio is not None) == is_told
    assert is_told or "ran nothing of this for 49 s" in found.unknown, found.unknown


def test_a_device_that_was_suspended_is_not_compared_though_its_clock_stood_still() -> None:
    asleep = run_of(lambda at_s: 4.0, scheduling={"slept_s": 400.0})
    assert "was suspended for 400 s" in sustained(asleep).unknown
    assert sustained(run_of(lambda at_s: 4.0, scheduling={"slept_s": 0.5})).ratio is not None


@pytest.mark.parametrize("factor", [3.0, 8.0])
def test_runs_that_throttling_makes_much_longer_are_no_rest(factor: float) -> None:
    def change(minute: int, block: TimedBlock) -> TimedBlock:
        if minute < 15:
            return block
        every = range(0, TIMED, int(factor))
        return replace(
            block,
            at_ns=tuple(block.at_ns[number] for number in every),
            runs_ns=tuple(block.runs_ns[number] for number in every),
            delays_ns=tuple(block.delays_ns[number] for number in every),
        )

    assert sustained(run_of(lambda at_s: 900.0, change=change)).unknown == ""


@pytest.mark.parametrize(
    ("busy_minutes", "is_told"), [(range(25, 27), True), (range(25, 30), False), (range(5), False)]
)
def test_what_programs_on_other_cores_do_to_caches_is_no_throttling(
    busy_minutes: range, is_told: bool
) -> None:
    def change(minute: int, block: TimedBlock) -> TimedBlock:
        if minute not in busy_minutes:
            return block
        return replace(block, runs_ns=tuple(run * 11 // 10 for run in block.runs_ns), others_busy=0.9)

    found = sustained(run_of(lambda at_s: 4.0, change=change))
    assert (found.ratio is not None) == is_told
    if found.interval is not None:
        assert found.interval[0] < 1.0 < found.interval[1]
    else:
        assert "too few undisturbed runs" in found.unknown
    assert found.disturbed == 0 and found.stretches[busy_minutes[0]].median_ms == pytest.approx(4.4, rel=0.02)


def between_cores(run: BlockRun, ns: Callable[[int], float], *, guest: bool = False) -> BlockRun:
    """Return the run with what it told of its cores' distance beside each block, by its minute."""
    told = [
        {"ns": [ns(place // 2)] * 2, "alone_ns": 90.0, "guest": guest} for place in range(len(run.blocks))
    ]
    on = replace(CONFIGURATION, threads=2)
    return replace(run, configuration=on, scheduling=run.scheduling | {"core_to_core": told})


@pytest.mark.parametrize(
    ("far_minutes", "guest", "is_told"),
    [
        (range(25, 27), False, True),
        (range(25, 30), False, False),
        (range(5), False, False),
        (range(15, 30), False, False),  # neither half is usual
        (range(30), False, True),  # two sockets, always
        (range(30), True, False),  # or a guest, whose host put them so
        (range(0), True, True),
    ],
)
def test_cores_that_a_host_moved_are_no_throttling(far_minutes: range, guest: bool, is_told: bool) -> None:
    """A network whose threads hand over often takes 28 % longer on cores far apart, and no run of it waits."""
    run = run_of(lambda at_s: 4.0 * (1.28 if int(at_s // 60) in far_minutes else 1.0))
    found = sustained(
        between_cores(run, lambda minute: 230.0 if minute in far_minutes else 92.0, guest=guest)
    )
    assert (found.ratio is not None) == is_told
    if found.interval is not None:
        assert found.interval[0] < 1.0 < found.interval[1]
    else:
        assert "too few undisturbed runs" in found.unknown
    assert found.disturbed == 0 and found.stretches[0].cores_apart is not None


def test_a_clock_that_heat_lowers_is_told_and_no_distance_of_cores() -> None:
    """Then the cores' messages take longer, and so does the same work on one core."""
    run = run_of(lambda at_s: 4.0 * (1.7 if at_s >= 1200 else 1.0))
    slowed = [1.7 if place >= 40 else 1.0 for place in range(len(run.blocks))]
    told = [{"ns": [92.0 * times] * 2, "alone_ns": 90.0 * times, "guest": False} for times in slowed]
    on = replace(CONFIGURATION, threads=2)
    found = sustained(replace(run, configuration=on, scheduling=run.scheduling | {"core_to_core": told}))
    assert found.ratio == pytest.approx(1.7, rel=0.02)
    assert [stretch.cores_apart for stretch in found.stretches] == pytest.approx([1.0] * 30)


@pytest.mark.parametrize("told", [{}, [], [None], [{"ns": "far"}], [{"ns": [92.0, None]}, 3], 7])
def test_what_a_run_does_not_tell_of_its_cores_is_not_known(told: object) -> None:
    run = run_of(lambda at_s: 4.0)
    found = sustained(replace(run, scheduling=run.scheduling | {"core_to_core": told}))
    assert found.ratio is not None and found.stretches[-1].cores_apart is None


def test_a_known_slow_down_is_found_with_an_interval_that_holds_it() -> None:
    found = sustained(run_of(lambda at_s: 4.0 if at_s < 720 else 6.0, drift=0.01))
    assert found.ratio == pytest.approx(1.5, rel=0.03)
    assert found.interval is not None and found.interval[0] < 1.5 < found.interval[1]
    assert found.end_s == 300.0 and len(found.stretches) == 30


def test_a_short_run_compares_its_sixths() -> None:
    found = sustained(run_of(lambda at_s: 4.0 * (1 + at_s / 720), minutes=12))
    assert found.end_s == pytest.approx(120.0)
    assert found.ratio == pytest.approx((1 + 660 / 720) / (1 + 60 / 720), rel=0.02)


@pytest.mark.simulation
def test_intervals_cover_the_ratio_as_often_as_they_claim() -> None:
    hits = 0
    for seed in range(400):
        found = sustained(run_of(lambda at_s: 4.0 if at_s < 720 else 5.0, timed=12, drift=0.02, seed=seed))
        assert found.interval is not None
        hits += found.interval[0] <= 1.25 <= found.interval[1]
    assert 0.92 <= hits / 400 <= 0.98


def test_minutes_that_other_programs_disturbed_are_told_and_are_no_slow_down() -> None:
    found = sustained(run_of(lambda at_s: 4.0, change=waiting(0.5)))
    assert found.disturbed == 10 and found.throttled == 0
    assert [one.median_ms is None for one in found.stretches] == [False] * 20 + [True] * 10
    assert found.stretches[25].disturbed == pytest.approx(0.5, abs=0.05)
    assert (found.ratio, found.interval) == (None, None)
    assert found.unknown == "too few undisturbed runs in the end"


def test_a_few_runs_that_waited_do_not_count_and_their_minute_does() -> None:
    found = sustained(run_of(lambda at_s: 4.0, change=waiting(0.05)))
    assert found.disturbed == 0 and found.stretches[25].disturbed == pytest.approx(0.05, abs=0.02)
    assert found.ratio == pytest.approx(1.0, abs=0.01)
    assert found.stretches[25].p90_ms is None, "fewer than 64 runs tell no 90 % quantile"


def test_what_a_hypervisor_takes_shows_in_no_wait_and_disturbs_as_well() -> None:
    steal = lambda minute, block: replace(block, steal_s=3.0 if minute == 4 else 0.1)  # noqa: E731
    found = sustained(run_of(lambda at_s: 4.0, change=steal))
    assert [number for number, one in enumerate(found.stretches) if one.median_ms is None] == [4]
    assert found.ratio is not None, "four minutes of five are left"


def test_a_system_that_tells_no_waits_is_not_called_undisturbed() -> None:
    found = sustained(run_of(lambda at_s: 4.0, change=lambda _, block: replace(block, delays_ns=())))
    assert {one.disturbed for one in found.stretches} == {None} and found.ratio is not None


def test_pools_whose_threads_wait_for_each_other_are_not_disturbed() -> None:
    base = lambda _, block: replace(block, delays_ns=(60_000,) * TIMED)  # noqa: E731 - 1.5 % of a run
    two, one = (
        run_of(lambda at_s: 4.0, change=base, configuration=replace(CONFIGURATION, threads=t)) for t in (2, 1)
    )
    assert (sustained(two).disturbed, sustained(one).disturbed) == (0, 30)


def test_the_reference_tells_whether_it_is_the_device_or_the_network() -> None:
    hot = run_of(lambda at_s: 4.0 * (1.3 if at_s > 900 else 1.0))
    blocks = [
        replace(block, runs_ns=tuple(round(run * 1.3) for run in block.runs_ns))
        if block.which == "reference" and block.start_ns > 910e9
        else block
        for block in hot.blocks
    ]
    assert sustained(hot).reference_ratio == pytest.approx(1.0)
    assert sustained(replace(hot, blocks=tuple(blocks))).reference_ratio == pytest.approx(1.3)


def conditions(at_s: float, **values: object) -> dict[str, object]:
    return {"at_ns": round(at_s * 1e9), "temps_c": {"cpu": 40 + at_s / 60, "case": 30.0}, **values}


def test_each_minute_has_its_own_temperature_clock_and_signs() -> None:
    samples = [
        conditions(
            10.0 + second, freq_khz={"4": 2_000_000, "5": 1_000_000, "0": 1}, throttled=4 * (second > 1740)
        )
        for second in range(0, 1800, 5)
    ]
    found = sustained(run_of(lambda at_s: 4.0, samples=tuple(samples)))
    assert found.sensor == "cpu"
    assert [round(one.temp_c or 0, 1) for one in found.stretches[:2]] == [40.6, 41.6]
    assert found.stretches[3].clock_mhz == 1500.0
    assert [one.signs for one in found.stretches[28:]] == [(), ("Raspberry Pi throttled: throttled",)]


def test_a_locked_clock_that_falls_is_a_sign() -> None:
    locked = {"min": 2_000_000, "max": 2_000_000}
    found = sustained(
        run_of(
            lambda at_s: 4.0,
            configuration=replace(CONFIGURATION, clock_tier="A"),
            conditions_before={"freq_khz": {"4": locked, "5": locked}},
            samples=(conditions(100.0, freq_khz={"4": 2_000_000, "5": 1_500_000}),),
        )
    )
    assert [len(one.signs) for one in found.stretches[:3]] == [0, 1, 0]


def test_a_run_that_broke_off_at_once_says_why_it_has_no_ratio() -> None:
    found = sustained(make_block_run([make_block("network", 1.0, 4.0, [4.0])]))
    assert (found.ratio, found.unknown) == (None, "too few undisturbed runs in the beginning")
    assert isinstance(found, Sustained) and found.to_json()["ratio"] is None


def test_the_ends_of_a_run_beside_another_program_on_the_gpu_are_not_compared() -> None:
    run = run_of(lambda at_s: 4.0)
    shared = replace(run, conditions_before={"gpus": [{"programs": 2}]})
    found = sustained(shared)
    assert sustained(run).ratio is not None
    assert (found.ratio, found.interval) == (None, None)
    assert found.unknown == "2 other programs had the GPU open"

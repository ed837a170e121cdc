"""Energy of an inference from readings of known joules: counters that begin again, powers, drifts, and what tells nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories.records import make_block_run
from factories.records import make_energy_run as run_of

from device_agents.block_plans import energy_plan
from harness.estimates.energy import NoEnergy, energy_of, newest_energy
from harness.records import BlockRun

RANGE_UJ = 262_143_328_850  # of a real package: it begins again every half hour at 150 W


def test_known_joules_are_found_whatever_the_counter_began_with() -> None:
    for first_uj in (0, RANGE_UJ - 300_000_000):  # the second begins again within the first half of the run
        energy = energy_of(run_of(first_uj=first_uj, range_uj=RANGE_UJ))
        # 9 W while the network runs 200 times a second, 3 W at rest, 12 W while the reference runs 100 times a second
        assert energy.total.value == pytest.approx(45.0, rel=3e-3)
        assert energy.above_idle.value == pytest.approx(30.0, rel=3e-3)
        assert energy.reference.value == pytest.approx(120.0, rel=3e-3)
        assert (energy.idle_w, energy.network_w) == (
            pytest.approx(3.0, rel=3e-3),
            pytest.approx(9.0, rel=3e-3),
        )
        assert (energy.cycles, energy.sensor) == (5, "rapl")


def test_two_counters_are_added_and_each_begins_again_at_its_own_range() -> None:
    both = run_of(first_uj=10, range_uj=700_000_000)
    readings = tuple(
        one | {"uj": one["uj"] | {"dram": (one["uj"]["package-0"] // 2 + 5) % 350_000_000}}
        for one in both.readings
    )
    # the memory's counter is half of a counter that begins again twice as often as its own range says
    sensor = both.sensor | {"counters": {"package-0": 700_000_000, "dram": 350_000_000}}
    energy = energy_of(replace(both, readings=readings, sensor=sensor))
    assert energy.total.value == pytest.approx(1.5 * 45.0, rel=3e-3)


def test_powers_are_integrated() -> None:
    energy = energy_of(run_of(kind="ina3221"))
    assert energy.total.value == pytest.approx(45.0, rel=0.01)
    assert energy.above_idle.value == pytest.approx(30.0, rel=0.01)


def test_a_sensor_that_measures_seldom_is_read_in_longer_blocks_and_tells_the_same() -> None:
    plan = energy_plan(2.0)
    assert plan is not None and plan.blocks[0] == ("idle", 40.0) and plan.settle_s == 4.0
    energy = energy_of(run_of(kind="battery", update_s=2.0))
    assert energy.total.value == pytest.approx(45.0, rel=0.03)
    assert energy_plan(10.0) is None


def test_a_drift_of_the_device_falls_on_all_alike_and_widens_the_interval() -> None:
    drift = lambda at_s: 1 + 0.1 * at_s / 180  # noqa: E731
    steady, drifting = energy_of(run_of()), energy_of(run_of(drift=drift))
    assert drifting.total.value / drifting.reference.value == pytest.approx(45.0 / 120.0, rel=0.01)
    width = drifting.total.high - drifting.total.low
    assert width > 0.03 * drifting.total.value > 10 * (steady.total.high - steady.total.low)


@pytest.mark.simulation
def test_intervals_hold_as_often_as_they_claim() -> None:
    hits = 0
    for seed in range(200):
        scatter = np.random.default_rng(seed).normal(1, 0.03, 16)
        energy = energy_of(run_of(scatter=scatter))
        hits += energy.total.low <= 45.0 <= energy.total.high
    assert 0.9 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("far", "cycles"), [(range(4, 6), 4), (range(1, 9), None)])
def test_turns_on_cores_that_a_host_moved_do_not_count(far: range, cycles: int | None) -> None:
    run = run_of()
    told = [
        {"ns": [92.0, 230.0 if place in far else 92.0], "alone_ns": 90.0, "guest": True}
        for place in range(len(run.blocks))
    ]
    run = replace(run, scheduling=run.scheduling | {"core_to_core": told})
    if cycles is not None:
        assert energy_of(run).cycles == cycles
        return
    with pytest.raises(NoEnergy, match="2 undisturbed turns, cores far apart in 8 blocks"):
        energy_of(run)


def changed(run: BlockRun, which: str, change: Callable[[Any], Any]) -> BlockRun:
    blocks = tuple(change(block) if block.which == which else block for block in run.blocks)
    return replace(run, blocks=blocks)


def test_turns_that_another_program_disturbed_do_not_count() -> None:
    run = run_of()
    wait = lambda block: replace(block, delays_ns=tuple(one // 10 for one in block.runs_ns))  # noqa: E731
    networks = [number for number, block in enumerate(run.blocks) if block.which == "network"]
    blocks = [wait(block) if number in networks[:2] else block for number, block in enumerate(run.blocks)]
    assert energy_of(replace(run, blocks=tuple(blocks))).cycles == 3
    with pytest.raises(NoEnergy, match="0 undisturbed turns, at least 3"):
        energy_of(changed(run, "network", wait))


def test_busy_cores_beside_are_told() -> None:
    assert not energy_of(run_of()).is_doubtful
    assert energy_of(changed(run_of(), "idle", lambda block: replace(block, others_busy=1.0))).is_doubtful


def test_cores_of_which_nothing_is_known_may_have_been_busy_but_for_a_probe() -> None:
    run = run_of()
    hidden = replace(run, blocks=tuple(replace(block, others_busy=None) for block in run.blocks))
    assert energy_of(hidden).is_doubtful
    for waited, is_doubtful in ((0.0, False), (0.5, True)):
        probed = replace(hidden, scheduling={"probe": {"others_waited": waited}})
        assert energy_of(probed).is_doubtful == is_doubtful


def test_energy_is_in_part_another_program_s_where_nothing_tells_whether_one_had_the_core() -> None:
    blind = changed(run_of(), "network", lambda block: replace(block, delays_ns=()))
    assert energy_of(blind).others_busy is None and energy_of(blind).is_doubtful


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda at_s, one: None if 50 < at_s < 56 else one, "fell silent"),
        (lambda at_s, one: None if at_s > 40 else one, "fell silent"),
        (lambda at_s, one: one | {"uj": {}} if at_s > 40 else one, "without package-0"),
        (lambda at_s, one: one | {"at_ns": 5}, "do not follow"),
        (lambda at_s, one: None, "0 readings"),
        (
            lambda at_s, one: one | {"uj": {"package-0": 5_000_000_000 - one["uj"]["package-0"]}},
            "ran backwards",
        ),
    ],
)
def test_a_sensor_that_falls_silent_or_tells_nonsense_tells_no_energy(
    change: Callable[[float, Mapping[str, Any]], Any], words: str
) -> None:
    run = run_of(range_uj=0)
    kept = [changed for one in run.readings if (changed := change(one["at_ns"] / 1e9, one)) is not None]
    with pytest.raises(NoEnergy, match=words):
        energy_of(replace(run, readings=tuple(kept)))


def test_the_newest_run_that_tells_an_energy_counts() -> None:
    old, new = run_of(started_utc="2024-05-01"), run_of(started_utc="2024-05-02")
    broken = make_block_run(purpose="energy", started_utc="2024-05-03")
    found = newest_energy([new, broken, old])
    assert found is not None and found.run_id == new.run_id
    assert newest_energy([broken]) is None


def test_an_energy_that_is_in_part_another_program_s_counts_only_where_there_is_no_other() -> None:
    days = [
        changed(
            run_of(started_utc=f"2024-05-0{day}"),
            "idle",
            lambda block, busy=busy: replace(block, others_busy=busy),
        )
        for day, busy in ((1, 0.0), (2, 1.0), (3, 1.0))
    ]
    assert [newest_energy(some).run_id for some in (days, days[1:])] == [days[0].run_id, days[2].run_id]


def test_energy_beside_another_program_on_the_gpu_is_nobodys() -> None:
    run = run_of()
    assert energy_of(replace(run, conditions_before={"gpus": [{"programs": 0}]})) == energy_of(run)
    for changes in (
        {"conditions_before": {"gpus": [{"programs": 1}]}},
        {"samples": ({"at_ns": 0, "gpu_programs": 2},)},
    ):
        with pytest.raises(NoEnergy, match="1 other program had the GPU open"):
            energy_of(replace(run, **changes))

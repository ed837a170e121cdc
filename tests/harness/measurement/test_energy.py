"""`--energy` on a device made of a script: measured once by its sensor, shown beside the latency, else absent with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories.records import graph_hash
from rigs.scripted_link import COOL, Load, ScriptedLink, ScriptedSource, run_scripted
from rigs.watcher import Watcher

from harness.estimates.latency import to_json
from harness.measurement.events import SessionsPlanned
from harness.records import BlockRun
from harness.store import Store
from harness.store.latencies import latencies

GAUGE = {"kind": "battery", "scope": "all of it", "counters": {}, "powers": ["battery"], "source": "adb"}
RAPL = {"kind": "rapl", "scope": "the packages", "counters": {"package-0": 1 << 28}, "powers": []}


def with_sensor(update_s: float = 0.001) -> ScriptedLink:
    link = ScriptedLink()
    link.sensor = {"sensor": RAPL, "reasons": [], "update_s": update_s}
    return link


def test_each_networks_energy_is_measured_after_its_sessions_and_shown_beside_its_latency(
    store: Store,
) -> None:
    link, observer = with_sensor(), Watcher()
    link.loads = [Load(watts={"idle": 2.0, "network": watts, "reference": 9.0}) for watts in (8.0, 6.0)]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), observer=observer, energy=True)
    assert (outcome.error, outcome.failures, len(link.ran), len(link.block_jobs)) == (None, [], 2, 2)
    assert observer.planned == len(observer.done) == 4 and observer.notes == []
    rows = {row.graph_hash: row for row in latencies(store, outcome.uses[0].configuration)}
    first, second = (to_json([rows[graph_hash(number)]])[0] for number in (1, 2))
    # 1000 runs a second: 8 and 6 mJ a run, of which 2 at rest
    assert first["energy_mj"] == pytest.approx(8.0, rel=0.01)
    assert first["energy_above_idle_mj"] == pytest.approx(6.0, rel=0.01)
    assert second["energy_mj"] == pytest.approx(6.0, rel=0.01) and second["energy_sensor"] == "rapl"
    assert first["energy_low_mj"] <= first["energy_mj"] <= first["energy_high_mj"]
    job = link.block_jobs[0]
    assert [which for which, _ in job["blocks"][:5]] == ["idle", "network", "reference", "idle", "reference"]
    assert {seconds for _, seconds in job["blocks"]} == {10.0} and job["energy_s"] > 0
    assert job["energy_of"] == "CPUExecutionProvider"


def test_nothing_is_measured_unless_asked_for_and_nothing_twice_unless_afresh(store: Store) -> None:
    link = with_sensor()
    outcome = run_scripted(link, store)
    (row,) = latencies(store, outcome.uses[0].configuration)
    assert (row.energy, link.block_jobs) == (None, [])
    assert to_json([row])[0]["energy_mj"] is None
    for options, count in (({}, 1), ({}, 1), ({"fresh": True}, 2)):
        observer = Watcher()
        run_scripted(link, store, energy=True, observer=observer, **options)
        assert len(link.block_jobs) == count
        assert observer.of(SessionsPlanned)[-1].later == (), "nothing is to come"


@pytest.mark.parametrize(
    ("sensor", "words"),
    [
        (
            {"reasons": ["RAPL: none here", "battery: none"]},
            "no sensor of energy; RAPL: none here; battery: none",
        ),
        ({"sensor": RAPL, "update_s": 30.0}, "its sensor (rapl) measures every 30 s, too seldom"),
        ({"sensor": RAPL}, "did not change within a minute"),
    ],
)
def test_a_device_that_cannot_tell_says_why_once_and_no_network_fails(
    store: Store, sensor: dict[str, object], words: str
) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.sensor = sensor
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), observer=observer, energy=True)
    assert (outcome.error, outcome.failures, link.block_jobs) == (None, [], [])
    (told,) = observer.notes
    assert told.startswith("energy is not measured in onnxruntime: ") and words in told
    assert {row.energy for row in latencies(store, outcome.uses[0].configuration)} == {None}


class Gauged:
    """A phone whose gauge is read by adb: 9 W while the network runs, 3 W at rest, 12 W while the reference runs."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found, self.begun = found, []

    def energy_sensor(self) -> dict[str, Any]:
        return self.found

    def begin(self, *, gauge: bool = False) -> None:
        self.begun.append(gauge)

    def beside(self, conditions: dict[str, Any]) -> dict[str, Any]:
        return conditions

    def joined(self, run: Any) -> Any:
        if not isinstance(run, BlockRun):
            return run
        watts = {"idle": 3.0, "network": 9.0, "reference": 12.0}
        readings = []
        for block in run.blocks:
            for at_ns in range(block.start_ns, block.end_ns + 1, 10**9):
                readings.append(
                    {"at_ns": at_ns, "uj": {}, "uw": {"battery": round(watts[block.which] * 1e6)}}
                )
        return replace(run, readings=tuple(readings))


def test_a_phone_whose_agent_has_no_sensor_is_measured_by_its_gauge_through_adb(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.phone = Gauged({"sensor": GAUGE, "reasons": [], "update_s": 1.0})
    outcome = run_scripted(link, store, observer=observer, energy=True)
    assert (outcome.error, outcome.failures, observer.notes) == (None, [], [])
    (row,) = latencies(store, outcome.uses[0].configuration)
    assert row.energy is not None and row.energy.total.value == pytest.approx(9.0, rel=0.01)
    assert row.energy.above_idle.value == pytest.approx(6.0, rel=0.01)
    assert to_json([row])[0]["energy_sensor"] == "battery"
    (job,) = link.block_jobs
    assert {seconds for _, seconds in job["blocks"]} == {20.0}
    assert "energy_of" not in job, "the agent reads no sensor of its own"
    assert link.phone.begun == [False, True], "for its session and for its energy"


def test_a_sensor_of_the_agents_own_goes_before_the_phones_gauge(store: Store) -> None:
    link = with_sensor()
    link.phone = Gauged({"reasons": ["battery by adb: asked in vain"]})
    outcome = run_scripted(link, store, energy=True)
    assert link.block_jobs[0]["energy_of"] == "CPUExecutionProvider"
    assert outcome.error is None and True not in link.phone.begun


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"reasons": ["battery by adb: the phone is plugged in (usb)"]},
            "no sensor of energy; RAPL: none here; battery: none either; battery by adb: the phone is plugged in (usb)",
        ),
        ({"sensor": GAUGE, "reasons": [], "update_s": 10.0}, "(battery) measures every 10 s, too seldom"),
        ({"sensor": GAUGE, "reasons": []}, "did not change within a minute"),
    ],
)
def test_a_phone_whose_gauge_will_not_do_says_why(store: Store, found: dict[str, Any], words: str) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.phone = Gauged(found)
    outcome = run_scripted(link, store, observer=observer, energy=True)
    (told,) = observer.notes
    assert words in told and link.block_jobs == []
    assert {row.energy for row in latencies(store, outcome.uses[0].configuration)} == {None}


def test_a_sensor_that_fell_silent_tells_no_energy_and_the_network_is_measured_again(store: Store) -> None:
    link, observer = with_sensor(), Watcher()
    plain = link.run_blocks

    def silent(job, on_event):
        return plain(job, lambda event: None if event["event"] == "energy" else on_event(event))

    link.run_blocks = silent  # type: ignore[method-assign]
    outcome = run_scripted(link, store, observer=observer, energy=True)
    assert observer.notes == ["energy of network 1 is not known: 0 readings of a sensor"]
    (run,) = store.block_runs(outcome.uses[0].configuration, "energy")
    assert isinstance(run, BlockRun) and run.sensor == RAPL
    link.run_blocks = plain  # type: ignore[method-assign]
    run_scripted(link, store, energy=True)
    (row,) = latencies(store, outcome.uses[0].configuration)
    assert row.energy is not None and row.energy.total.value == pytest.approx(8.0, rel=0.01)


def test_an_agent_that_tells_of_no_blocks_is_not_believed(store: Store) -> None:
    link = with_sensor()
    link.run_blocks = lambda job, on_event: {"blocks": 0, "conditions_after": COOL}  # type: ignore[method-assign]
    (failure,) = run_scripted(link, store, energy=True).failures
    assert failure.kind == "bad-result" and "0 blocks were told" in failure.message


def test_energy_under_which_somebody_changed_the_device_is_none_of_the_network(store: Store) -> None:
    set_to, after = (COOL | {"power_mode": mode} for mode in ("15W", "MAXN"))
    link = with_sensor()
    link._probes, link.conditions, link.loads = [set_to], set_to, [Load(after=after)]
    outcome = run_scripted(link, store, energy=True)
    assert [(one.kind, "nvpmodel#MAXN" in one.message) for one in outcome.failures] == [
        ("conditions-changed", True)
    ]
    (row,) = latencies(store, outcome.uses[0].configuration)
    assert row.energy is None

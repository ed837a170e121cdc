"""Sessions measured again, workers of many networks and what goes wrong in them, order: on devices that follow a script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from itertools import count
from pathlib import Path
from typing import Self

import pytest
from factories.records import graph_hash
from rigs.scripted_link import CALIBRATIONS, COOL, Run, ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from device_agents.attempts import REDO_AFTER_S
from harness.errors import AgentError, Cancelled, LinkError
from harness.measurement import session_runner
from harness.measurement.campaign import Outcome
from harness.measurement.events import Repeating
from harness.models.exported import ExportedModels
from harness.models.names import select_models_and_segments
from harness.records import Configuration, SessionRecord
from harness.store import Store
from harness.store.latencies import latencies

CALIBRATED = [Run(ratio=1.0)] * CALIBRATIONS
LOST = Run(error=LinkError("gone"))
THROTTLED = Run(is_throttled=True, ratio=9.0)


def configuration_of(outcome: Outcome) -> Configuration:
    return outcome.uses[0].configuration


def by_purpose(store: Store, outcome: Outcome) -> dict[str, list[SessionRecord]]:
    """Return the stored sessions of each purpose that has some."""
    purposes = ("network", "segment", "calibration", "throttled", "contended")
    found = {p: store.sessions(configuration_of(outcome), purpose=p) for p in purposes}
    return {purpose: sessions for purpose, sessions in found.items() if sessions}


def counts(store: Store, outcome: Outcome) -> dict[str, int]:
    return {purpose: len(sessions) for purpose, sessions in by_purpose(store, outcome).items()}


def test_a_throttled_session_is_measured_again_and_kept_apart(store: Store) -> None:
    cancel, observer = StubEvent(), Watcher()
    link = ScriptedLink([THROTTLED, Run()])
    outcome = run_scripted(link, store, cancel=cancel, observer=observer)
    assert (outcome.measured, outcome.setbacks.total(), outcome.failures, outcome.error) == (1, 1, [], None)
    assert cancel.waits_s == [REDO_AFTER_S] == [90.0]
    assert [str(event) for event in observer.of(Repeating)] == ["1 session was throttled; again in 90 s"]
    assert counts(store, outcome) == {"network": 1, "throttled": 1}
    found = by_purpose(store, outcome)
    assert [s.gate["attempt"] for s in (*found["throttled"], *found["network"])] == [0, 1]
    (row,) = latencies(store, configuration_of(outcome))
    assert row.estimate.sessions == 1
    assert row.estimate.ratio == pytest.approx(2.0)
    assert "throttled" not in {finding.kind for finding in row.findings}
    assert store.session_counts(configuration_of(outcome)) == {graph_hash(1): 1}
    again = run_scripted(ScriptedLink(), store)
    assert (again.measured, again.reused) == (0, 1)


def test_conditions_are_asked_anew_after_a_throttled_session(store: Store) -> None:
    hot_once = ScriptedLink([THROTTLED, Run()])
    plain = ScriptedLink([Run(), Run()])
    run_scripted(hot_once, store)
    run_scripted(plain, store, fresh=True)
    assert hot_once.probed == plain.probed + 1


def test_conditions_are_asked_anew_after_a_worker_that_died(store: Store) -> None:
    killed = Run(error=AgentError("worker-killed", "killed"))
    link = ScriptedLink([Run(), killed, Run()])
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)))
    assert (outcome.measured, len(outcome.failures)) == (2, 1)
    assert link.probed == 3, "at the start, for the first worker, and after the one that died"


def test_a_device_that_always_throttles_is_tried_three_times_and_the_last_is_kept_with_its_doubt(
    store: Store,
) -> None:
    cancel = StubEvent()
    outcome = run_scripted(ScriptedLink([THROTTLED]), store, cancel=cancel)
    assert (outcome.measured, outcome.setbacks.total(), outcome.failures, outcome.error) == (1, 2, [], None)
    assert cancel.waits_s == [90.0, 90.0]
    found = by_purpose(store, outcome)
    assert counts(store, outcome) == {"network": 1, "throttled": 2}
    assert found["network"][0].gate["attempt"] == 2
    (row,) = latencies(store, configuration_of(outcome))
    assert (row.grade, row.estimate.sessions) == ("D", 1)
    assert "throttled" in {finding.kind for finding in row.findings}


def test_measuring_again_in_vain_is_not_repeated_until_a_session_is_unthrottled(store: Store) -> None:
    cancel = StubEvent()
    runs = [THROTTLED, THROTTLED, THROTTLED, THROTTLED, Run(), THROTTLED, Run()]
    outcome = run_scripted(ScriptedLink(runs), store, sessions=4, cancel=cancel)
    assert (outcome.measured, outcome.setbacks.total(), cancel.waits_s) == (4, 3, [90.0] * 3)
    attempts = [session.gate["attempt"] for session in by_purpose(store, outcome)["network"]]
    assert attempts == [2, 0, 0, 1]


def test_a_throttled_calibration_is_measured_again_too_and_makes_no_reference(store: Store) -> None:
    slow = Run(ratio=1.0, reference_ns=1_000_000, is_throttled=True)  # nonsense: it must not be the quietest
    outcome = run_scripted(ScriptedLink([slow, *CALIBRATED, Run()]), store, recalibrate=True)
    assert counts(store, outcome) == {"network": 1, "calibration": 3, "throttled": 1}
    reference = store.reference_latency(configuration_of(outcome))
    assert reference is not None
    assert reference.latency_ns == pytest.approx(10_000_000, rel=1e-3)
    assert outcome.setbacks.total() == 1


def test_a_wait_before_measuring_again_that_is_cancelled_ends_at_once_and_loses_nothing(store: Store) -> None:
    cancel = StubEvent(lambda _: cancel.set())
    link = ScriptedLink([Run(), THROTTLED, Run()])
    outcome = run_scripted(link, store, sessions=2, cancel=cancel)
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.measured, outcome.setbacks.total(), len(link.ran), cancel.waits_s) == (1, 1, 2, [90.0])
    assert counts(store, outcome) == {"network": 1, "throttled": 1}
    again = run_scripted(ScriptedLink(), store, sessions=2)
    assert (again.measured, again.reused) == (1, 1)


def test_a_link_lost_in_a_wait_is_opened_again_and_the_session_measured(store: Store) -> None:
    link = ScriptedLink([THROTTLED, Run()], probes=[COOL, COOL, LinkError("gone"), COOL])
    outcome = run_scripted(link, store)
    assert (outcome.measured, outcome.setbacks.total(), outcome.failures, outcome.error) == (1, 1, [], None)
    assert link.reopened == 1


def test_a_campaign_cancelled_while_it_reconnects_leaves_no_failure(store: Store) -> None:
    cancel = StubEvent()
    link = ScriptedLink([LOST, LOST, Run()])
    link.on_reopen = lambda: cancel.set() if link.reopened == 2 else None
    outcome = run_scripted(link, store, cancel=cancel)
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.measured, outcome.failures, store.failures()) == (0, [], [])


def test_a_campaign_cancelled_while_it_reconnects_for_a_networks_memory_leaves_no_failure(
    store: Store,
) -> None:
    cancel, link = StubEvent(), ScriptedLink()
    link.weights, link.on_reopen = [LinkError("gone")], cancel.set
    outcome = run_scripted(link, store, cancel=cancel, memory=True)
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.failures, store.failures()) == ([], [])


def test_a_link_lost_twice_is_a_failure_and_the_campaign_goes_on(store: Store) -> None:
    outcome = run_scripted(ScriptedLink([LOST, LOST, Run()]), store, ScriptedSource(networks=(1, 2)))
    assert (outcome.measured, [failure.kind for failure in outcome.failures]) == (1, ["link-lost"])
    assert outcome.error is None


def test_a_link_lost_while_the_full_disk_is_cleared_is_opened_again(store: Store) -> None:
    full = AgentError("disk-full", "no space left")
    link = ScriptedLink()
    # the first is of what is sent ahead, which leaves it to the workers
    link.send_errors, link.evict_errors = [full, full, full], [LinkError("gone")]
    outcome = run_scripted(link, store)
    assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
    assert (link.reopened, link.evicted) == (1, 2)


def test_an_agent_that_cannot_clear_its_disk_is_a_failure_and_no_end(store: Store) -> None:
    link = ScriptedLink()
    run_scripted(link, store)
    link = ScriptedLink()
    link.send_errors = [AgentError("disk-full", "no space left")] * 2  # of what is sent ahead, of a worker's
    link.evict_errors = [AgentError("agent-error", "read-only file system")]
    outcome = run_scripted(link, store, ScriptedSource(networks=(2, 3)))
    assert (outcome.measured, outcome.error) == (1, None)
    assert [failure.kind for failure in outcome.failures] == ["agent-error"]


def test_a_clock_that_is_set_between_sessions_makes_no_visits_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        """A time of day that somebody sets two hours on whenever it is read."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(1e9 + 7200 * next(readings), tz)

    readings = count()
    monkeypatch.setattr(session_runner, "datetime", Clock)
    outcome = run_scripted(ScriptedLink(), store, sessions=4)
    reference = store.reference_latency(configuration_of(outcome))
    assert reference is not None
    assert (outcome.measured, reference.visits) == (4, 1)


def test_a_reference_far_off_has_the_conditions_asked_before_the_next_session(
    store: Store, tmp_path: Path
) -> None:
    source = ScriptedSource(networks=(1, 2, 3))
    steady = ScriptedLink([Run(), Run(reference_ns=12_900_000), Run()])
    outcome = run_scripted(steady, store, source)
    off = ScriptedLink([Run(), Run(reference_ns=13_200_000), Run()])
    other = Store(str(tmp_path / "other.sqlite"))
    assert run_scripted(off, other, source).measured == outcome.measured == 3
    other.close()
    assert off.probed == steady.probed + 1


def test_every_session_tells_the_reference_and_nothing_is_calibrated_unasked(store: Store) -> None:
    outcome = run_scripted(ScriptedLink(), store)
    assert counts(store, outcome) == {"network": 1}
    reference = store.reference_latency(configuration_of(outcome))
    assert reference is not None
    assert reference.latency_ns == pytest.approx(10_000_000, rel=1e-3)
    (row,) = latencies(store, configuration_of(outcome))
    assert row.latency_ms == pytest.approx(20.0, rel=1e-3)


def test_recalibrating_replaces_the_latency_in_use_and_keeps_the_sessions(store: Store) -> None:
    first = run_scripted(ScriptedLink([Run()]), store)
    link = ScriptedLink([Run(ratio=1.0, reference_ns=8_000_000)] * CALIBRATIONS)
    again = run_scripted(link, store, recalibrate=True)
    assert (again.measured, again.reused, again.error, len(link.ran)) == (0, 1, None, 3)
    reference = store.reference_latency(configuration_of(again))
    assert reference is not None
    assert reference.latency_ns == pytest.approx(8_000_000, rel=1e-3)
    assert latencies(store, configuration_of(again))[0].latency_ms == pytest.approx(16.0, rel=1e-3)
    assert counts(store, first) == {"network": 1, "calibration": 3}


def test_calibrations_never_count_as_sessions_of_the_reference_network(store: Store) -> None:
    first = run_scripted(ScriptedLink(), store, recalibrate=True)
    assert graph_hash(0) not in store.session_counts(configuration_of(first))
    as_network = run_scripted(ScriptedLink(), store, ScriptedSource(networks=(0,)))
    assert (as_network.measured, as_network.reused) == (1, 0)
    assert store.session_counts(configuration_of(first)) == {graph_hash(0): 1, graph_hash(1): 1}


class Killed(BaseException):
    """Stands for a harness that is gone."""


def die() -> None:
    raise Killed


def test_each_calibration_that_was_measured_is_kept_when_the_harness_dies(store: Store) -> None:
    with pytest.raises(Killed):
        run_scripted(ScriptedLink([Run(ratio=1.0), Run(before=die)]), store, recalibrate=True)
    (configuration,) = store.configurations()
    assert len(store.sessions(configuration, purpose="calibration")) == 1


def test_a_calibration_that_fails_is_a_failure_and_the_networks_are_measured(store: Store) -> None:
    killed = Run(error=AgentError("worker-killed", "killed"))
    outcome = run_scripted(ScriptedLink([Run(ratio=1.0), killed, Run()]), store, recalibrate=True)
    assert (outcome.measured, outcome.error) == (1, None)
    assert [failure.kind for failure in outcome.failures] == ["worker-killed"]
    assert counts(store, outcome) == {"network": 1, "calibration": 2}


def two_runtimes(runs: Sequence[Run]) -> ScriptedLink:
    link = ScriptedLink(runs)
    link.hello["runtimes"].append(link._runtime("tflite") | {"formats": ["tflite"]})
    return link


def test_recalibrating_one_runtime_of_two_is_no_failure_of_the_device(store: Store) -> None:
    run_scripted(two_runtimes([Run(ratio=1.0)]), store)
    broken = Run(error=AgentError("worker-killed", "killed"))
    outcome = run_scripted(two_runtimes([*CALIBRATED, broken]), store, recalibrate=True)
    assert (outcome.error, len(outcome.failures), outcome.reused) == (None, CALIBRATIONS, 2)
    assert {failure.configuration.runtime for failure in outcome.failures} == {"tflite"}


def test_the_order_is_random_across_networks_in_each_round_and_rounds_stay_apart(store: Store) -> None:
    networks = range(1, 13)
    link = ScriptedLink()
    outcome = run_scripted(link, store, ScriptedSource(networks=networks), sessions=3)
    assert outcome.measured == 36
    rounds = [link.ran[12 * i :][:12] for i in range(3)]
    assert all(len(set(one)) == 12 for one in rounds), "each round has each network once"
    assert len({tuple(one) for one in (*rounds, sorted(rounds[0]))}) == 4, "each in an order of its own"
    other = ScriptedLink()
    run_scripted(other, store, ScriptedSource(networks=networks), sessions=3, fresh=True, seed=1)
    assert other.ran != link.ran


def test_a_resumed_campaign_measures_what_is_missing_of_each_round(store: Store) -> None:
    run_scripted(ScriptedLink(), store, ScriptedSource(networks=(1, 2)))
    link = ScriptedLink()
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)), sessions=2)
    assert (outcome.measured, outcome.reused) == (4, 2)
    assert len(set(link.ran[1:])) == 3, "the first round lacks the third network alone"
    assert link.ran[0] in link.ran[1:]


def test_segments_join_as_segments_and_never_appear_among_networks(store: Store) -> None:
    source = ScriptedSource(networks=(1,), segments=(7, 8))
    outcome = run_scripted(ScriptedLink(), store, source)
    configuration = configuration_of(outcome)
    assert outcome.measured == 3
    assert [row.architecture for row in latencies(store, configuration)] == ["network 1"]
    segments = latencies(store, configuration, purpose="segment")
    assert {row.architecture for row in segments} == {"segment 7", "segment 8"}
    assert store.session_counts(configuration) == {graph_hash(1): 1}
    again = run_scripted(ScriptedLink(), store, source)
    assert (again.measured, again.reused) == (0, 3)


@pytest.mark.converter
def test_segments_that_the_user_names_come_as_segments(harness_cache: Path) -> None:
    selected = select_models_and_segments(["segments", "conv/conv/conv"])
    models = ExportedModels(selected, on_progress=lambda *_: None).models("onnx")
    assert (models[0].purpose, models[0].architecture) == ("network", "conv/conv/conv")
    assert {model.purpose for model in models[1:5]} == {"segment"}
    assert len({model.graph_hash for model in models[:5]}) == 5


@pytest.mark.parametrize(
    ("elsewhere", "told"),
    [
        ({"platform": {"machine": "riscv64"}}, "hardware 'riscv64 Made Up CPU', not "),
        ({"variables": {"MALLOC_ARENA_MAX": "0a1b2c3d"}}, "environment 'MALLOC_ARENA_MAX#0a1b2c3d', not ''"),
    ],
)
def test_a_connection_that_is_opened_again_to_another_machine_adds_nothing_to_the_firsts_latencies(
    store: Store, elsewhere: dict[str, object], told: str
) -> None:
    link = ScriptedLink([LOST, Run()])
    link.on_reopen = lambda: link.hello.update(elsewhere)
    outcome = run_scripted(link, store)
    assert {failure.kind for failure in outcome.failures} == {"conditions-changed"}
    assert told in outcome.failures[0].message
    assert counts(store, outcome) == {}


def test_each_environment_has_a_configuration_of_its_own(store: Store) -> None:
    one, other = ScriptedLink(), ScriptedLink()
    other.hello["variables"] = {"MALLOC_ARENA_MAX": "0a1b2c3d"}
    found = [configuration_of(run_scripted(link, store)) for link in (one, other, one)]
    assert [configuration.environment for configuration in found] == ["", "MALLOC_ARENA_MAX#0a1b2c3d", ""]
    assert store.configurations() == found[:2]


def test_each_power_mode_of_a_board_has_a_configuration_of_its_own(store: Store) -> None:
    def in_mode(mode: str, **then: object) -> ScriptedLink:
        link = ScriptedLink(probes=[COOL | {"power_mode": mode}])
        link.conditions = COOL | (then or {"power_mode": mode})
        return link

    found = [configuration_of(run_scripted(in_mode(mode), store)) for mode in ("15W", "MAXN")]
    assert [one.environment for one in found] == ["nvpmodel#15W", "nvpmodel#MAXN"]
    changed = run_scripted(in_mode("15W", power_mode="MAXN"), store, sessions=2)
    assert [failure.kind for failure in changed.failures] == ["conditions-changed"]
    assert "environment 'nvpmodel#MAXN', not 'nvpmodel#15W'" in changed.failures[0].message
    unread = run_scripted(in_mode("15W", probe_errors={"power_mode": "no answer"}), store, sessions=2)
    assert (unread.measured, unread.failures) == (1, [])

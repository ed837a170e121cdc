"""Gates before a session, with a scripted probe and waits that take no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rigs.scripted_link import COOL, HOT, Run, ScriptedLink, ScriptedSource, StubEvent, run_scripted

from device_agents.throttling import PATIENCE_S, POLL_S, Gate
from harness.errors import Cancelled, LinkError
from harness.measurement.events import Unready
from harness.store import Store
from harness.store.latencies import latencies


class Probe:
    """A probe that gives each answer once, the last for ever."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def started(clock_s: Callable[[], float] = lambda: 0.0) -> Gate:
    """Return the gate of a campaign that started on a cool device."""
    return Gate(COOL, clock_s)


def wait(
    gate: Gate,
    known: Mapping[str, Any],
    probe: Probe,
    tell: Callable[[Mapping[str, str]], object],
    pause: Callable[[float], bool],
) -> dict[str, Any]:
    """Wait at a gate that has just been told conditions."""
    gate.note(known)
    return gate.wait(probe, tell, pause)


def test_a_device_that_is_fit_waits_for_nothing_and_is_not_asked() -> None:
    probe, cancel = Probe(HOT), StubEvent()
    gate = wait(started(), COOL, probe, print, cancel.wait)
    assert gate == {"waited_s": 0.0, "closed": []}
    assert (probe.asked, cancel.waits_s) == (0, [])


def test_what_is_known_of_a_device_is_trusted_for_no_longer_than_it_would_be_asked_again() -> None:
    probe, now_s = Probe(COOL), [0.0]
    gate = started(lambda: now_s[0])
    for age_s, asked in ((0.0, 0), (POLL_S - 0.5, 0), (POLL_S, 1), (600.0, 2)):
        gate.note(COOL)
        now_s[0] += age_s
        gate.wait(probe, print, StubEvent().wait)
        assert probe.asked == asked, age_s
    gate.note({})
    gate.wait(probe, print, StubEvent().wait)
    assert probe.asked == 3, "nothing is known"


def test_a_closed_gate_is_asked_every_five_seconds_until_it_opens() -> None:
    told: list[Mapping[str, str]] = []
    probe, cancel = Probe(HOT, HOT, COOL), StubEvent()
    gate = wait(started(), HOT, probe, told.append, cancel.wait)
    assert gate == {"waited_s": 3 * POLL_S, "closed": []}
    assert (probe.asked, cancel.waits_s) == (3, [5.0] * 3)
    assert [str(Unready(closed=closed)) for closed in told] == [
        "waiting for the device: cpu at 60.0 C, 20.0 C over the campaign's start"
    ] * 3


def test_a_gate_that_never_opens_ends_the_patience_and_says_what_closed_it() -> None:
    probe, cancel = Probe(HOT, {"thermal_status": 2}), StubEvent()
    gate = wait(started(), HOT, probe, lambda _: None, cancel.wait)
    assert gate == {"waited_s": PATIENCE_S, "closed": ["Android thermal status 2 (moderate)"]}
    assert sum(cancel.waits_s) == 300.0


def test_a_board_that_settles_warmer_is_waited_for_once() -> None:
    gate, cancel = started(), StubEvent()
    first = wait(gate, HOT, Probe(HOT), lambda _: None, cancel.wait)
    assert (first["waited_s"], len(first["closed"])) == (PATIENCE_S, 1)
    assert wait(gate, HOT, Probe(HOT), lambda _: None, cancel.wait) == {"waited_s": 0.0, "closed": []}
    hotter = {"temps_c": {"cpu": HOT["temps_c"]["cpu"] + 3.5}}
    assert wait(gate, hotter, Probe(HOT), lambda _: None, cancel.wait) == {"waited_s": POLL_S, "closed": []}


def test_a_device_that_never_stops_throttling_is_waited_for_once_and_flagged_each_time() -> None:
    gate, cancel = started(), StubEvent()
    throttled = COOL | {"throttled": 0x1}
    waits = [wait(gate, throttled, Probe(throttled), lambda _: None, cancel.wait) for _ in range(3)]
    assert [wait["waited_s"] for wait in waits] == [PATIENCE_S, 0.0, 0.0]
    assert all("under-voltage" in wait["closed"][0] for wait in waits)
    wait(gate, COOL, Probe(COOL), lambda _: None, cancel.wait)
    again = wait(gate, throttled, Probe(throttled), lambda _: None, cancel.wait)
    assert again["waited_s"] == PATIENCE_S, "once it was seen fit, it is worth waiting again"


def test_a_wait_that_is_cancelled_asks_the_device_no_more() -> None:
    probe = Probe(HOT)
    cancel = StubEvent(lambda _: cancel.set())
    wait(started(), HOT, probe, lambda _: None, cancel.wait)
    assert (probe.asked, len(cancel.waits_s)) == (0, 1)


def test_a_session_behind_a_gate_that_never_opened_is_hot_and_graded_d(store: Store) -> None:
    hot = ScriptedLink(probes=[COOL, HOT])
    outcome = run_scripted(hot, store)
    assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
    configuration = outcome.uses[0].configuration
    (session,) = store.sessions(configuration)
    assert session.gate == {
        "waited_s": 300.0,
        "closed": ["cpu at 60.0 C, 20.0 C over the campaign's start"],
        "attempt": 0,
    }
    (row,) = latencies(store, configuration)
    assert row.grade == "D"
    (hot_finding,) = (finding for finding in row.findings if finding.kind == "hot")
    assert "300 s" in hot_finding.message
    assert "cpu at 60.0 C" in hot_finding.message


def test_a_session_behind_a_gate_that_opened_is_not_hot(store: Store) -> None:
    link = ScriptedLink(probes=[COOL, HOT, HOT, COOL])
    outcome = run_scripted(link, store)
    configuration = outcome.uses[0].configuration
    (session,) = store.sessions(configuration)
    assert session.gate == {"waited_s": 10.0, "closed": [], "attempt": 0}
    (row,) = latencies(store, configuration)
    assert "hot" not in {finding.kind for finding in row.findings}


def test_a_gpu_that_is_held_back_closes_no_gate_of_a_session_on_the_cpu(store: Store) -> None:
    busy = COOL | {"gpus": [{"reasons": 0x4, "temp_c": 90}]}
    cancel = StubEvent()
    outcome = run_scripted(ScriptedLink(probes=[COOL, busy]), store, cancel=cancel)
    assert (outcome.measured, cancel.waits_s) == (1, [])


def test_a_gpu_that_is_held_back_closes_the_gate_of_a_session_on_it(store: Store) -> None:
    busy = COOL | {"gpus": [{"reasons": 0x40, "temp_c": 50}]}
    free = COOL | {"gpus": [{"reasons": 0x0, "temp_c": 50}]}
    cancel = StubEvent()
    link = ScriptedLink([Run(after=free)], probes=[free, busy, busy, free], provider="CUDAExecutionProvider")
    outcome = run_scripted(link, store, cancel=cancel)
    assert (outcome.measured, cancel.waits_s, link.probed) == (1, [5.0, 5.0], 4)


def test_a_session_on_the_gpu_asks_for_it_where_what_is_known_holds_none(store: Store) -> None:
    link = ScriptedLink(
        [Run(after=COOL)], probes=[COOL | {"gpus": [{"reasons": 0}]}], provider="CUDAExecutionProvider"
    )
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)))
    assert (outcome.measured, link.probed) == (2, 3), "the start, and each network"


def test_a_link_that_breaks_while_a_gate_is_closed_is_opened_again_and_the_gate_heeded(store: Store) -> None:
    link = ScriptedLink(probes=[COOL, HOT, LinkError("gone"), HOT, COOL])
    outcome = run_scripted(link, store)
    assert (outcome.measured, outcome.failures, outcome.error, link.reopened) == (1, [], None, 1)
    (session,) = store.sessions(outcome.uses[0].configuration)
    assert session.gate == {"waited_s": 5.0, "closed": [], "attempt": 0}


def test_a_campaign_cancelled_at_a_closed_gate_ends_at_once_and_loses_nothing(store: Store) -> None:
    cancel = StubEvent(lambda _: cancel.set())
    link = ScriptedLink(probes=[COOL, COOL, HOT], runs=[Run(after=HOT), Run()])
    outcome = run_scripted(link, store, sessions=2, cancel=cancel)
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.measured, len(link.ran), cancel.waits_s, link.probed) == (1, 1, [5.0], 2)
    configuration = outcome.uses[0].configuration
    assert len(store.sessions(configuration)) == 1
    again = run_scripted(ScriptedLink(), store, sessions=2)
    assert (again.measured, again.reused, again.error) == (1, 1, None)

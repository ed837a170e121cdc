"""Waiting for a free core before a worker: patience, refusals and what they say, with scripted probes and waits without time."""

from __future__ import annotations

from typing import Any

import pytest
from rigs.scripted_link import Run, ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from device_agents.core_gate import PATIENCE_S, POLL_S, CoreGate, Hopeless, QuietCores, verified_request
from harness.errors import Cancelled, DeviceError, LinkError
from harness.store import Store

REMEDY = "stop that program"


def cores(waited: float | None, taken: float | None = None, **changes: Any) -> QuietCores:
    """Return what a probe of core 1 says; taken: by other programs, of a process that does not ask."""
    found: dict[str, Any] = {"cores": (1,), "waited": waited, "taken": waited if taken is None else taken}
    return QuietCores(**found | changes)


class Bench:
    """A gate with probes that each answer once, the last for ever, and what it said and told."""

    def __init__(self, *answers: QuietCores, cancel: StubEvent | None = None) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.cancel = cancel or StubEvent()
        self.notes: list[str] = []
        self.waits = 0
        self.gate = CoreGate(self.notes.append, self._count, self.cancel.clock_s, REMEDY)

    def probe(self) -> QuietCores:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def then(self, *answers: QuietCores) -> None:
        self._answers = list(answers)

    def _count(self) -> None:
        self.waits += 1

    def wait(self, request: str = "") -> tuple[QuietCores, dict[str, Any]]:
        return self.gate.wait(self.probe, request, self.cancel.wait)


def test_a_free_core_is_taken_at_once_and_nothing_is_said() -> None:
    bench = Bench(cores(0.01))
    quiet, found = bench.wait()
    assert quiet == cores(0.01)
    assert found == {"cores": [1], "taken": 0.01, "waited": 0.01, "waited_s": 0.0}
    assert (bench.asked, bench.cancel.waits_s, bench.notes) == (1, [], [])


@pytest.mark.parametrize("asking", [{}, {"1": 0.0}])
def test_a_core_that_may_not_be_asked_for_is_as_busy_as_to_anyone(asking: dict[str, float]) -> None:
    """The agent tells nothing of cores on which asking was refused."""
    said = {"cores": [1, 2], "waited": {"1": 0.1, "2": 0.5}, "waited_asking": asking}
    quiet = QuietCores.of(said, 2)
    assert (quiet.taken, quiet.waited) == (0.5, 0.5)
    with pytest.raises(Hopeless, match="cores 1,2 are busy: another program takes 50% of the time"):
        Bench(quiet).wait("realtime")


def test_a_core_that_gets_free_is_waited_for_and_told_of_once() -> None:
    bench = Bench(cores(0.5), cores(0.4), cores(0.02))
    quiet, found = bench.wait()
    assert (quiet.waited, found["waited_s"], bench.asked) == (0.02, 2 * POLL_S, 3)
    assert bench.cancel.waits_s == [POLL_S] * 2
    assert bench.waits == 2
    (told,) = bench.notes
    for part in ("core 1 is busy", "50%", "30 s at most", REMEDY):
        assert part in told


def test_cores_that_are_never_free_are_refused_within_the_patience_and_the_message_says_what_to_do() -> None:
    bench = Bench(cores(0.5))
    with pytest.raises(Hopeless) as caught:
        bench.wait()
    assert sum(bench.cancel.waits_s) == PATIENCE_S == 30.0
    told = "core 1 is busy: another program takes 50% of the time, and did not stop for 30 s; "
    assert str(caught.value) == told + REMEDY


def test_several_cores_are_named_all() -> None:
    bench = Bench(cores(0.5, cores=(2, 3)))
    with pytest.raises(Hopeless, match="cores 2,3 are busy"):
        bench.wait()


def test_a_busy_core_that_yields_when_asked_for_is_taken_at_once_and_told_of() -> None:
    bench = Bench(cores(0.01, taken=0.5))
    _, found = bench.wait("realtime")
    assert (found["waited_s"], found["taken"], bench.waits) == (0.0, 0.5, 0)
    (told,) = bench.notes
    for part in ("core 1 is busy", "50%", "yields to realtime scheduling", "then 1%"):
        assert part in told


def test_a_core_that_is_a_little_busy_is_taken_when_the_patience_is_over() -> None:
    bench = Bench(cores(0.2))
    _, found = bench.wait()
    assert (found["waited_s"], sum(bench.cancel.waits_s)) == (PATIENCE_S, PATIENCE_S)


def test_once_a_campaign_has_begun_a_busy_core_costs_patience_once_and_ends_nothing() -> None:
    bench = Bench(cores(0.0))
    bench.wait()
    bench.then(cores(0.5), cores(0.5), cores(0.0))
    assert bench.wait()[1]["waited_s"] == 4.0
    bench.then(cores(0.9))
    quiet, found = bench.wait()
    assert (quiet.waited, found["waited_s"]) == (0.9, PATIENCE_S - 4.0), "all later waits share one patience"
    assert bench.wait()[1]["waited_s"] == 0.0
    assert sum(bench.cancel.waits_s) == PATIENCE_S
    assert bench.notes == []


def test_what_a_quota_takes_is_not_waited_for_and_told_as_what_it_is() -> None:
    bench = Bench(cores(0.7, quota_cores=0.3))
    assert bench.wait()[1]["waited_s"] == 0.0
    (told,) = bench.notes
    assert "quota of 0.3 cores" in told and "another program" not in told
    assert cores(0.7, quota_cores=1.0).is_busy, "a whole core's quota takes nothing from one thread"


def test_a_system_that_does_not_tell_how_busy_its_cores_are_is_not_waited_for() -> None:
    bench = Bench(QuietCores(cores=(1,), taken=None, waited=None))
    assert bench.wait()[1] == {"cores": [1], "taken": None, "waited": None, "waited_s": 0.0}
    assert (bench.cancel.waits_s, bench.notes) == ([], [])


def test_a_wait_that_is_cancelled_ends_at_once_and_refuses_nothing() -> None:
    cancel = StubEvent(lambda _: cancel.set())
    bench = Bench(cores(0.9), cancel=cancel)
    bench.wait()
    assert (bench.asked, cancel.waits_s) == (1, [POLL_S])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"cores": [1], "waited": {"0": 0.9, "1": 0.2}}, cores(0.2)),
        ({"cores": [1], "waited": {"1": 0.5}, "waited_asking": {"1": 0.01}}, cores(0.01, taken=0.5)),
        ({"cores": [1], "waited": {}}, QuietCores(cores=(1,), taken=None, waited=None)),
        ({"cores": [1], "waited": {"1": 0.5}, "quota_cores": 0.5}, cores(0.5, quota_cores=0.5)),
    ],
)
def test_the_agents_answer_is_read(answer: dict[str, Any], expected: QuietCores) -> None:
    assert QuietCores.of(answer, 1) == expected


def test_of_several_cores_the_busiest_counts() -> None:
    answer = {"cores": [0, 1], "waited": {"0": 0.1, "1": 0.4, "2": 0.9}}
    assert QuietCores.of(answer, 2).waited == 0.4


@pytest.mark.parametrize("cores", [[], [0, 1], [0, 1, 2]])
def test_an_answer_with_another_number_of_cores_breaks_the_protocol(cores: list[int]) -> None:
    with pytest.raises(ValueError, match="answer to quiet"):
        QuietCores.of({"cores": cores, "waited": {}}, 1)


def test_the_first_way_that_was_verified_is_asked_for() -> None:
    def grant(method: str, verified: bool, reason: str = "") -> dict[str, Any]:
        return {"method": method, "granted": True, "verified": verified, "reason": reason}

    grants = [grant("realtime", False, "refused"), grant("autogroup", True), grant("nice", True)]
    assert verified_request({"grants": grants}) == "autogroup"
    assert verified_request({"grants": []}) == ""


def test_a_campaign_whose_core_is_never_free_is_refused_and_measures_nothing(store: Store) -> None:
    cancel, observer, link = StubEvent(), Watcher(), ScriptedLink(quiets=[0.5])
    outcome = run_scripted(link, store, cancel=cancel, observer=observer)
    assert isinstance(outcome.error, DeviceError) and outcome.error.exit_status == 3
    for part in (
        "device 'made-up': core 1 is busy: another program takes 50% of the time",
        "stop that program, or name free cores with --cores; 'harness doctor --device made-up'",
    ):
        assert part in str(outcome.error)
    assert (outcome.measured, outcome.failures, link.jobs) == (0, [], [])
    assert sum(cancel.waits_s) == 30.0
    assert len(observer.notes) == 1
    link = ScriptedLink(quiets=[0.5], grants=[{"method": "realtime", "verified": True}])
    asked = run_scripted(link, store, cancel=StubEvent())
    assert str(asked.error).endswith("name free cores with --cores"), "doctor has nothing more to say"
    again = run_scripted(ScriptedLink(), store)
    assert (again.measured, again.error) == (1, None), "and the same command goes on once it is free"


def test_a_campaign_whose_core_gets_busy_later_goes_on(store: Store) -> None:
    link = ScriptedLink(quiets=[0.0, 0.9])
    cancel = StubEvent()
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)), cancel=cancel)
    assert (outcome.measured, outcome.error, sum(cancel.waits_s)) == (3, None, 30.0)


def test_the_quietest_core_is_taken_before_each_worker(store: Store) -> None:
    quiets = [{"cores": [core], "waited": {str(core): 0.0}} for core in (1, 0, 1)]
    link = ScriptedLink(quiets=quiets)
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)))
    assert [job["cores"] for job in link.jobs] == [[1], [0], [1]]
    assert link.asked_quiet == [((0, 1), 1, "")] * 3, "any of the cores that sessions may take"
    found = store.sessions(outcome.uses[0].configuration)
    assert sorted(session.cores for session in found) == [(0,), (1,), (1,)]


def test_named_cores_are_the_only_ones_asked_about(store: Store) -> None:
    link = ScriptedLink()
    run_scripted(link, store, cores=(0,))
    assert link.asked_quiet == [((0,), 1, "")]


def test_a_link_that_breaks_at_the_probe_of_the_cores_is_opened_again(store: Store) -> None:
    link = ScriptedLink([Run()], quiets=[LinkError("gone"), 0.0])
    outcome = run_scripted(link, store)
    assert (outcome.measured, outcome.failures, link.reopened) == (1, [], 1)


def test_a_campaign_cancelled_while_it_waits_for_a_core_ends_at_once(store: Store) -> None:
    cancel = StubEvent(lambda _: cancel.set())
    link = ScriptedLink(quiets=[0.9])
    outcome = run_scripted(link, store, cancel=cancel)
    assert isinstance(outcome.error, Cancelled)
    assert (link.jobs, cancel.waits_s) == ([], [POLL_S])


def test_a_session_on_a_core_that_was_not_allowed_is_a_failure(store: Store) -> None:
    outcome = run_scripted(ScriptedLink([Run(measured={"cores": [9]})]), store)
    assert [failure.kind for failure in outcome.failures] == ["conditions-changed"]
    assert "cores [9], not [0, 1]" in outcome.failures[0].message

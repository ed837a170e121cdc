"""Many networks in one worker, on devices that follow a script: each is told at once, and a fault costs the network at fault."""

from __future__ import annotations

import random
from typing import Any

import pytest
from factories.records import graph_hash
from hypothesis import given
from hypothesis import strategies as st
from rigs.scripted_link import COOL, Run, ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from harness.errors import AgentError, Cancelled, LinkError
from harness.measurement.campaign import Outcome
from harness.measurement.events import FirstNumbers, Repeating
from harness.measurement.rounds import BRIDGES, FEWEST_WORKERS, batches
from harness.records import SessionRecord
from harness.store import Store

KILLED = AgentError("worker-killed", "the worker was ended by SIGSEGV", {"network": 2})
DAMAGED = AgentError("part-damaged", "part 00 is damaged; it was removed", {"network": 2})
NETWORKS = range(1, 6)  # five: too few for three workers with bridging networks, so one worker takes all


def measure(link: ScriptedLink, store: Store, networks: Any = NETWORKS, **options: Any) -> Outcome:
    return run_scripted(link, store, ScriptedSource(networks=networks), at_once=40, **options)


def sessions(store: Store, outcome: Outcome, purpose: str = "network") -> list[SessionRecord]:
    return store.sessions(outcome.uses[0].configuration, purpose=purpose)


def sizes(link: ScriptedLink) -> list[int]:
    """Return how many networks each job had."""
    return [len(job["networks"]) for job in link.jobs]


def numbers(link: ScriptedLink) -> list[list[str]]:
    """Return the networks of each job."""
    return [[network["parts"][0] for network in job["networks"]] for job in link.jobs]


def lacking(store: Store, outcome: Outcome) -> set[str]:
    """Return the graph hashes without a session."""
    return {graph_hash(number) for number in NETWORKS} - set(
        store.session_counts(outcome.uses[0].configuration)
    )


def test_one_worker_measures_them_all_and_they_share_its_process(store: Store) -> None:
    link = ScriptedLink()
    outcome = measure(link, store)
    assert (outcome.measured, outcome.failures, outcome.error, sizes(link)) == (5, [], None, [5])
    found = sessions(store, outcome)
    assert len({session.session_id for session in found}) == 5
    assert len({session.process for session in found}) == 1 and found[0].process
    assert {session.graph_hash for session in found} == {graph_hash(number) for number in NETWORKS}


def test_of_several_sessions_all_but_the_last_share_a_process(store: Store) -> None:
    link, five = ScriptedLink(), ScriptedSource(networks=NETWORKS)
    outcome = run_scripted(link, store, five, sessions=3, has_shared=True)
    assert (outcome.measured, sizes(link)) == (15, [5, 5, 1, 1, 1, 1, 1])
    found = sessions(store, outcome)
    for number in NETWORKS:
        own = [session.process for session in found if session.graph_hash == graph_hash(number)]
        assert len(set(own)) == 3, "each session of a network is in another process"


def test_a_single_session_of_a_level_with_shared_ones_is_shared(store: Store) -> None:
    link = ScriptedLink()
    run_scripted(link, store, ScriptedSource(networks=NETWORKS), sessions=1, has_shared=True)
    assert sizes(link) == [5]


@pytest.mark.parametrize(("count", "expected"), [(5, [5]), (20, [20]), (100, [34, 33, 33])])
def test_where_other_rounds_tell_workers_apart_none_is_measured_twice_in_a_round(
    count: int, expected: list[int]
) -> None:
    shared = batches(range(count), 40, is_only=False)  # type: ignore[arg-type]
    assert [len(batch) for batch in shared] == expected
    assert sorted(unit for batch in shared for unit in batch) == list(range(count))


def test_each_session_has_its_own_times_and_samples(store: Store) -> None:
    link = ScriptedLink([Run(ratio=1.0 + number) for number in range(5)])
    outcome = measure(link, store)
    found = sorted(sessions(store, outcome), key=lambda session: session.slices[0].at_ns or 0)
    ratios = [session.slices[0].after_switch_ns / 10_000_000 for session in found]
    assert ratios == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert all(len(session.slices) == 8 and len(session.samples) == 1 for session in found)
    assert len({session.samples[0]["at_ns"] for session in found}) == 5


def test_the_record_holds_how_its_cores_were_found_and_asked_for(store: Store) -> None:
    grant = {"method": "realtime", "granted": True, "verified": True, "reason": ""}
    asked = {"request": {"method": "realtime", "granted": True}}
    link = ScriptedLink(
        [Run(measured=asked)],
        quiets=[{"cores": [1], "waited": {"0": 0.5, "1": 0.02}, "quota_cores": 1.5}],
        grants=[{"method": "autogroup", "granted": False, "verified": False, "reason": "no"}, grant],
    )
    outcome = measure(link, store, networks=(1, 2))
    assert (link.asked_permissions, link.asked_quiet) == (1, [((0, 1), 1, "realtime")])
    (job,) = link.jobs
    assert (job["request"], job["cores"], job["threads"]) == ("realtime", [1], 1)
    for session in sessions(store, outcome):
        assert session.cores == (1,) and session.configuration.cores == (0, 1)
        assert session.scheduling["request"] == asked["request"]
        assert session.scheduling["quota_cores"] == 1.5
        assert session.scheduling["probe"] == {"cores": [1], "taken": 0.02, "waited": 0.02, "waited_s": 0.0}
        assert session.scheduling["delay_source"] == "schedstat"


def test_without_a_way_that_was_verified_the_core_is_not_asked_for(store: Store) -> None:
    grant = {"method": "nice", "granted": True, "verified": False, "reason": "no effect"}
    link = ScriptedLink(grants=[grant])
    measure(link, store)
    assert [job["request"] for job in link.jobs] == [""]


def test_a_refused_network_among_good_ones_is_a_failure_and_the_next_ones_are_measured(store: Store) -> None:
    link = ScriptedLink([Run(), Run(refusal="no such op"), Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.error, sizes(link)) == (4, None, [5])
    (failure,) = outcome.failures
    assert failure.kind == "worker-error"
    assert failure.message == "no such op"
    assert lacking(store, outcome) == {failure.graph_hash}
    assert store.failures() == [failure]


def test_a_crash_costs_the_network_that_crashed_and_a_new_worker_measures_the_rest(store: Store) -> None:
    link = ScriptedLink([Run(), Run(), Run(error=KILLED), Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.error, sizes(link)) == (4, None, [5, 2])
    (failure,) = outcome.failures
    assert failure.kind == "worker-killed" and lacking(store, outcome) == {failure.graph_hash}
    first, second = numbers(link)
    assert first[3:] == second, "nothing is measured twice"
    processes = [session.process for session in sessions(store, outcome)]
    assert [processes.count(name) for name in dict.fromkeys(processes)] == [2, 2]


def test_a_part_damaged_in_the_middle_of_a_job_is_sent_again_and_nothing_is_measured_twice(
    store: Store,
) -> None:
    link = ScriptedLink([Run(), Run(), Run(error=DAMAGED), Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.failures, outcome.error) == (5, [], None)
    assert (sizes(link), link.forgotten) == ([5, 3], 1)
    assert set(store.session_counts(outcome.uses[0].configuration).values()) == {1}


def test_a_part_that_is_damaged_again_and_again_costs_its_network_alone(store: Store) -> None:
    damaged = Run(error=DAMAGED)
    link = ScriptedLink([Run(), damaged, damaged, damaged, Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.error, sizes(link)) == (4, None, [5, 4, 4, 3])
    assert [failure.kind for failure in outcome.failures] == ["part-damaged"]


def test_a_link_that_breaks_in_the_middle_of_a_job_measures_nothing_twice(store: Store) -> None:
    link = ScriptedLink([Run(), Run(), Run(error=LinkError("gone")), Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.failures, outcome.error) == (5, [], None)
    assert (sizes(link), link.reopened) == ([5, 3], 1)
    assert set(store.session_counts(outcome.uses[0].configuration).values()) == {1}


def test_a_network_that_takes_the_link_down_twice_is_a_failure_and_the_rest_is_measured(store: Store) -> None:
    lost = Run(error=LinkError("gone"))
    link = ScriptedLink([Run(), lost, lost, Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.error, sizes(link), link.reopened) == (4, None, [5, 4, 3], 2)
    assert [failure.kind for failure in outcome.failures] == ["link-lost"]


def test_two_networks_that_each_lose_the_link_once_are_both_measured(store: Store) -> None:
    lost = Run(error=LinkError("gone"))
    link = ScriptedLink([lost, Run(), lost, Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.failures, link.reopened) == (5, [], 2)


def test_a_worker_that_dies_after_its_last_network_costs_nothing(store: Store) -> None:
    link = ScriptedLink()
    link.run_error = AgentError("worker-killed", "the worker was ended by SIGKILL")
    outcome = measure(link, store)
    assert (outcome.measured, outcome.failures, outcome.error, sizes(link)) == (5, [], None, [5])


def test_a_campaign_cancelled_in_the_middle_of_a_job_keeps_what_was_measured(store: Store) -> None:
    cancel = StubEvent()
    link = ScriptedLink([Run(), Run(), Run(before=cancel.set), Run()])
    outcome = measure(link, store, cancel=cancel)
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.measured, outcome.failures, sizes(link)) == (2, [], [5])
    assert len(sessions(store, outcome)) == 2
    again = measure(ScriptedLink(), store)
    assert (again.measured, again.reused, again.error) == (3, 2, None)


def test_a_contended_network_is_kept_apart_and_measured_again_after_the_rest(store: Store) -> None:
    observer = Watcher()
    link = ScriptedLink([Run(), Run(is_contended=True), Run()])
    outcome = measure(link, store, observer=observer)
    assert (outcome.measured, outcome.setbacks.total(), outcome.failures, outcome.error) == (5, 1, [], None)
    assert sizes(link) == [5, 3, 1], "the worker ends where it saw that its core is not free"
    assert len(link.asked_quiet) == 3, "and the core is waited for anew"
    (contended,) = sessions(store, outcome, "contended")
    assert contended.stop == "contended"
    assert {session.stop for session in sessions(store, outcome)} == {"precision"}
    assert numbers(link)[2] == [numbers(link)[0][1]]
    assert [str(event) for event in observer.of(Repeating)] == [
        "1 session was disturbed by another program; again"
    ]
    assert len(observer.done) == 5


def test_a_core_that_stays_contended_is_measured_thrice_and_then_each_network_once(store: Store) -> None:
    outcome = measure(ScriptedLink([Run(is_contended=True)]), store, networks=(1, 2, 3))
    assert (outcome.measured, outcome.setbacks.total(), outcome.error) == (3, 6, None)
    assert {session.gate["attempt"] for session in sessions(store, outcome)} == {2}
    link = ScriptedLink([Run(is_contended=True)])
    outcome = run_scripted(link, store, ScriptedSource(networks=(4, 5, 6)))
    assert (outcome.measured, outcome.setbacks.total()) == (3, 2), (
        "in vain once, it is not tried again for the others"
    )


def test_a_throttled_and_a_contended_network_of_one_worker_are_both_measured_again(store: Store) -> None:
    cancel = StubEvent()
    link = ScriptedLink([Run(), Run(is_throttled=True), Run(), Run(), Run(is_contended=True), Run()])
    outcome = measure(link, store, cancel=cancel)
    assert (outcome.measured, outcome.setbacks.total(), cancel.waits_s) == (5, 2, [90.0])
    assert outcome.setbacks == {"throttled": 1, "contended": 1}
    assert len(sessions(store, outcome, "throttled")) == len(sessions(store, outcome, "contended")) == 1


IMPOSSIBLE = [
    {"loop_s": 0.1},  # its slices took longer
    {"loop_s": 5.0, "elapsed_s": 2.0},
    {"loop_s": 500.0, "elapsed_s": 501.0},  # longer than what passed here
    {"loop_s": 1e8, "elapsed_s": 1e8},
]


@pytest.mark.parametrize("measured", IMPOSSIBLE)
def test_times_that_cannot_be_are_a_failure_of_that_network_and_are_not_stored(
    store: Store, measured: dict[str, float]
) -> None:
    link = ScriptedLink([Run(), Run(measured=measured), Run()])
    outcome = measure(link, store)
    assert (outcome.measured, outcome.error, sizes(link)) == (4, None, [5, 3])
    (failure,) = outcome.failures
    assert failure.kind == "bad-result"
    assert "its clock or its agent is broken" in failure.message
    assert lacking(store, outcome) == {failure.graph_hash}
    assert link.reopened == 1, "the worker with the broken clock is left"


def test_slices_of_absurd_length_are_a_failure(store: Store) -> None:
    absurd = Run(reference_ns=10**15, measured={"loop_s": 1.0, "elapsed_s": 1.0})
    outcome = measure(ScriptedLink([absurd, Run()]), store)
    assert (outcome.measured, [failure.kind for failure in outcome.failures]) == (4, ["bad-result"])


def test_a_device_whose_every_time_is_absurd_is_given_up_and_nothing_is_stored(store: Store) -> None:
    outcome = measure(ScriptedLink([Run(measured={"loop_s": 0.0})]), store)
    assert outcome.error is not None and "5 networks failed in a row" in str(outcome.error)
    assert (outcome.measured, len(outcome.failures)) == (0, 5)
    assert sessions(store, outcome) == []


def test_a_job_that_ends_without_a_word_is_a_broken_link_and_not_started_for_ever(store: Store) -> None:
    link = ScriptedLink()
    link.is_mute = True
    outcome = measure(link, store, networks=(1,))
    assert [failure.kind for failure in outcome.failures] == ["link-lost"]
    assert "without a word of any network" in outcome.failures[0].message
    assert len(link.jobs) == 2


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (2,), (0, -1), (0, 9)])
def test_networks_told_twice_or_out_of_order_break_the_link_and_nothing_wrong_is_stored(
    store: Store, order: tuple[int, ...]
) -> None:
    link = ScriptedLink()
    link.order = list(order)
    outcome = measure(link, store, networks=(1, 2))
    assert (outcome.measured, outcome.failures, outcome.error, link.reopened) == (2, [], None, 1)
    assert set(store.session_counts(outcome.uses[0].configuration).values()) == {1}


def test_the_runtimes_take_turns_and_each_round_is_told(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.hello["runtimes"].append(link._runtime("tflite") | {"formats": ["tflite"]})
    outcome = measure(link, store, sessions=2, observer=observer)
    assert (outcome.measured, outcome.error) == (20, None)
    refined = [(one.plan.configuration.runtime, one.left) for one in observer.of(FirstNumbers)]
    assert refined == [("onnxruntime", 5), ("tflite", 5), ("onnxruntime", 0), ("tflite", 0)]
    assert [job["runtime"] for job in link.jobs] == ["onnxruntime", "tflite"] * 2
    assert (observer.planned, len(observer.done)) == (20, 20)


def test_a_round_of_many_networks_has_three_workers_with_networks_in_common(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    outcome = measure(link, store, networks=range(1, 31), observer=observer)
    repeated = (FEWEST_WORKERS - 1) * BRIDGES
    assert len(link.jobs) == FEWEST_WORKERS and sum(sizes(link)) == 30 + repeated
    common = set.intersection(*(set(job) for job in numbers(link)))
    assert len(common) == BRIDGES
    counts = store.session_counts(outcome.uses[0].configuration)
    assert sorted(counts.values()) == [1] * (30 - BRIDGES) + [FEWEST_WORKERS] * BRIDGES
    assert len({session.process for session in sessions(store, outcome)}) == 3
    assert (observer.planned, outcome.measured, outcome.reused) == (30 + repeated, 30 + repeated, 0)
    again = measure(ScriptedLink(), store, networks=range(1, 31))
    assert (again.measured, again.reused) == (0, 30)


@given(
    st.lists(st.integers(), min_size=1, max_size=300, unique=True), st.integers(2 * BRIDGES, 60), st.randoms()
)
def test_every_network_is_dealt_to_a_worker_and_to_none_twice(
    units: list[int], at_once: int, rng: random.Random
) -> None:
    rng.shuffle(units)
    dealt = batches(units, at_once)  # type: ignore[arg-type]
    assert {unit for batch in dealt for unit in batch} == set(units)
    assert all(batch and len(batch) == len(set(batch)) <= at_once + BRIDGES for batch in dealt)
    often = [unit for unit in units if sum(unit in batch for batch in dealt) > 1]
    assert often == (units[:BRIDGES] if len(dealt) > 1 else [])
    assert all(batch[:BRIDGES] == tuple(units[:BRIDGES]) for batch in dealt if len(dealt) > 1)
    if len(units) >= FEWEST_WORKERS * BRIDGES:
        assert len(dealt) >= FEWEST_WORKERS
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@given(st.lists(st.integers(), max_size=50))
def test_one_at_once_is_a_worker_each(units: list[int]) -> None:
    assert batches(units, 1) == tuple((unit,) for unit in units)  # type: ignore[arg-type, comparison-overlap]


def test_sessions_of_fresh_processes_are_a_job_each(store: Store) -> None:
    link = ScriptedLink(probes=[COOL])
    outcome = run_scripted(link, store, ScriptedSource(networks=NETWORKS), sessions=2)
    assert sizes(link) == [1] * 10
    assert len({session.process for session in sessions(store, outcome)}) == 10

"""Memory, load and first run of networks alone in fresh workers: measured once, kept, shown beside latencies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories.records import graph_hash
from factories.sent_models import assembly_of
from rigs.scripted_link import COOL, WEIGHED, ScriptedLink, ScriptedSource, run_scripted
from rigs.watcher import Watcher

from harness.errors import AgentError, LinkError
from harness.estimates.latency import to_json
from harness.measurement.workload import Model
from harness.store import Store
from harness.store.latencies import latencies


def weighed(peak_bytes: int) -> dict[str, Any]:
    return {"peak_bytes": WEIGHED["empty_bytes"] + peak_bytes}


def test_each_network_is_weighed_after_its_sessions_and_shown_beside_its_latency(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.weights = [weighed(10_000_000), weighed(19_000_000), weighed(10_100_000), weighed(20_000_000)]
    source = ScriptedSource(networks=(1, 2), segments=(3,))
    outcome = run_scripted(link, store, source, observer=observer, memory=True)
    assert (outcome.error, outcome.failures, len(link.ran), len(link.weighed)) == (None, [], 3, 9)
    assert observer.planned == len(observer.done) == 12
    configuration = outcome.uses[0].configuration
    rows = {row.graph_hash: row for row in latencies(store, configuration)}
    assert rows[graph_hash(1)].memory_bytes == 10_100_000
    assert rows[graph_hash(2)].memory_bytes == 20_000_000
    document = to_json([rows[graph_hash(1)]])[0]
    assert (document["model_bytes"], document["load_ms"], document["fresh_first_run_ms"]) == (
        2_000_000,
        20,
        3,
    )
    assert len(store.fresh_runs(configuration, "segment")) == 3
    assert {job["network"]["parts"][0] for job in link.weighed} == set(link.ran)
    assert not any("reference" in job for job in link.weighed)


def test_nothing_is_weighed_unless_asked_for_and_nothing_twice_unless_afresh(store: Store) -> None:
    link = ScriptedLink()
    outcome = run_scripted(link, store)
    assert link.weighed == []
    (row,) = latencies(store, outcome.uses[0].configuration)
    assert (row.memory_bytes, row.load_ms, row.fresh_first_run_ms) == (None, None, None)
    for options, count in (({}, 3), ({}, 3), ({"fresh": True}, 6)):
        run_scripted(link, store, memory=True, **options)
        assert len(link.weighed) == count
    assert len(store.fresh_runs(outcome.uses[0].configuration)) == 6


def test_a_network_that_cannot_be_loaded_alone_is_a_failure_and_the_next_one_follows(store: Store) -> None:
    link = ScriptedLink()
    link.weights = [AgentError("worker-killed", "out of memory"), LinkError("gone"), {"peak_bytes": 5}, {}]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), memory=True)
    assert [failure.kind for failure in outcome.failures] == ["worker-killed", "link-lost", "bad-result"]
    assert link.reopened == 1
    assert [run.graph_hash for run in store.fresh_runs(outcome.uses[0].configuration)] == [graph_hash(2)] * 3


def test_another_runtime_than_the_campaigns_is_never_merged(store: Store) -> None:
    link = ScriptedLink()
    runtime = {
        "name": "onnxruntime",
        "package": "onnxruntime",
        "version": "9.9",
        "provider": "CPUExecutionProvider",
    }
    link.weights = [{"runtime": runtime}]
    outcome = run_scripted(link, store, memory=True)
    assert {failure.kind for failure in outcome.failures} == {"conditions-changed"}
    assert "9.9" in outcome.failures[0].message
    assert store.fresh_runs(outcome.uses[0].configuration) == []


def test_a_fresh_worker_that_computes_something_else_is_a_failure(store: Store) -> None:
    link = ScriptedLink()
    right, false = (0.5, -1.0), (0.5, 1.0)
    link.weights = [{"output": list(false)}, {"output": []}, {}, {"output": list(right)}]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2), expected=lambda: right), memory=True)
    assert [failure.kind for failure in outcome.failures] == ["wrong-output"] * 2
    assert "the output of network" in outcome.failures[0].message
    assert "off by 178.9% of the right one" in outcome.failures[0].message
    assert len(link.weighed) - len(store.fresh_runs(outcome.uses[0].configuration)) == 2


@pytest.mark.parametrize("kind", ["no-memory", "bad-request"])
def test_a_device_that_cannot_tell_says_so_once_and_no_network_fails(store: Store, kind: str) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.weights = [AgentError(kind, "the system does not tell")]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), observer=observer, memory=True)
    assert (outcome.error, outcome.failures, outcome.measured, len(link.weighed)) == (None, [], 2, 1)
    (told,) = observer.notes
    assert told.startswith("memory is not measured in onnxruntime: ")


def test_what_is_left_in_another_runtime_is_weighed_where_everything_fails_in_one(store: Store) -> None:
    link = ScriptedLink()
    link.hello["runtimes"].append(link._runtime("tflite"))
    link.weights = [AgentError("worker-killed", "out of memory")] * 5 + [{}]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), memory=True)
    assert "5 networks failed in a row" in str(outcome.error)
    assert [len(store.fresh_runs(use.configuration)) for use in outcome.uses] == [0, 6]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"cpu_model": "Another CPU"}, "hardware 'made-up Another CPU', not 'made-up Made Up CPU'"),
        ({"governors": {"0": "performance", "1": "performance"}}, "clock tier 'B', not 'C'"),
    ],
)
def test_a_worker_on_another_machine_than_the_campaigns_is_not_weighed_for_it(
    store: Store, conditions: dict[str, Any], words: str
) -> None:
    """Behind one address there may be several machines, and a connection that broke ends at another."""
    link = ScriptedLink()
    link.weights = [{"conditions_before": COOL | conditions}]
    outcome = run_scripted(link, store, memory=True)
    assert {(one.kind, words in one.message) for one in outcome.failures} == {("conditions-changed", True)}
    assert store.fresh_runs(outcome.uses[0].configuration) == []


class Changed(ScriptedSource):
    """The same networks, exported anew to other bytes."""

    def _model(self, number: int, purpose: str, precision: str) -> Model:
        anew = assembly_of(b"%d" % number, digest=f"{7 + number:064x}")
        return replace(super()._model(number, purpose, precision), assemble=lambda: anew)


def test_the_memory_of_a_model_that_has_changed_is_not_shown_beside_the_new_ones_latency_but_measured_again(
    store: Store,
) -> None:
    link = ScriptedLink()
    configuration = run_scripted(link, store, memory=True).uses[0].configuration
    assert latencies(store, configuration)[0].memory_bytes
    run_scripted(link, store, Changed(), fresh=True)
    (row,) = latencies(store, configuration)
    assert (row.memory_bytes, row.load_ms) == (None, None)
    run_scripted(link, store, Changed(), memory=True)
    assert len(link.weighed) == 6 and latencies(store, configuration)[0].memory_bytes


def test_memory_that_is_not_shown_beside_the_latency_of_another_model_is_said_once(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    configuration = run_scripted(link, store).uses[0].configuration
    run_scripted(link, store, Changed(), memory=True, observer=observer)
    (told,) = observer.notes
    assert told.startswith("network 1: its model has changed since") and "--fresh" in told
    assert latencies(store, configuration)[0].memory_bytes is None

"""The verb `profile`: node times of a real model in the real agent, and what it refuses."""

from __future__ import annotations

import json

import pytest
from rigs.agent_client import process_exists
from rigs.agent_jobs import send_job

from device_agents.profiling import are_disturbed, quietest, total_nodes
from device_agents.refusal import Refusal
from device_agents.runtimes.onnxruntime_profile import read_runs
from device_agents.sampling import Sample

NODE = ("s0.x", "Conv", "CPUExecutionProvider", 2000)


@pytest.fixture
def client(one_agent):
    """Return the client of one agent: each test sends what it needs anew."""
    return one_agent


def send_profile(client, models, runtime="onnxruntime", /, **changes):
    """Put the parts of a profile's job; return the job."""
    job = send_job(client, models, runtime)
    (network,) = job.pop("networks")
    for key in ("reference", "plan"):
        del job[key]
    return {**job, "network": network, "runs": 12, **changes}


def profile(client, job):
    client.send("profile", job=job)
    return client.finish()


def test_a_profile_tells_the_time_of_each_node_and_what_profiling_costs(client, models):
    events, answer = profile(client, send_profile(client, models))
    assert answer["type"] == "result", answer
    assert events[0]["event"] == "started" and {event["event"] for event in events} <= {
        "started",
        "heartbeat",
        "sample",
    }
    assert answer["runs"] == 12 and answer["threads"] == 1 and len(answer["cores"]) == 1
    assert answer["runtime"]["provider"] == "CPUExecutionProvider" and answer["pinned"] is True
    nodes = answer["nodes"]
    assert sum(node["op"] == "Conv" for node in nodes) == 3  # two of 3 x 3, and the last
    assert len({node["name"] for node in nodes}) == len(nodes)
    for node in nodes:
        assert set(node) == {"name", "op", "provider", "runs", "total_ns", "median_ns"}
        assert node["runs"] == 12 and 0 <= node["median_ns"] <= node["total_ns"]
        assert "kernel_time" not in node["name"]
    assert answer["plain_median_ns"] > 0 and answer["quiet_runs"] == 3
    assert 0 <= answer["disturbed_runs"] <= 3
    # the profiler counts whole microseconds, so a node may be told half of one too much
    assert sum(node["median_ns"] for node in nodes) < answer["wall_median_ns"] + 1000 * len(nodes)
    assert list((client.root / "tmp").iterdir()) == []
    assert answer["conditions_before"]["time_utc"].endswith("Z")
    assert any(answer["output"])
    assert answer["profiled_output"] == pytest.approx(answer["output"], rel=1e-5)


def test_a_larger_network_spends_more_time_in_its_nodes(client, models):
    job = send_profile(client, models)
    larger = profile(client, job)[1]["nodes"]
    job["network"] = send_job(client, models, "onnxruntime")["reference"]
    smaller = profile(client, job)[1]["nodes"]
    assert sum(node["median_ns"] for node in larger) > sum(node["median_ns"] for node in smaller)


def test_what_an_agent_that_was_killed_left_behind_is_removed(client, models):
    left = client.root / "tmp/999999-abc"
    left.mkdir(parents=True)
    (left / "profile.json").write_text("[")
    assert not process_exists(999999)
    assert profile(client, send_profile(client, models, runs=1))[1]["type"] == "result"
    assert list((client.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("runtime", "changes", "words"),
    [
        ("tflite", {}, ["no-profiler", "tflite", "--runtime onnxruntime"]),
        ("onnxruntime", {"runs": 0}, ["bad-request", "profile: job.runs", "0"]),
        ("onnxruntime", {"runs": 100000}, ["bad-request", "profile: job.runs", "1000"]),
        ("onnxruntime", {"runtime": "abacus"}, ["runtime-missing", "profile: job.runtime", "abacus"]),
        ("onnxruntime", {"cores": [4000]}, ["bad-request", "job.cores", "4000"]),
        ("onnxruntime", {"options": {"spin": 1}}, ["bad-request", "profile: job.options", "spin"]),
        ("onnxruntime", {"plan": {}}, ["bad-request", "profile: job", "plan"]),
    ],
)
def test_what_cannot_be_profiled_is_refused_by_name_and_remedy(client, models, runtime, changes, words):
    events, answer = profile(client, send_profile(client, models, runtime, **changes))
    assert events == [] and answer["type"] == "error"
    for word in words:
        assert word in f"{answer['kind']}: {answer['message']}"
    assert client.ask("probe")["type"] == "result"


def test_a_broken_model_is_the_workers_error_and_leaves_no_file(client, models):
    job = send_profile(client, models)
    job["network"]["parts"] = [client.put(b"no model at all")]
    _, answer = profile(client, job)
    assert answer["kind"] == "worker-error"
    assert list((client.root / "tmp").iterdir()) == []


def test_runs_are_cut_where_the_profiler_says_that_one_ended(tmp_path):
    def event(cat, name, us, **told):
        return json.dumps({"cat": cat, "name": name, "dur": us, "args": told})

    conv = {"op_name": "Conv", "provider": "CPUExecutionProvider"}
    lines = [
        event("Session", "session_initialization", 900),
        event("Node", "s0.x_kernel_time", 2, **conv),
        event("Node", "s0.x_fence_before", 1, **conv),
        event("Session", "SequentialExecutor::Execute", 4),
        event("Session", "model_run", 5),
        event("Session", "model_run", 1),
        event("Node", "s0.x_kernel_time", 2, **conv),
    ]
    path = tmp_path / "profile.json"
    path.write_text("[\n" + ",\n".join(lines) + ',\n{"cat": "Sess')
    assert list(read_runs(path)) == [[NODE], []]


def test_totals_are_of_the_runs_that_count_and_medians_of_the_quiet_ones_among_them():
    late = ("s0.y", *NODE[1:])
    runs = [[(*NODE[:3], 9000000)], [NODE, NODE], [(*NODE[:3], 70000), late], [NODE, (*NODE[:3], 4000)]]
    first, second = total_nodes(runs, [False, True, True, True], {0, 2})
    assert (first["name"], first["op"], first["provider"]) == NODE[:3]
    assert (first["runs"], first["total_ns"], first["median_ns"]) == (3, 80000, 5000)
    assert (second["name"], second["runs"], second["total_ns"], second["median_ns"]) == ("s0.y", 1, 2000, 0)


def test_the_quietest_quarter_is_of_the_shortest_runs_and_never_empty():
    assert quietest([9, 1, 5, 4, 8, 7, 6, 2], [False] * 8) == {1, 7}
    assert quietest([3, 1], [False] * 2) == {1}


def test_runs_that_waited_for_a_core_are_quiet_only_where_there_are_no_others():
    runs = [Sample(1000, delay_ns, 0) for delay_ns in (0, 10, 11, 31, 500)]
    assert are_disturbed(runs, 0) == [False, False, True, True, True]
    assert are_disturbed(runs, 20) == [False, False, False, True, True], (
        "a pool's threads wait for each other"
    )
    assert quietest([9, 1, 5, 4, 8, 7, 6, 2], [True, True, False, False, False, True, True, True]) == {2, 3}
    assert quietest([9, 1, 5, 4, 8, 7, 6, 2], [True] * 5 + [False] + [True] * 2) == {5, 1}


@pytest.mark.parametrize("counted", [[True], [True, True, True]])
def test_a_profile_that_lacks_runs_is_no_profile(counted):
    with pytest.raises(Refusal, match=f"2 runs, not {len(counted)}.*fewer runs"):
        total_nodes([[NODE], [NODE]], counted, {0})

"""`harness profile` on this machine: a real network in the real agent, and groups whose shares add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories.model_files import save_tflite
from rigs import commands
from rigs.short_campaigns import any_core

from harness.measurement.profile import OTHER, OUTSIDE, Node, group_nodes, read_profile
from harness.models.names import select_architecture
from harness.models.profile import NetworkProfile
from harness.output.profile import print_profile
from space import BLOX

pytestmark = pytest.mark.converter

NETWORK = "conv-mbconv+in/conv/bconv"
SMALL = "conv-mbconv+in/bconv"
FRAGMENTS = [
    "stem",
    "stage 0 op 0 conv",
    "stage 0 sum",
    "stage 0 op 1 mbconv",
    "reduction 0",
    "stage 1 op 1 bconv",
    "reduction 1",
    "head",
]
ANSWER = {
    "runtime": {
        "name": "onnxruntime",
        "package": "onnxruntime",
        "version": "1.20",
        "provider": "CPUExecutionProvider",
    },
    "threads": 1,
    "cores": [1],
    "runs": 8,
    "quiet_runs": 2,
    "wall_median_ns": 1000,
    "plain_median_ns": 800,
    "conditions_before": {},
    "nodes": [
        {
            "name": name,
            "op": op,
            "provider": "CPUExecutionProvider",
            "runs": 8,
            "total_ns": 9 * ns,
            "median_ns": ns,
        }
        for name, op, ns in (("a", "Conv", 300), ("b", "Add", 100), ("c", "Conv", 200), ("d", "Mul", 50))
    ],
}


def run(*arguments: str, folder: Path) -> commands.Done:
    """Run the command in a folder that is also the home, where the agent's folder and lock are."""
    with pytest.MonkeyPatch.context() as patch, any_core():
        patch.setenv("HOME", str(folder))
        patch.chdir(folder)
        return commands.run("sqlite://", "profile", *arguments)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    given = ("--space", "tiny", "--runs", "20", "--json")
    done = run(SMALL, *given, folder=tmp_path_factory.mktemp("profile"))
    assert done.status == 0, done.stderr
    return dict(done.json)


def test_a_real_network_is_profiled_by_fragment_op_and_node(document: dict) -> None:
    assert (document["architecture"], document["device"], document["runs"]) == (SMALL, "local", 20)
    fragments = [group["name"] for group in document["by"]["fragment"]]
    assert sorted(fragments[:-1]) == sorted(FRAGMENTS) and fragments[-1] == OUTSIDE
    assert {"Conv", "Add"} <= {group["name"] for group in document["by"]["op"]}
    assert len(document["by"]["node"]) == len(document["nodes"]) + 1


@pytest.mark.parametrize("by", ["fragment", "op", "node"])
def test_the_shares_of_a_real_network_add_up_to_its_run(document: dict, by: str) -> None:
    groups = document["by"][by]
    assert sum(group["time_ns"] for group in groups) == document["wall_median_ns"]
    assert sum(group["share"] for group in groups) == pytest.approx(1)
    assert sum(group["nodes"] for group in groups) == len(document["nodes"])


def test_the_table_ends_with_the_whole_run_and_says_what_profiling_costs(tmp_path: Path) -> None:
    given = ("--runs", "4", "--by", "op", "--threads", "1", "--batch", "4")
    done = run(SMALL, "--space", "tiny", *given, folder=tmp_path)
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{SMALL} batch 4 on local: onnxruntime ") and "1 of 4 runs" in lines[0]
    assert lines[1].split() == ["op", "nodes", "ms", "%"]
    assert lines[-1].startswith("whole run") and lines[-1].endswith("100.0")
    assert lines[-2].startswith(OUTSIDE)
    assert "without the profiler, which costs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            (NETWORK, "--runtime", "tflite"),
            2,
            ["tflite", "no profiler", "--runtime onnxruntime or --runtime litert"],
        ),
        ((NETWORK, "--runtime", "abacus"), 2, ["--runtime", "abacus"]),
        (("sample:2",), 2, ["sample:2", "2 networks", "name one"]),
        (("conv/conv",), 2, ["conv/conv"]),
        ((NETWORK, "--device", "nowhere"), 2, ["nowhere"]),
        ((NETWORK, "--cores", "4000"), 2, ["4000"]),
        ((NETWORK, "--runs", "0"), 2, ["--runs"]),
    ],
)
def test_what_cannot_be_profiled_is_refused_before_anything_is_sent(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: list[str]
) -> None:
    done = run(*arguments, folder=tmp_path)
    assert done.status == status and done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_a_tflite_file_is_profiled_by_litert_and_has_no_fragments(tmp_path: Path) -> None:
    file = str(save_tflite(tmp_path / "a.tflite"))
    done = run(file, "--runtime", "litert", "--runs", "4", "--json", folder=tmp_path)
    assert done.status == 0, done.stderr
    document = done.json
    assert set(document["by"]) == {"op", "node"}
    assert sum(group["share"] for group in document["by"]["op"]) == pytest.approx(1)
    assert [node["provider"] for node in document["nodes"]] == ["CPU"] * 3
    done = run(file, folder=tmp_path)
    assert done.status == 2
    assert "profile it with --runtime litert" in done.stderr


def test_nodes_without_a_name_are_other_and_stand_before_the_time_outside() -> None:
    groups = group_nodes(read_profile(ANSWER), ["stem", None, "stem", "head"])
    assert [(group.name, group.nodes, group.time_ns) for group in groups] == [
        ("stem", 2, 500),
        ("head", 1, 50),
        (OTHER, 1, 100),
        (OUTSIDE, 0, 350),
    ]
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_each_node_needs_a_name_or_none() -> None:
    with pytest.raises(ValueError, match="shorter"):
        group_nodes(read_profile(ANSWER), ["stem"])


def test_the_profiler_costs_what_a_run_takes_longer() -> None:
    profile = read_profile(ANSWER)
    assert profile.outside_ns == 350 and profile.profiler_share == pytest.approx(0.25)
    assert profile.nodes[0] == Node(
        name="a", op="Conv", provider="CPUExecutionProvider", runs=8, total_ns=2700, median_ns=300
    )


@pytest.mark.parametrize(
    ("disturbed", "words"),
    [
        ({}, "passed outside nodes: if other processes"),
        ({"disturbed_runs": 0}, "passed outside nodes: if other processes"),
        (
            {"disturbed_runs": 1},
            "another program had the core in 1 even of the quietest 2 runs: times are too long",
        ),
    ],
)
def test_times_of_a_core_that_another_program_had_are_told_as_such(
    disturbed: dict[str, int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = read_profile(ANSWER | disturbed)
    assert profile.disturbed_runs == disturbed.get("disturbed_runs")
    network = NetworkProfile(profile=profile, network=select_architecture(NETWORK, BLOX), device="made-up")
    print_profile(network, "op", json_output=False)
    told = " ".join(capsys.readouterr().err.split())
    assert words in told and ("another program" in told) == bool(profile.disturbed_runs)


@pytest.mark.parametrize(
    ("provider", "conditions", "words"),
    [
        (
            "CUDAExecutionProvider",
            {"gpus": [{"programs": 1, "used": True}]},
            "1 other program had the GPU open",
        ),
        ("CUDAExecutionProvider", {"gpus": [{"reasons": 0x8}]}, "NVIDIA GPU 0 throttled: hardware slowdown"),
        ("CPUExecutionProvider", {"throttled": 0x4}, "Raspberry Pi throttled: throttled"),
        ("CPUExecutionProvider", {"gpus": [{"programs": 1, "used": True}]}, ""),
    ],
)
def test_a_profile_says_what_else_speaks_against_its_times(
    provider: str, conditions: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = {**ANSWER["runtime"], "provider": provider}
    profile = read_profile(ANSWER | {"runtime": runtime, "conditions_before": conditions})
    network = NetworkProfile(profile=profile, network=select_architecture(NETWORK, BLOX), device="made-up")
    print_profile(network, "op", json_output=False)
    told = " ".join(capsys.readouterr().err.split())
    assert [words in doubt for doubt in profile.doubts] == ([True] if words else [])
    assert ("these times mislead" in told) == bool(words) and words in told

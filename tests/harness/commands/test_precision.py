"""`--precision` wherever a command chooses what is stored: precisions of a device are told apart and never merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import MANY, add_sessions, calibrate, new_store
from rigs.commands import Done, refused, run

from space import TINY
from space.selection import select_models

FP32 = replace(MANY, space="tiny")
INT8 = replace(FP32, precision="int8")
NETWORKS = select_models("sample:12@1", TINY)
ONE = ("--device", "made-up", "--precision", "int8")
TWO = ("-d", "made-up:fp32", "-d", "made-up:int8")
SEARCH = ("search", "--accuracies", "synthetic", "--measured-only", "--space", "tiny", "--json")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the same networks in two precisions, int8 three times as fast."""
    path = tmp_path_factory.mktemp("precision") / "store.sqlite"
    with new_store(path) as store:
        for configuration, factor in ((FP32, 1.0), (INT8, 1 / 3)):
            calibrate(store, configuration)
            add_sessions(store, NETWORKS, configuration, sessions=2, factor=factor)
    return path


def ended_well(done: Done) -> Done:
    assert done.status == 0, done.stderr
    return done


def test_results_of_one_precision_are_its_own(path: Path) -> None:
    rows = ended_well(run(path, "results", *ONE, "--json")).json
    assert [row["precision"] for row in rows] == ["int8"] * len(NETWORKS)
    assert len(ended_well(run(path, "results", "--json")).json) == 2 * len(NETWORKS)
    assert "no failure" in run(path, "results", *ONE, "--failures").stderr


@pytest.mark.parametrize("command", [["predict", "--json"], ["dataset", "write"], ["audit"]])
def test_a_command_on_one_configuration_asks_for_the_precision(path: Path, command: list[str]) -> None:
    done = run(path, *command, "--device", "made-up")
    refused(done, "2 configurations, which are never merged; name one (--precision ")


def test_a_prediction_is_made_from_the_networks_of_its_precision(path: Path) -> None:
    found = ended_well(run(path, "predict", *ONE, "--json")).json
    assert found["configuration"]["precision"] == "int8"
    assert found["measured_networks"] == len(NETWORKS)


def test_two_networks_are_compared_in_each_precision_or_in_one(path: Path) -> None:
    pair = [str(one) for one in NETWORKS[:2]]
    both = ended_well(run(path, "compare", *pair, "--device", "made-up", "--json")).json
    (one,) = ended_well(run(path, "compare", *pair, *ONE, "--json")).json
    assert len(both) == 2 and one in both


def test_a_search_has_a_column_for_each_precision_and_limits_on_both(path: Path) -> None:
    found = ended_well(run(path, *SEARCH, *TWO, "-c", "made-up:int8<100ms")).json
    for row in found["networks"]:
        assert row["made-up:fp32_ms"] == pytest.approx(3 * row["made-up:int8_ms"], rel=0.02)


def test_sizes_of_files_are_refused_where_two_precisions_are_searched(path: Path) -> None:
    remedy = ("leave sizes out, or search in one precision", "--precision fp32")
    refused(run(path, *SEARCH, *TWO, "--show", "onnx-size"), "those of fp32 and int8 models differ", *remedy)


def test_a_search_of_one_precision_keeps_the_device_s_short_name(path: Path) -> None:
    found = ended_well(run(path, *SEARCH, *ONE)).json
    assert "made-up_ms" in found["networks"][0]
    every = ended_well(run(path, *SEARCH, "-d", "all")).json
    assert set(every["latencies"]) == {"made-up:fp32", "made-up:int8"}
    only = ended_well(run(path, *SEARCH, "-d", "all:int8")).json
    assert set(only["latencies"]) == {"made-up:int8"}


def test_a_precision_that_nothing_is_measured_in_is_refused_with_those_that_are(path: Path) -> None:
    for command in (["predict"], SEARCH):
        done = run(path, *command, "--device", "made-up", "--precision", "fp16")
        refused(done, "--precision fp16, but of fp32 and int8", "harness measure --device made-up")
    refused(run(path, "results", "--precision", "int9"), "no precision 'int9'; did you mean 'int8'?")


def test_files_of_a_data_set_say_their_precision_and_are_refused_as_another(
    path: Path, tmp_path: Path
) -> None:
    output = ("--measured-only", "--format", "csv", "--output", str(tmp_path))
    for precision in ("fp32", "int8"):
        written = run(path, "dataset", "write", "--device", "made-up", "--precision", precision, *output)
        ended_well(written)
    assert sorted(tmp_path.glob("*.csv")) == [
        tmp_path / "blox-bench-made-up-int8.csv",
        tmp_path / "blox-bench-made-up.csv",
    ]
    file = tmp_path / "blox-bench-made-up-int8.csv"
    assert json.loads(file.with_suffix(".json").read_text())["configuration"]["precision"] == "int8"
    from_file = (*SEARCH, "--latencies", str(file), "-d", "made-up-int8")
    found = ended_well(run(path, *from_file, "--precision", "int8")).json
    assert found["latencies"]["made-up-int8"].startswith(f"{file}, int8: ")
    refused(run(path, *from_file, "--precision", "fp32"), "is of int8 models, not fp32")


def test_sessions_are_shown_and_set_apart_by_precision(path: Path) -> None:
    shown = ended_well(run(path, "store", "show", "--precision", "int8", "--json")).json
    assert len(shown) == 2 * len(NETWORKS) + 1  # that of the reference, too


def test_what_else_is_to_be_measured_is_asked_for_in_the_same_precision(path: Path) -> None:
    refused(run(path, "audit", *ONE), "--precision int8 --space tiny --models segments")

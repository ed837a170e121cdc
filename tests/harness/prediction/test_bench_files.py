"""Files of latencies and their sidecars: numbers of one measurement are never joined with the doubts of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store

from harness.prediction.bench_files import file_latency, write_bench_files
from harness.prediction.request import BenchRequest
from harness.prediction.space_prediction import predict_space
from harness.query.costs import cost_columns
from harness.query.latencies import LatencySource, predicted_latency
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from space import MINI, TINY, Architecture
from space.dataset import bench_dataset, read_dataset, write_dataset
from space.errors import ConfigError

CONFIGURATION = replace(MANY, space=TINY.name)
Columns = dict[str, list[Any]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    with new_store(folder / "store.sqlite") as store:
        calibrate(store, CONFIGURATION)
        add_sessions(store, networks(3, TINY), CONFIGURATION, sessions=2)
        choice = ConfigurationChoice(device="made-up")
        write_bench_files(
            store, choice, BenchRequest(folder=folder, measured_only=True, formats=("blox", "csv"))
        )
    return folder


def copied(written: Path, folder: Path, edit: Callable[[Columns], None] = lambda columns: None) -> Path:
    """Return a copy of the CSV file, with its sidecar's columns edited beside it."""
    document = json.loads((written / "blox-bench-made-up.json").read_text())
    edit(document["columns"])
    (folder / "blox-bench-made-up.json").write_text(json.dumps(document))
    path = folder / "blox-bench-made-up.csv"
    path.write_bytes((written / path.name).read_bytes())
    return path


def set_to(name: str, value: Any) -> Callable[[Columns], None]:
    return lambda columns: columns[name].__setitem__(1, value)


@pytest.mark.parametrize("times", [1e3, 1e6, 0.5, 1.001], ids=str)
def test_latencies_other_than_the_sidecars_do_not_take_its_intervals_and_grades(
    written: Path, tmp_path: Path, times: float
) -> None:
    path = copied(written, tmp_path)
    data = read_dataset(path, config=TINY)
    values = (data.array("latency") * times).tolist()
    write_dataset(path, bench_dataset("made-up", data.indices.tolist(), values, TINY))
    with pytest.raises(ConfigError, match=r"not the sidecar of its file: row 1: latency_s = .*write both"):
        file_latency(path, "made-up", TINY)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("latency_s", None, "latency_s = None"),
        ("latency_s", "9" * 1000, "'9{39}, where"),
        ("low_s", float("nan"), "low_s = nan"),
        ("low_s", -0.001, "low_s = -0.001"),
        ("low_s", 10.0, "no interval that holds"),
        ("high_s", 1e-9, "no interval that holds"),
        ("high_s", float("inf"), "high_s = inf"),
        ("high_s", None, "high_s = None"),
        ("grade", "d", "grade = 'd': A to D"),
        ("grade", "", "grade = ''"),
        ("grade", "-", "grade = '-'"),
        ("grade", ["A"], "grade = "),
        ("source", "Measured", "source = 'Measured'"),
        ("source", "predicted", "source = 'predicted', grade = 'C'"),
        ("supported", 1, "supported = 1"),
        ("supported", False, "supported = False: true or false, and true of what is measured"),
    ],
)
def test_a_sidecar_with_a_row_that_says_no_such_thing_is_refused(
    written: Path, tmp_path: Path, name: str, value: Any, told: str
) -> None:
    path = copied(written, tmp_path, set_to(name, value))
    with pytest.raises(ConfigError, match=f"row 2: .*{told}"):
        file_latency(path, "made-up", TINY)


def test_a_file_of_whole_microseconds_has_the_sidecars_digits(written: Path) -> None:
    sidecar = json.loads((written / "blox-bench-made-up.json").read_text())["columns"]
    cost, _ = file_latency(written / "blox-bench-made-up.blox", "made-up", TINY)
    assert cost.low is not None and cost.high is not None
    known = ~np.isnan(cost.values)
    assert cost.values[known].tolist() == [1e3 * value for value in sidecar["latency_s"]]
    assert (cost.low[known] <= cost.values[known]).all() and (cost.values[known] <= cost.high[known]).all()


def test_networks_unlike_any_measured_one_stay_out_of_answers_from_a_file_as_from_the_store(
    tmp_path: Path,
) -> None:
    every = [Architecture.from_index(index, TINY) for index in range(len(TINY))]
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, CONFIGURATION)
        op = every[0].blocks[0].ops[0]
        seen = [one for one in every if op not in one.blocks[0].ops]
        add_sessions(store, seen[:: len(seen) // 12], CONFIGURATION)
        write_bench_files(
            store, ConfigurationChoice(device="made-up"), BenchRequest(folder=tmp_path, formats=("csv",))
        )
        stored, _ = predicted_latency(predict_space(store, CONFIGURATION), "made-up")
    found, _ = file_latency(tmp_path / "blox-bench-made-up.csv", "made-up", TINY)
    assert stored.supported is not None and found.supported is not None
    known = ~np.isnan(found.values)
    assert found.supported[known].tolist() == stored.supported[known].tolist()
    assert not found.supported[known].all()


def test_a_sidecar_of_before_leaves_no_network_out(written: Path, tmp_path: Path) -> None:
    path = copied(written, tmp_path, lambda columns: columns.pop("supported"))  # type: ignore[arg-type,return-value]
    found, _ = file_latency(path, "made-up", TINY)
    assert found.supported is not None and found.supported.all()


def test_measured_latencies_of_a_file_alone_are_those_it_calls_so(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, CONFIGURATION)
        add_sessions(store, networks(14, TINY), CONFIGURATION, sessions=2)
        write_bench_files(
            store, ConfigurationChoice(device="made-up"), BenchRequest(folder=tmp_path, formats=("csv",))
        )
        asked = LatencySource(files=(tmp_path / "blox-bench-made-up.csv",), measured_only=True)
        costs, told = cost_columns(store, TINY, ["made-up"], asked)
        known = np.flatnonzero(~np.isnan(costs["made-up"].values))
        assert known.tolist() == sorted(network.index for network in networks(14, TINY))
        assert (told["made-up"].measured, told["made-up"].predicted) == (14, 0)
        (tmp_path / "blox-bench-made-up.json").unlink()
        with pytest.raises(
            ConfigError, match=r"does not tell measured from predicted.*leave out --measured-only"
        ):
            cost_columns(store, TINY, ["made-up"], asked)


def test_files_of_another_runtime_of_the_device_are_not_replaced(tmp_path: Path) -> None:
    choice = ConfigurationChoice(device="made-up")
    asked = BenchRequest(folder=tmp_path, measured_only=True)
    other = replace(CONFIGURATION, runtime="tflite", provider="XNNPACK", format="tflite")
    for number, one in enumerate((CONFIGURATION, other)):
        with new_store(tmp_path / f"{number}.sqlite") as store:
            calibrate(store, one)
            add_sessions(store, networks(3, TINY), one)
    with Store(str(tmp_path / "0.sqlite")) as store:
        for _ in range(2):
            write_bench_files(store, choice, asked)
    before = (tmp_path / "blox-bench-made-up.csv").read_bytes()
    with Store(str(tmp_path / "1.sqlite")) as store:
        with pytest.raises(
            ConfigError, match=r"made-up.json: holds latencies of runtime onnxruntime, .*--name"
        ):
            write_bench_files(store, choice, asked)
        assert (tmp_path / "blox-bench-made-up.csv").read_bytes() == before
        write_bench_files(store, choice, replace(asked, name="made-up-tflite"))


def test_latencies_of_another_space_with_the_same_hashes_are_refused(written: Path) -> None:
    with pytest.raises(ConfigError, match=r"is of space 'tiny', not 'mini'; name that: --space tiny"):
        file_latency(written / "blox-bench-made-up.csv", "made-up", MINI)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"runtime": "tflite"},
            r"is of onnxruntime \(CPUExecutionProvider\), not tflite; name another file, or --runtime onnxruntime",
        ),
        (
            {"runtime": "onnxruntime:cuda"},
            r"is of onnxruntime \(CPUExecutionProvider\), not onnxruntime:cuda",
        ),
        ({"threads": 4}, "is of 2 threads, not 4; name another file, or --threads 2"),
        ({"precision": "int8"}, "is of fp32 models, not int8"),
        ({"batch": 8}, "is of batch 1, not 8"),
    ],
)
def test_a_file_of_another_configuration_than_the_one_named_is_refused(
    written: Path, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    path = written / "blox-bench-made-up.csv"
    with new_store(tmp_path / "empty.sqlite") as store, pytest.raises(ConfigError, match=message):
        source = LatencySource(files=(path,), choice=ConfigurationChoice(**asked))
        cost_columns(store, TINY, ["made-up"], source)
    for runtime in ("onnxruntime", "onnxruntime:cpu"):
        choice = ConfigurationChoice(runtime=runtime, threads=2, precision="fp32", batch=1)
        cost, _ = file_latency(path, "made-up", TINY, choice=choice)
        assert np.count_nonzero(~np.isnan(cost.values)) == 3

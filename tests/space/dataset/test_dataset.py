"""Published data files: the samples in three formats, round trips, what is refused in a good file's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, SpaceConfig
from space.dataset import Dataset, bench_dataset, read_dataset, write_dataset
from space.errors import DatasetError

SAMPLES = Path(__file__).parents[1] / "data" / "blox-sample"
ROOT = Path(__file__).resolve().parents[3]
NAMES = ("blox-bench-pixel-x", "blox-info", "blox-base-0", "blox-ext-0")
SUFFIXES = (".blox", ".csv", ".pickle")


def read(path: Path, config: SpaceConfig = BLOX) -> Dataset:
    return read_dataset(path, allow_pickle=True, config=config)


def assert_equal(found: Dataset, wanted: Dataset, atol: float = 0) -> None:
    assert (found.dataset_type, dict(found.extra)) == (wanted.dataset_type, dict(wanted.extra))
    assert found.indices.tolist() == wanted.indices.tolist()
    assert list(found.columns) == list(wanted.columns)
    for name, column in wanted.columns.items():
        if isinstance(column, np.ndarray):
            assert found.columns[name].dtype == column.dtype
            np.testing.assert_allclose(found.columns[name], column, rtol=0, atol=atol)
        else:
            assert len(found.columns[name]) == len(column)
            for a, b in zip(found.columns[name], column, strict=True):
                assert np.array_equal(a, b)


# The samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_formats_of_a_sample_hold_the_same(name: str) -> None:
    as_text = read(SAMPLES / f"{name}.csv")
    assert len(as_text) == 20
    for suffix in (".blox", ".pickle"):
        assert_equal(read(SAMPLES / f"{name}{suffix}"), as_text)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_written_as_it_was_published(name: str, suffix: str, tmp_path: Path) -> None:
    published = (SAMPLES / f"{name}{suffix}").read_bytes()
    written = tmp_path / f"again{suffix}"
    write_dataset(written, read(SAMPLES / f"{name}.csv"))
    found = written.read_bytes()
    if suffix == ".blox":  # another zlib may pack the same bytes otherwise
        split = published.index(b"\n---\n") + 5
        assert found[:split] == published[:split]
        assert zlib.decompress(found[split:]) == zlib.decompress(published[split:])
    else:
        assert found == published


def test_a_sample_of_latencies_is_joined_by_its_hashes() -> None:
    found = read_dataset(SAMPLES / "blox-bench-pixel-x.blox")
    assert (found.dataset_type, dict(found.extra)) == ("benchmarking", {"device": "pixel-x"})
    assert found.hashes[0] == "d18c67acd617063c21e9eba5612f5289"
    assert found.columns["latency"][:2].tolist() == [0.022862, 0.012199]
    for graph_hash, index in zip(found.hashes.tolist(), found.indices.tolist(), strict=True):
        assert Architecture.from_hash(graph_hash).index == index


def test_a_sample_of_costs_holds_the_vectors_of_its_hashes() -> None:
    found = read_dataset(SAMPLES / "blox-info.blox")
    for index, stages in zip(found.indices.tolist(), found.columns["arch_vec"].tolist(), strict=True):
        assert Architecture.from_vector([[[s[0]], s[1:]] for s in stages]).index == index


def test_lists_and_extra_keys_of_trainings_are_read() -> None:
    found = read_dataset(SAMPLES / "blox-ext-0.blox")
    assert dict(found.extra) == {"seed": 0, "epochs": 200, "dataset": "cifar100", "part": "ext"}
    assert found.columns["train_loss"].shape == (20, 200)
    line = (SAMPLES / "blox-ext-0.csv").read_text().split("---\n")[2].splitlines()[0]
    assert found.columns["train_top1"][0].tolist() == json.loads(line.split('"')[1])


# Round trips ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    latencies=st.dictionaries(
        st.integers(0, len(BLOX) - 1), st.floats(1e-6, 16.777215), min_size=1, max_size=30
    ),
    device=st.from_regex(r"\A[a-zA-Z0-9-]{1,30}\Z"),
)
def test_latencies_come_back_from_all_formats(
    latencies: dict[int, float], device: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    dataset = bench_dataset(device, list(latencies), list(latencies.values()))
    for suffix, atol in ((".csv", 0), (".pickle", 0), (".blox", 0.51e-6)):
        write_dataset(path.with_suffix(suffix), dataset)
        assert_equal(read(path.with_suffix(suffix)), dataset, atol=atol)


@settings(max_examples=60, deadline=None)
@given(latency=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_every_latency_in_text_or_pickle_reads_back_equal(
    latency: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-latency"
    for suffix in (".csv", ".pickle"):
        write_dataset(path.with_suffix(suffix), bench_dataset("x", [1], [latency]))
        assert read(path.with_suffix(suffix)).columns["latency"].tolist() == [latency]


def test_a_file_of_the_whole_space_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    millionths = random.integers(1, 2**24, len(BLOX))
    dataset = bench_dataset("pixel-6", random.permutation(len(BLOX)), millionths / 1e6)
    for suffix in SUFFIXES:
        write_dataset(tmp_path / f"whole{suffix}", dataset)
        assert_equal(read(tmp_path / f"whole{suffix}"), dataset)
    last = int(dataset.indices[-1])
    assert dataset.hashes[-1] == Architecture.from_index(last).graph_hash


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lists_of_different_lengths_come_back(suffix: str, tmp_path: Path) -> None:
    columns = {
        "val_top1": [[1.02], [76.04, 0.0, 100.0], [3.0] * 255],
        "train_loss": [[0.5] * 255, [4.605], [1e-6, 16.777215]],
        "test_top1": [76.63, 1.0, 0.01],
        "train_time_s": [0, 4294967295, 6901],
    }
    extra = {"seed": 7, "epochs": 255, "dataset": "cifar100", "part": "base"}
    dataset = Dataset(dataset_type="training", indices=[5, 91_124, 0], columns=columns, extra=extra)
    write_dataset(tmp_path / f"ragged{suffix}", dataset)
    assert_equal(read(tmp_path / f"ragged{suffix}"), dataset)


def test_lists_whose_lengths_average_the_first_come_back(tmp_path: Path) -> None:
    columns = {"train_loss": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]}
    extra = {"seed": 0, "epochs": 3, "dataset": "cifar100", "part": "ext"}
    dataset = Dataset(dataset_type="training", indices=[5, 4, 3], columns=columns, extra=extra)
    write_dataset(tmp_path / "ragged.blox", dataset)
    assert_equal(read(tmp_path / "ragged.blox"), dataset)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_of_environments_come_back(suffix: str, tmp_path: Path) -> None:
    columns = {"gpu": ["V100", 'a "b", c', ""], "torch_version": ["1.9\r\n", "[1]", "x" * 255]}
    dataset = Dataset(dataset_type="env", indices=[3, 2, 1], columns=columns, extra={"seed": 4})
    write_dataset(tmp_path / f"env{suffix}", dataset)
    assert_equal(read(tmp_path / f"env{suffix}"), dataset)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_space_has_files_of_its_own(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mini{suffix}"
    dataset = bench_dataset("x", [0, 2024, 7], [0.25, 0.5, 0.75], config=MINI)
    write_dataset(path, dataset)
    assert_equal(read(path, MINI), dataset)
    with pytest.raises(DatasetError, match=r"search_space other than 'blox'"):
        read(path)


@pytest.mark.parametrize("device", ["1e5", "no", "2022-01-01", "123", "-", "null"])
def test_devices_named_like_other_values_stay_text(device: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "bench.csv", bench_dataset(device, [1], [0.5]))
    assert read(tmp_path / "bench.csv").extra["device"] == device


def test_latencies_in_packed_files_are_rounded_to_the_nearest_microsecond(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a.blox", bench_dataset("x", [1, 2], [0.0123454, 0.0123456]))
    assert read(tmp_path / "a.blox").columns["latency"].tolist() == [0.012345, 0.012346]


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [16.7772155, 1e9, 4e-7])
def test_latencies_that_packed_files_cannot_hold_are_refused(latency: float, tmp_path: Path) -> None:
    path = tmp_path / "bench.blox"
    with pytest.raises(DatasetError, match=r"bench\.blox: row 2: latency = .* at most 16\.777215.*\.csv"):
        write_dataset(path, bench_dataset("x", [1, 2], [0.5, latency]))
    assert list(tmp_path.iterdir()) == []


def test_accuracies_that_are_no_share_of_the_images_do_not_fit_packed_files(tmp_path: Path) -> None:
    extra = {"seed": 0, "epochs": 1, "dataset": "cifar100", "part": "base"}
    dataset = Dataset(dataset_type="training", indices=[1], columns={"val_top1": [[76.03]]}, extra=extra)
    with pytest.raises(DatasetError, match=r"val_top1 = 76\.03 is not the share.* 5000 images; write \.csv"):
        write_dataset(tmp_path / "base.blox", dataset)


@pytest.mark.parametrize("device", ["", "Pixel 6", "pixel_6", "a/b", "péxel", "x\n", "../x"])
def test_devices_that_cannot_be_published_are_refused(device: str) -> None:
    with pytest.raises(DatasetError, match=r"device = .*letters a to z, digits and hyphens: write pixel-6"):
        bench_dataset(device, [1], [0.5])


@pytest.mark.parametrize(
    ("indices", "latencies", "message"),
    [
        ([1, 2], [0.5, float("nan")], "row 2: latency = nan is not a number above 0"),
        ([1, 2], [0.5, float("inf")], "row 2: latency = inf"),
        ([1, 2], [-0.5, 1], r"row 1: latency = -0\.5"),
        ([1, 2], [0.5, 0], r"row 2: latency = 0\.0"),
        ([1, 2, 1], [1, 1, 1], "row 3: hash [0-9a-f]{32} stands in row 1 already"),
        ([1, 91_125], [1, 1], "row 2: index 91125: space 'blox' has 91125 networks"),
        ([-1], [1], "row 1: index -1"),
        ([], [], "holds no row"),
        ([1, 2], [1], "latency is no array of 2 values"),
        ([1], 0.5, "latency is no array of 1 values"),
        ([1], np.array(0.5), "latency is no array of 1 values"),
        ([1], "5", "latency is no array of 1 values"),
        ([1.5], [1], "indices: holds other values than whole numbers"),
        ([1], ["0.5"], "latency: holds other values than numbers"),
        ([1, 2], [[1], [2, 3]], "latency: holds other values than numbers"),
        ([1, 2], [10**400, 0.5], "latency: holds other values than numbers"),
    ],
)
def test_rows_that_cannot_be_are_refused(indices: object, latencies: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        bench_dataset("x", indices, latencies)  # type: ignore[arg-type]


def test_a_vector_of_another_network_is_refused() -> None:
    found = read_dataset(SAMPLES / "blox-info.blox")
    columns = dict(found.columns)
    columns["arch_vec"] = columns["arch_vec"][[1, 0, *range(2, 20)]]
    with pytest.raises(DatasetError, match=r"row 1: arch_vec = .* is not the network that the row's hash"):
        Dataset(dataset_type="static", indices=found.indices, columns=columns, extra={})


def test_a_column_of_another_type_of_file_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"column 'latncy' is unknown .*did you mean 'latency'"):
        Dataset(dataset_type="benchmarking", indices=[1], columns={"latncy": [1]}, extra={"device": "x"})
    with pytest.raises(DatasetError, match="key 'device' is missing"):
        Dataset(dataset_type="benchmarking", indices=[1], columns={"latency": [1]}, extra={})


def test_a_column_is_asked_for_by_name() -> None:
    dataset = bench_dataset("x", [1], [0.5])
    assert dataset.array("latency").tolist() == [0.5]
    with pytest.raises(DatasetError, match="no column 'latncy'; did you mean 'latency'"):
        dataset.array("latncy")
    environment = Dataset(dataset_type="env", indices=[1], columns={"gpu": ["V100"]}, extra={"seed": 0})
    with pytest.raises(DatasetError, match="gpu is not one array"):
        environment.array("gpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("val_top1", [[1.0, 100.001]], r"row 1: val_top1\[1\] = 100\.001 is not percent from 0 to 100"),
        ("test_top1", [-0.5], r"row 1: test_top1 = -0\.5 is not percent"),
        ("val_loss", [[0.5, -0.5]], r"row 1: val_loss\[1\] = -0\.5 is not a number of at least 0"),
        ("val_loss", [[]], "row 1: val_loss is a list of 0 values; give 1 to 255"),
        ("val_loss", [[1.0] * 256], "row 1: val_loss is a list of 256 values; give 1 to 255"),
        ("train_time_s", [2**32], "row 1: train_time_s = 4294967296 is not a whole number from 0"),
        ("train_time_s", [-1], "row 1: train_time_s = -1 is not a whole number from 0"),
        ("train_time_s", [1.5], "train_time_s: holds other values than whole numbers"),
    ],
)
def test_values_of_trainings_that_cannot_be_are_refused(name: str, value: object, message: str) -> None:
    extra = {"seed": 0, "epochs": 1, "dataset": "cifar100", "part": "base"}
    with pytest.raises(DatasetError, match=message):
        Dataset(dataset_type="training", indices=[1], columns={name: value}, extra=extra)


def test_values_cannot_be_changed_afterwards() -> None:
    indices, latencies = np.array([1]), np.array([0.5])
    dataset = bench_dataset("x", indices, latencies)
    indices[0] = latencies[0] = 7
    assert dataset.indices.tolist() == [1]
    assert dataset.columns["latency"].tolist() == [0.5]
    with pytest.raises(ValueError, match="read-only"):
        dataset.columns["latency"][0] = 7
    with pytest.raises(TypeError):
        dataset.columns["latency"] = latencies  # type: ignore[index]


# Files ------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bench.csv"
    write_dataset(path, bench_dataset("x", [1], [0.5]))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"bench\.csv: cannot be written: No space left on device"):
        write_dataset(path, bench_dataset("x", [1], [0.25]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_name_only_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "bench.csv", []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(sorted(p.name for p in tmp_path.iterdir())))
    write_dataset(path, bench_dataset("x", [1], [0.5]))
    assert path.name not in seen[0]
    assert seen[-1] == [path.name]


def test_paths_that_cannot_be_written_or_read_are_named(tmp_path: Path) -> None:
    dataset = bench_dataset("x", [1], [0.5])
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "file" / "a.csv", "cannot be written"),
        (tmp_path / "a.txt", r"suffix '\.txt', which names no format; use \.blox, \.csv, \.pickle"),
        (tmp_path / "a\0.csv", "zero character"),
    ):
        with pytest.raises(DatasetError, match=message):
            write_dataset(path, dataset)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.txt").write_text("")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("none.csv", "cannot be read: No such file"),
        ("none", "cannot be read: No such file"),
        ("there.txt", "names no format"),
        ("folder.csv", "not a regular file"),
        ("pipe.csv", "not a regular file"),
        ("a\0.csv", "zero character"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_dataset(tmp_path / name)


def test_importing_the_data_files_pulls_in_no_heavy_library() -> None:
    code = (
        "import sys, space; light = 'numpy' not in sys.modules or 'yaml' not in sys.modules; import space.dataset\n"
        "print(light, sorted({'torch', 'onnx', 'tensorflow', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"

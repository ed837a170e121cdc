"""`harness export` of trained networks: accuracies before and after, calibration, and what is refused."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from factories.teachers import few_digits
from rigs.commands import Done, refused, run
from rigs.model_runs import run_model

from exporters import Format, Precision, Weights, standalone
from exporters.calibration_images import save_images
from exporters.conversion import run_network
from exporters.weights import WeightsFile
from harness.models import accuracy
from harness.models.accuracy import ModelAccuracy, SplitAccuracy, add_to_table, read_table, table_row
from search.training.augment import NONE
from search.training.pixel_ops import normalize
from search.training.recipe import Recipe
from search.training.tasks import Task, load_task
from search.training.trained_files import write_weights
from search.training.training import train
from space import TINY, Architecture
from space.accuracies import load_accuracies
from space.errors import ConfigError
from space.networks import build_network

NETWORK = "conv-mbconv+in/bconv"
OTHER = "conv/mbconv"


def fresh(folder: Path, network: str = NETWORK) -> Path:
    """Write weights that were never trained."""
    architecture = Architecture.parse(network, TINY)
    path = folder / "fresh.pt"
    write_weights(path, build_network(architecture).state_dict(), architecture)
    return path


def export(output: Path, *options: str, network: str = NETWORK) -> Done:
    model_format = output.suffix.removeprefix(".")
    named = ("--space", "tiny", "--format", model_format, "--output", str(output), "--force")
    return run("sqlite://", "export", network, *named, *options)


# --- what is refused ------------------------------------------------------------------------------


def test_a_file_is_not_named_as_one_of_the_other_format(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    done = run("sqlite://", "export", NETWORK, "--space", "tiny", "--format", "onnx", "--output", str(path))
    refused(done, "x.tflite: its name is of --format tflite, and onnx is asked for")
    assert not path.exists()


def test_the_format_is_that_of_the_files_suffix_or_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.exported.make_model", lambda *given, **_: (given[1].encode(), None))
    for name in ("a.onnx", "a.tflite"):
        done = run("sqlite://", "export", NETWORK, "--space", "tiny", "-o", str(tmp_path / name))
        assert (done.status, (tmp_path / name).read_text()) == (0, name.partition(".")[2]), done.stderr
    done = run("sqlite://", "export", NETWORK, "--space", "tiny", "-o", str(tmp_path / "a"))
    refused(done, "a: has no suffix of a format; end it in .onnx or .tflite, or add --format")


CHECKPOINT = ("--checkpoint", "fresh.pt")
BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "int8 of trained weights without images": (
        ("--precision", "int8", *CHECKPOINT),
        ("trained weights need images for their ranges", "--calibration digits"),
    ),
    "images of no weights": (
        ("--precision", "int8", "--calibration", "digits"),
        ("seeded weights know no task", "--checkpoint FILE"),
    ),
    "images where no ranges are needed": (
        ("--precision", "fp16", *CHECKPOINT, "--calibration", "images.npz"),
        ("fp16 takes no ranges from images", "name a task"),
    ),
    "a table without a task": (
        ("--precision", "int8", *CHECKPOINT, "--calibration", "images.npz", "--table", "t.csv"),
        ("accuracies are of a task",),
    ),
    "a table of something else": (
        ("--precision", "int8", *CHECKPOINT, "--calibration", "digits", "--table", "fresh.pt"),
        ("fresh.pt: is no table that 'harness export' wrote",),
    ),
    "a task that is none": (
        (*CHECKPOINT, "--calibration", "nowhere"),
        ("nowhere",),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_exported_honestly_is_refused_before_anything_is_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, parts = BAD[name]
    fresh(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused(export(tmp_path / "model.onnx", *options), *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["fresh.pt"]


def test_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_images(tmp_path / "images.npz", np.zeros((20, 3, 8, 8), np.float32))
    done = export(
        *(tmp_path / "model.onnx", "--precision", "int8", "--checkpoint", str(fresh(tmp_path))),
        *("--calibration", str(tmp_path / "images.npz")),
    )
    assert done.status == 4 and "are all alike" in done.stderr
    assert not (tmp_path / "model.onnx").exists()


# --- the table ------------------------------------------------------------------------------------


def task_named(name: str) -> Task:
    return replace(few_digits(), name=name)


def row(
    network: str, right: int, precision: Precision = "int8", digest: str = "a", synthetic: bool = False
) -> dict[str, str]:
    """Return the row of a model that classes so many of 200 images right."""
    weights = WeightsFile(path=Path("w.pt"), sha256=digest, architecture=Architecture.parse(network, TINY))
    split = SplitAccuracy(images=200, torch_right=190, model_right=right, changed=3)
    accuracy = ModelAccuracy(task="some-images", synthetic=synthetic, val=split, test=split)
    return table_row(accuracy, weights, "onnx", precision)


def test_a_table_holds_a_row_a_network_and_a_metric_a_precision(tmp_path: Path) -> None:
    path, task = tmp_path / "table.csv", task_named("some-images")
    for added in (
        row(NETWORK, 188),
        row(OTHER, 180, "fp16"),
        row(NETWORK, 189, "fp16"),
        row(OTHER, 170, digest="b"),
    ):
        add_to_table(path, TINY, task, added)
    rows = {one["architecture"]: one for one in csv.DictReader(path.read_text().splitlines())}
    assert rows[NETWORK]["val_top1_int8_onnx"] == "94.0000", "another precision of the same weights joins it"
    assert rows[NETWORK]["val_top1_fp16_onnx"] == "94.5000"
    assert (rows[OTHER]["checkpoint"], rows[OTHER]["val_top1_int8_onnx"]) == ("b", "85.0000")
    assert rows[OTHER]["val_top1_fp16_onnx"] == "", "that of other weights is gone"
    found = load_accuracies(path, metric="val_top1_int8_onnx", config=TINY)
    assert found.values[Architecture.parse(NETWORK, TINY).index] == 94.0
    with pytest.raises(ConfigError, match="6 columns hold numbers"):
        load_accuracies(path, config=TINY)  # never one precision in place of another


def test_two_exports_that_add_to_a_table_at_once_lose_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_read = threading.Barrier(2)

    def read(*given: Any) -> list[dict[str, str]]:
        rows = read_table(*given)
        # The other one cannot read before this one has written.
        with contextlib.suppress(threading.BrokenBarrierError):
            both_have_read.wait(0.2)
        return rows

    monkeypatch.setattr(accuracy, "read_table", read)
    path, task = tmp_path / "table.csv", task_named("some-images")
    with ThreadPoolExecutor() as pool:
        added = [pool.submit(add_to_table, path, TINY, task, row(one, 188)) for one in (NETWORK, OTHER)]
    assert [one.result() for one in added] == [None, None]
    assert {one["architecture"] for one in read_table(path, TINY, task)} == {NETWORK, OTHER}


def test_a_table_that_went_through_an_editor_is_read(tmp_path: Path) -> None:
    path, task = tmp_path / "table.csv", task_named("some-images")
    add_to_table(path, TINY, task, row(NETWORK, 188))
    rows = read_table(path, TINY, task)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_table(path, TINY, task) == rows


def test_a_table_of_another_task_or_space_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    add_to_table(path, TINY, task_named("some-images"), row(NETWORK, 188))
    with pytest.raises(
        ConfigError, match="accuracies of task 'some-images', not 'others'; name another table"
    ):
        read_table(path, TINY, task_named("others"))


def test_a_table_that_is_no_plain_file_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is no plain file"):
            read_table(path, TINY, task_named("some-images"))


def test_accuracies_on_synthetic_images_carry_the_word(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    add_to_table(path, TINY, task_named("some-images"), row(NETWORK, 188, synthetic=True))
    assert load_accuracies(path, metric="synthetic_val_top1_int8_onnx", config=TINY).synthetic


def test_images_are_normalized_as_in_training() -> None:
    task = load_task("synthetic:0:4/2/2", TINY)
    images = task.val.images
    trained_on = normalize(torch.tensor(images).permute(0, 3, 1, 2), task.mean, task.std).numpy()
    np.testing.assert_allclose(task.normalized(images), trained_on, rtol=1e-6, atol=1e-6)


# --- a trained network ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network trained on digits until it is far from chance."""
    torch.set_num_threads(1)
    recipe = Recipe(epochs=2, batch=32, learning_rate=0.05, augmentation=NONE)
    trained = train(Architecture.parse(NETWORK, TINY), load_task("digits", TINY), recipe)
    path = tmp_path_factory.mktemp("trained") / "weights.pt"
    write_weights(path, trained.weights, trained.architecture)
    return path


@pytest.mark.training
@pytest.mark.converter
@pytest.mark.parametrize("model_format", ["onnx", pytest.param("tflite", marks=pytest.mark.long)])
def test_a_trained_network_in_int8_loses_at_most_a_point(
    model_format: Format, weights: Path, tmp_path: Path
) -> None:
    output, table = tmp_path / f"model.{model_format}", tmp_path / "table.csv"
    options = ("--checkpoint", str(weights), "--calibration", "digits", "--table", str(table))
    done = export(output, "--precision", "int8", *options)
    assert done.status == 0, done.stderr
    task = load_task("digits", TINY)
    found = {}
    for name, split in (("val", task.val), ("test", task.test)):
        logits = run_model(model_format, output.read_bytes(), task.normalized(split.images))
        found[name] = int((logits.argmax(axis=1) == split.labels).sum())
    (kept,) = csv.DictReader(table.read_text().splitlines())
    for name, images in (("val", 200), ("test", 300)):
        before, after = (float(kept[f"{name}_top1_{what}"]) for what in ("torch", f"int8_{model_format}"))
        assert after == pytest.approx(found[name] / images * 100, abs=1e-4), "that of the file itself"
        assert f"{after:.2f}" in done.stdout and f"{before:.2f}" in done.stdout
        assert before > 85 and before - after <= 1
    if model_format == "onnx":
        notes = {one.key: one.value for one in onnx.load(output).metadata_props}
        assert json.loads(notes["harness.accuracy"])["val"]["model_right"] == found["val"]
        assert notes["harness.precision"] == "int8" and "calibrated on images" in notes["harness.weights"]


@pytest.mark.training
@pytest.mark.converter
def test_images_that_are_not_those_of_the_task_are_seen_in_the_accuracy(
    weights: Path, tmp_path: Path
) -> None:
    """Ranges a hundred times too small: what images were given counts, and a model's own accuracy shows it."""
    task, architecture = load_task("digits", TINY), Architecture.parse(NETWORK, TINY)
    save_images(tmp_path / "dim.npz", task.normalized(task.train.images[:64]) * np.float32(0.01))
    dim = Weights.from_checkpoint(weights, architecture, calibration=tmp_path / "dim.npz")
    model = standalone(architecture, "onnx", weights=dim, precision="int8", cache_dir=tmp_path)
    before, after = run_network(model, "onnx", architecture, dim, task.normalized(task.test.images))
    right = [(logits.argmax(axis=1) == task.test.labels).mean() for logits in (before, after)]
    assert right[0] - right[1] > 0.1


def test_weights_that_are_not_there_are_bad_input_and_no_model_that_could_not_be_made(tmp_path: Path) -> None:
    done = export(tmp_path / "a.onnx", "--checkpoint", "absent.pt")
    assert (done.status, done.stdout) == (2, "")
    assert "absent.pt: cannot be read: No such file or directory; check the path" in done.stderr

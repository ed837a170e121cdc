"""From a teacher to a verified, trained network on this machine: train, distill, measure, search, fine-tune, measure, export, run

Real digits, real models in int8, the real agent and a real runtime. Trainings are of an epoch or two and of few blocks, sessions
shorter than a user's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from factories.block_libraries import save_library
from rigs.commands import run
from rigs.short_campaigns import SHORT, SHORT_PLAN, any_core

from harness.blockwise import folder as answer_folder
from harness.measurement import plan as plans
from search.distillation.block_library import BlockLibrary
from search.distillation.distill import distil_stage
from search.distillation.recipe import DistilRecipe
from search.distillation.teacher_features import StageTask
from search.training.recipe import SHORT as TRAINING
from search.training.tasks import load_task
from search.training.trained_files import load_trained
from search.training.training import train
from space import TINY, Architecture, Block

pytestmark = [pytest.mark.converter, pytest.mark.training, pytest.mark.long]

SAMPLE = 12  # the fewest that a predictor with intervals is fitted to are 10
BLOCKS = ("conv", "mbconv", "conv-mbconv+in", "mbconv+mbconv")  # without the op that is slow to train


def distilled(folder: Path) -> float:
    """Write a library of a few blocks of a teacher of two epochs, and return the teacher's validation accuracy."""
    task = load_task("digits", TINY)
    teacher = train(Architecture.parse("conv/mbconv", TINY), task, replace(TRAINING, epochs=2))
    blocks: list[Block] = [block for block in TINY.blocks if str(block) in BLOCKS]
    stages = tuple(
        distil_stage(StageTask(teacher, task, stage), DistilRecipe(epochs=1), blocks)
        for stage in range(TINY.stages)
    )
    save_library(folder, BlockLibrary(teacher=teacher, stages=stages))
    return teacher.best.val.top1


def onnx_accuracy(path: Path) -> float:
    """Return the share of the digits' test images, in percent, that a model file classes right in ONNX Runtime.

    An int8 model, too, reads and writes float32.
    """
    import onnxruntime

    task = load_task("digits", TINY)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = task.test.images.astype(np.float32) / 255
    images = ((pixels - np.array(task.mean, np.float32)) / np.array(task.std, np.float32)).transpose(
        0, 3, 1, 2
    )
    right = [
        int(session.run(None, {"image": image[None].astype(np.float32)})[0].argmax()) == label
        for image, label in zip(images, task.test.labels, strict=True)
    ]
    return 100 * float(np.mean(right))


@pytest.fixture(autouse=True)
def any_core_will_do() -> Iterator[None]:
    with any_core():
        yield


@pytest.mark.timeout(900)  # on a machine that is busy with other work
def test_a_library_becomes_a_trained_network_that_was_itself_measured_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough that what is predicted and then measured agrees; a process that measures many is started once.
    plan = replace(SHORT_PLAN, reference_runs=2, network_runs=6, min_slices=8)
    level = replace(SHORT, at_once=SAMPLE, plan=plan)
    for name in plans.LEVELS:
        monkeypatch.setitem(plans.LEVELS, name, level)
    # The converter to the other format takes as long as all else.
    monkeypatch.setattr(answer_folder, "FORMATS", ("onnx",))
    store, library, folder = tmp_path / "store.sqlite", tmp_path / "library", tmp_path / "answer"
    teacher = distilled(library)
    assert teacher > 25, "of ten classes chance is 10 %"
    models = ("--precision", "int8", "--models", f"sample:{SAMPLE}@3")
    measured = run(store, "measure", "--space", "tiny", "--runtime", "onnxruntime", *models, "--json")
    assert measured.status == 0, measured.stderr
    limit_ms = 4 * max(row["latency_ms"] for row in measured.json)  # this machine may be busy with other work
    done = run(
        store,
        *("search", "--method", "blockwise", "--library", str(library)),
        *("--device", "local", "--max-latency", f"{limit_ms:.3f}ms"),
        *("--finalists", "4", "--fine-tune", "2", "--fine-tune-epochs", "1", "--verify", "2"),
        "--doubtful",  # sessions of a few slices are hardly worth more
        *("--output", str(folder), "--json"),
    )
    assert done.status == 0, done.stderr
    answer = json.loads((folder / "answer.json").read_text())
    assert answer == done.json

    assert "int8" in answer["latencies"]["local"]
    latency = answer["costs"]["local"]
    assert latency["source"] == "measured with the weights of this answer"
    assert 0 < latency["value"] <= limit_ms
    assert latency["grade"] in ("A", "B", "C", "D")
    assert latency["before"]["source"] in ("predicted", "measured with random weights")

    student = next(one for one in answer["students"] if one["architecture"] == answer["architecture"])
    before, after = student["plugged_in"]["val_top1_percent"], student["fine_tuned"]["val_top1_percent"]
    assert answer["accuracy"]["val_top1_percent"] == max(before, after)
    assert after > before, "an epoch with a teacher betters blocks that learned for one epoch each"
    assert answer["accuracy"]["weights"] == "fine-tuned"

    for name, digest in answer["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert set(answer["files"]) == {path.name for path in folder.iterdir()} - {"answer.json"}
    # Of 300 images one may lie between two classes: the exported model has its BatchNorms folded.
    assert onnx_accuracy(folder / "model.onnx") == pytest.approx(
        answer["accuracy"]["test_top1_percent"], abs=0.4
    )
    plain, quantized = answer["models"]
    assert (plain["file"], quantized["file"], quantized["precision"]) == (
        "model.onnx",
        "model-int8.onnx",
        "int8",
    )
    after_ptq = quantized["accuracy"]["test_top1_percent"]
    assert onnx_accuracy(folder / "model-int8.onnx") == pytest.approx(after_ptq, abs=1e-9), (
        "of the file itself"
    )
    assert quantized["before"]["test_top1_percent"] == pytest.approx(
        answer["accuracy"]["test_top1_percent"], abs=0.4
    )
    assert quantized["before"]["test_top1_percent"] - after_ptq < 3, "ranges are those of digits"
    notes = {one.key: one.value for one in onnx.load(folder / "model-int8.onnx").metadata_props}
    assert notes["harness.precision"] == "int8" and "calibrated on images" in notes["harness.weights"]
    again = load_trained(folder / "network.harness")
    assert str(again.architecture) == answer["architecture"]
    assert again.test.top1 == answer["accuracy"]["test_top1_percent"]
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

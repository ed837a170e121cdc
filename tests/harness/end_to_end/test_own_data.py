"""Images of one's own from end to end: the how-to page as it stands, units of work, what a changed folder spoils."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from factories.image_folders import draw, write_task
from factories.spaces import TWO_OPS, make_known
from rigs.commands import refused, run

import harness
from harness.models.exported import export_network
from search.blockwise.setting import known_accuracies
from search.study.blocks import StudyContext
from search.training.images import Images, Task
from search.training.recipe import SHORT
from search.training.tasks import load_task
from search.training.trained_files import write_weights
from search.training.training import train
from search.work.trainings import training_unit
from space import TINY, Architecture
from space.errors import ConfigError
from space.networks import build_network

pytestmark = pytest.mark.training

PAGE = Path(__file__).parents[3] / "docs/how-to/own-data.md"
BLOCK = re.compile(r'^```(\w*)(?: title="(\S+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
NETWORK = "conv/conv"


def few(task: Task, count: int = 60) -> Task:
    """Return a task's first images of each part."""
    parts = {
        part: Images(images=one.images[:count], labels=one.labels[:count])
        for part in ("train", "val", "test")
        if (one := getattr(task, part))
    }
    return replace(task, **parts)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread, as units of work do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of some digits, which are the whole of it, in the working folder."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield write_task(tmp_path / "digits", few(load_task("digits", TINY)))


@pytest.mark.long
@pytest.mark.converter
def test_the_page_does_what_it_says(
    tmp_path: Path, harness_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(harness_cache))
    monkeypatch.chdir(tmp_path)
    shown, table = "", ""
    for kind, title, text in BLOCK.findall(PAGE.read_text()):
        if kind == "json":
            (tmp_path / title).write_text(text)
        elif kind == "python":
            exec(compile(text, title or "page", "exec"), {})
        elif kind == "text":
            assert text.replace("/home/me", str(tmp_path)) in shown, "what the page shows is what is printed"
        for line in text.replace("\\\n", "").splitlines() if not kind else ():
            if line.startswith("harness "):
                done = run(
                    "sqlite://",
                    *shlex.split(line.replace(" bconv/conv", "").replace("--epochs 3", "--epochs 1"))[1:],
                )
                assert done.status == 0, done.stderr
                shown, table = done.stderr, done.stdout
    kept = json.loads((tmp_path / "trained" / "task.json").read_text())
    assert kept["class_names"] == [f"digit {number}" for number in range(10)]
    notes = {one.key: one.value for one in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(notes["harness.classes"]) == kept["class_names"]
    assert json.loads(notes["harness.normalization"]) == {key: kept[key] for key in ("mean", "std")}
    assert f"top-1 in % on images of {kept['name']}" in table
    assert list((tmp_path / "from_arrays").glob("arrays-*.npz"))


def test_a_network_learns_from_a_folder_what_it_learns_from_the_built_in_task(digits: Path) -> None:
    own = load_task(f"folder:{digits}", TINY)
    built_in = few(load_task("digits", TINY))
    places = {  # the same images in the order of the folder's task
        part: [
            next(
                place
                for place, other in enumerate(getattr(built_in, part).images)
                if (other == image).all() and getattr(built_in, part).labels[place] == label
            )
            for image, label in zip(getattr(own, part).images, getattr(own, part).labels, strict=True)
        ]
        for part in ("train", "val", "test")
    }
    ordered = {
        part: Images(images=getattr(built_in, part).images[rows], labels=getattr(built_in, part).labels[rows])
        for part, rows in places.items()
    }
    same = replace(built_in, **ordered, mean=own.mean, std=own.std)
    recipe, architecture = replace(SHORT, epochs=2, batch=16), Architecture.parse(NETWORK, TINY)
    found, expected = (train(architecture, task, recipe) for task in (own, same))
    assert [(one.train, one.val) for one in found.history] == [
        (one.train, one.val) for one in expected.history
    ]
    assert found.test == expected.test and found.source == f"folder:{digits}"


def test_a_folder_is_trained_on_once_and_a_changed_one_goes_on_from_nothing(
    digits: Path, tmp_path: Path
) -> None:
    command = (
        "train",
        NETWORK,
        "--space",
        "tiny",
        "--task",
        "folder:digits",
        "--epochs",
        "1",
        "--output",
        "out",
    )
    told = run("sqlite://", *command).stderr
    assert (
        "digits: 180 images, " in told
        and "60/60/60 images to train, validate, test; 10 classes: class 0, " in told
    )
    first = run("sqlite://", *command, "--json")
    assert first.status == 0, first.stderr
    task = first.json["task"]
    assert task["class_names"][3] == "class 3" and task["images"] == {"train": 60, "val": 60, "test": 60}
    again = run("sqlite://", *command, "--json")
    assert again.json == first.json, "the time of the training, too: it was not trained again"
    published = (tmp_path / "out" / "blox-base-0.csv").read_bytes()

    weights = str(next((tmp_path / "out").glob("weights-0/*.pt")))
    draw((9, 9, 9), 1).save(next((digits / "train" / "class 3").iterdir()))
    refused(run("sqlite://", *command), "holds trainings of another kind: task_sha256 is", "another --output")
    refused(
        run("sqlite://", "distill", "out", "--output", "library"), "changed since conv/conv was trained on it"
    )
    assert (tmp_path / "out" / "blox-base-0.csv").read_bytes() == published and Path(weights).exists()
    assert json.loads((tmp_path / "out" / "task.json").read_text())["sha256"] == task["sha256"]


def test_python_trains_on_arrays_and_distills_on_them_later(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_known(monkeypatch, TWO_OPS)
    images = load_task(f"folder:{digits}", TINY)
    parts = {part: (getattr(images, part).images, getattr(images, part).labels) for part in ("train", "test")}
    (trained,) = harness.train(NETWORK, tmp_path / "out", task=parts, space="two-ops", recipe={"epochs": 1})
    source = trained.trained.source
    assert source.startswith(f"npz:{tmp_path / 'out'}/arrays-")
    blocks = harness.distill(tmp_path / "out", tmp_path / "library", stages=[1], recipe={"epochs": 1})
    assert blocks.task.source == source and blocks.signatures.task == trained.trained.task


def test_weights_of_other_images_or_of_another_split_are_not_calibrated_on_these(
    digits: Path, tmp_path: Path
) -> None:
    weights, network = tmp_path / "weights.pt", Architecture.parse(NETWORK, TINY)
    write_weights(weights, build_network(network).state_dict(), network, task="digits-00000000")
    options = {"precision": "int8", "checkpoint": weights, "space": "tiny"}
    with pytest.raises(
        ConfigError, match=r"is digits-\w+ now, and .*weights\.pt was trained on digits-00000000"
    ):
        export_network(NETWORK, "onnx", tmp_path / "net.onnx", calibration=f"folder:{digits}", **options)  # type: ignore[arg-type]
    task = load_task(f"folder:{digits}", TINY)
    np.savez(
        tmp_path / "digits.npz",
        **{f"x_{part}": getattr(task, part).images for part in ("train", "val", "test")},
        **{f"y_{part}": getattr(task, part).labels for part in ("train", "val", "test")},
    )
    with pytest.raises(ConfigError, match=r"npz:.* now, and .*weights\.pt was trained on digits-00000000"):
        export_network(
            NETWORK,
            "onnx",
            tmp_path / "net.onnx",
            calibration=f"npz:{tmp_path / 'digits.npz'}",
            **options,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "net.onnx").exists()


def test_known_accuracies_are_of_the_images_that_the_teacher_learned(digits: Path, tmp_path: Path) -> None:
    task, folder = load_task(f"folder:{digits}", TINY), tmp_path / "out"
    harness.train(NETWORK, folder, task=f"folder:{digits}", space="tiny", recipe={"epochs": 1})
    library: Any = SimpleNamespace(teacher=SimpleNamespace(source=task.source), config=TINY)
    assert len(known_accuracies(folder, library, task).indices) == 1
    draw((9, 9, 9), 1).save(next((digits / "val" / "class 3").iterdir()))
    with pytest.raises(ConfigError, match="changed since its networks were trained; train them again"):
        known_accuracies(folder, library, load_task(task.source, TINY))


def test_units_of_a_study_are_of_the_images_and_those_of_built_in_tasks_as_before(digits: Path) -> None:
    own, built_in = load_task(f"folder:{digits}", TINY), load_task("digits", TINY)

    class Settings:
        space, task = "tiny", "digits"

    class Truth:
        config = TINY

    def base(task: Task) -> dict[str, str]:
        context = StudyContext(settings=Settings(), truth=Truth(), task=task, unit_runner=None)  # type: ignore[arg-type]
        return context.base

    assert base(built_in) == {"space": "tiny", "task": "digits"}
    assert base(own) == {"space": "tiny", "task": own.source, "task_sha256": own.images_digest}
    unit = training_unit(Architecture.parse(NETWORK, TINY), own, SHORT)
    assert unit.config["task_sha256"] == own.images_digest

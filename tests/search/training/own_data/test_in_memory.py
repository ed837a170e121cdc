"""Images that Python holds: the task that a folder of the same images is, kept in a file that is read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.tasks import TINY, made_task
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from search.training.images import HeldOut
from search.training.own_data.in_memory import task_in_memory
from search.training.tasks import Task, load_task
from space import SpaceConfig
from space.errors import ConfigError

SPACE = SpaceConfig(name="colors", ops=("conv",), widths=(2,), image_size=8, classes=2)
X = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
Y = np.arange(12) % 2


class Listed(Dataset[Any]):
    """A dataset of items, as one of torchvision has names of classes."""

    classes = ("cat", "dog")

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        found = self.items[place]
        return found() if callable(found) else found


def same(first: Task, second: Task) -> bool:
    return first.images_digest == second.images_digest and first.name == second.name


def test_arrays_are_kept_in_a_file_that_is_the_same_task(tmp_path: Path) -> None:
    task = task_in_memory((X, Y), SPACE, tmp_path / "new")
    assert [len(task.train), len(task.val), len(task.test)] == [8, 2, 2] and task.class_names == ("0", "1")
    assert task.source == f"npz:{tmp_path / 'new' / task.name}.npz" and task.name.startswith("arrays-")
    again = load_task(task.source, SPACE)
    assert same(again, task) and (again.source, again.origin) == (task.source, task.origin)
    other = task_in_memory((X, 1 - Y), SPACE, tmp_path / "new")
    assert not same(other, task) and same(load_task(task.source, SPACE), task), (
        "one does not write over the other"
    )


def test_a_dataset_gives_pillows_images_tensors_or_arrays(tmp_path: Path) -> None:
    def task(items: Any) -> Task:
        return task_in_memory(Listed(list(zip(items, Y, strict=True))), SPACE, tmp_path)

    first = task(X)
    assert first.class_names == ("cat", "dog")
    assert same(task([Image.fromarray(one) for one in X]), first)
    black = np.zeros((8, 8, 3), np.uint8)
    transparent = [Image.new("RGBA", (8, 8), (9, 9, 9, 0)), *map(Image.fromarray, X[1:])]
    assert same(task(transparent), task([black, *X[1:]]))
    channels_first = torch.tensor(X).permute(0, 3, 1, 2)
    assert same(task(channels_first), first) and same(task(channels_first / 255), first)
    assert same(task(((channels_first.double() - 0.4) / 255).clamp(0)), first), "to the nearest of 256 levels"
    plain = task_in_memory(TensorDataset(channels_first, torch.tensor(Y)), SPACE, tmp_path)
    assert plain.class_names == ("0", "1") and (plain.train.images == first.train.images).all()


def test_parts_are_given_by_name(tmp_path: Path) -> None:
    task = task_in_memory({"train": (X[:8], Y[:8]), "test": (X[8:], Y[8:])}, SPACE, tmp_path)
    assert [len(task.train), len(task.val), len(task.test)] == [6, 2, 4]
    assert {one.tobytes() for one in task.test.images} == {one.tobytes() for one in X[8:]}


def test_parts_whose_labels_are_of_other_classes_are_refused(tmp_path: Path) -> None:
    train, val = (Listed(list(zip(X, Y, strict=True))) for _ in range(2))
    val.classes = np.array(["dog", "cat"])
    message = r"the classes of val are \['dog', 'cat'\], those of train \['cat', 'dog'\]: .*in the same order"
    with pytest.raises(ConfigError, match=message):
        task_in_memory({"train": train, "val": val}, SPACE, tmp_path)
    val.classes = train.classes = list(np.array(["cat", "dog"]))
    parts = {"train": train, "val": val, "test": (X, Y)}
    assert repr(task_in_memory(parts, SPACE, tmp_path).class_names) == "('cat', 'dog')"
    train.classes = [("cat", "tomcat"), ("dog",)]  # as torchvision's ImageNet
    with pytest.raises(ConfigError, match="give different texts, one for each class"):
        task_in_memory(train, SPACE, tmp_path)


def test_a_task_made_by_hand_keeps_its_normalization(tmp_path: Path) -> None:
    made = made_task()
    task = task_in_memory(made, TINY, tmp_path)
    assert (task.mean, task.std, task.synthetic) == (made.mean, made.std, True)
    assert sorted(one.tobytes() for one in task.val.images) == sorted(
        one.tobytes() for one in made.val.images
    )
    assert same(load_task(task.source, TINY), task)
    of_numpy = replace(made, mean=tuple(np.float32(made.mean)), std=tuple(np.array(made.std)))
    assert task_in_memory(of_numpy, TINY, tmp_path).std == made.std
    known = replace(made, source="synthetic:3")
    assert task_in_memory(known, TINY, tmp_path) is known


def test_images_held_out_are_refused_where_a_file_would_lose_them(tmp_path: Path) -> None:
    made = made_task()
    dealt = replace(made, held_out=HeldOut(seed=0, profile=made.val, rescore=made.val))
    with pytest.raises(
        ConfigError, match=r"images held out by seed 0, .*behind its source, as in 'npz:FILE\+split:0'"
    ):
        task_in_memory(dealt, TINY, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    named = replace(dealt, source="synthetic:3+split:0")
    assert task_in_memory(named, TINY, tmp_path) is named


@pytest.mark.parametrize(
    "name", ["a" * 31, "a" * 32, "a" * 39, "a" * 40, "a" * 60, "a" * 39 + "-b", "a" * 39 + ". b", "v1.0", "-"]
)
def test_a_task_of_any_name_is_called_the_same_when_its_file_is_read(tmp_path: Path, name: str) -> None:
    given = replace(made_task(), name=name, synthetic=False)
    task = task_in_memory(given, TINY, tmp_path)
    assert same(load_task(task.source, TINY), task)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X, Y, Y), "task: all: 3 things; give images and labels"),
        ((X / 255, Y), "task: all: images is float64"),
        ((X, Y / 2), "task: all: labels is float64"),
        ({"test": (X, Y)}, r"parts are \['test'\]; give train"),
        ({"train": (X, Y), "valid": (X, Y)}, r"parts are \['train', 'valid'\]"),
        (7, "task: all is int; give a source such as"),
        (Listed([]), "the dataset has 0 images"),
        (Listed([X[0], X[1]]), "image 0 is ndarray; a dataset gives pairs"),
        (
            Listed([(X[0], 0), (X[1][:4], 1)]),
            r"image 1 is \(4, 8, 3\), the first one \(8, 8, 3\); resize them",
        ),
        (Listed([(X[0] / 127, 0)]), "floats beyond 0 and 1; .* leave normalization out"),
        (Listed([(X[0] * float("nan"), 0)]), "floats beyond 0 and 1"),
        (Listed([(X[0].astype(np.int32), 0)]), "image 0 is int32"),
        (
            Listed([(Image.fromarray(X[0, ..., 0].astype(np.uint16) * 256), 0)]),
            "image 0 has pixels of mode 'I;16'; save it with 8 bits a channel",
        ),
        (Listed([(Image.new("F", (8, 8), 300.0), 0)]), "image 0 has pixels of mode 'F'"),
        (Listed([(X[0], 0.5)]), "image 0: the label is 0.5; give a whole number"),
        (Listed([(X[0], "cat")]), "the label is 'cat'"),
        (
            Listed([(X[0], 0), lambda: (np.random.default_rng().integers(0, 256, (8, 8, 3), np.uint8), 1)]),
            "gives other pixels each time; leave random transforms out",
        ),
    ],
)
def test_what_is_no_task_is_refused_and_nothing_is_written(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_in_memory(given, SPACE, tmp_path / "new")
    assert not (tmp_path / "new").exists()

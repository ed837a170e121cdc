"""Tasks: checked values, digits, made-up images, and sources by name. CIFAR is in test_cifar.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.training import tasks
from search.training.digits import resize
from search.training.images import moments
from search.training.synthetic_images import make_synthetic_task
from search.training.tasks import Images, Task, check_fit, load_task
from space import BLOX, MINI, SpaceConfig
from space.errors import ConfigError

TINY = SpaceConfig(name="tiny", ops=("conv",), widths=(2,), image_size=8, classes=10, in_channels=1)
WIDE = SpaceConfig(name="wide", ops=("conv",), widths=(2,), image_size=12, classes=700)


def images(count: int = 4, labels: object = None) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return Images(
        images=pixels, labels=np.zeros(count, np.int64) if labels is None else np.array(labels, np.int64)
    )


def task(**changes: object) -> Task:
    values: dict[str, object] = {
        "name": "a", "train": images(), "val": images(), "test": images(), "classes": 2,
        "mean": (0.5,) * 3, "std": (0.2,) * 3, "synthetic": False, "origin": "tests",
    }  # fmt: skip
    return Task(**{**values, **changes})  # type: ignore[arg-type]


# --- values ---------------------------------------------------------------------------------------


def test_a_task_knows_its_shape_and_cannot_be_written_to() -> None:
    made = task()
    assert made.shape == (8, 8, 3) and len(made.train) == 4
    with pytest.raises(ValueError, match="read-only"):
        made.train.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        made.train.labels[0] = 1


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 8, 8, 3)), np.zeros(2, np.int64), r"images are float64 of shape \(2, 8, 8, 3\)"),
        (np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64), "images are uint8 of shape"),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64), "images are uint8 of shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3, np.int64), r"give int64 of \(2,\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), "labels are float64"),
    ],
)
def test_what_are_no_labeled_images_is_refused(pixels: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Images(images=pixels, labels=labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": images(2, [0, 2])}, "val label 2 at place 1; classes are 0 to 1"),
        ({"test": images(2, [-1, 0])}, "test label -1 at place 0"),
        (
            {"test": Images(images=np.zeros((1, 4, 8, 3), np.uint8), labels=np.zeros(1, np.int64))},
            "test images of",
        ),
        ({"mean": (0.5,)}, "give 3 numbers"),
        ({"std": (0.2, float("nan"), 0.2)}, "give 3 numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "more than 0"),
        ({"synthetic": True}, "hold 'synthetic'"),
        ({"name": "synthetic-1"}, "hold 'synthetic'"),
    ],
)
def test_a_task_whose_parts_contradict_each_other_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**changes)


def test_a_task_fits_a_space_of_its_images_and_classes_only() -> None:
    fitting = SpaceConfig(name="own", ops=("conv",), widths=(2,), image_size=8, classes=2)
    check_fit(task(), fitting)
    for other in (
        replace(fitting, image_size=16),
        replace(fitting, classes=3),
        replace(fitting, in_channels=1),
    ):
        with pytest.raises(ConfigError, match="task 'a' is 2 classes of images 8 x 8 x 3, space 'own' reads"):
            check_fit(task(), other)


def test_moments_are_those_of_the_pixels() -> None:
    pixels = images(50).images
    mean, std = moments(pixels)
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 1, 2)), rtol=1e-12)


# --- digits ---------------------------------------------------------------------------------------


def test_digits_are_whole_and_split_without_overlap() -> None:
    from sklearn.datasets import load_digits

    digits = load_task("digits", TINY)
    parts = [digits.train, digits.val, digits.test]
    assert [len(part) for part in parts] == [1297, 200, 300] and not digits.synthetic
    pixels = np.concatenate([part.images for part in parts])[..., 0]
    labels = np.concatenate([part.labels for part in parts])
    found = sorted((label, image.tobytes()) for image, label in zip(pixels, labels.tolist(), strict=True))
    theirs = load_digits()
    scaled = np.floor(theirs.images * 255 / 16 + 0.5).astype(np.uint8)
    assert found == sorted(
        (label, image.tobytes()) for image, label in zip(scaled, theirs.target.tolist(), strict=True)
    )
    assert all(set(part.labels.tolist()) == set(range(10)) for part in parts)


def test_digits_come_in_the_spaces_size_and_channels_the_same_each_time() -> None:
    first, again = load_task("digits", MINI), load_task("digits", MINI)
    assert first.shape == (16, 16, 3) and first.classes == 10
    assert (first.train.images == again.train.images).all() and (
        first.train.labels == again.train.labels
    ).all()
    assert (first.train.images[..., 0] == first.train.images[..., 2]).all()
    assert first.mean == moments(first.train.images)[0] and first.std == moments(first.train.images)[1]


@pytest.mark.parametrize("size", [4, 6, 8, 16, 32, 20])
def test_resizing_is_pillows_bilinear(size: int) -> None:
    pixels = np.random.default_rng(1).uniform(0, 255, (3, 8, 8))
    theirs = [
        np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))
        for image in pixels
    ]
    np.testing.assert_allclose(resize(pixels, size), theirs, atol=1e-3)


# --- made-up images -------------------------------------------------------------------------------


def test_a_synthetic_task_says_so_and_holds_every_class_alike() -> None:
    made = make_synthetic_task(WIDE, 3, (2, 1, 1))
    assert made.synthetic and "synthetic" in made.name and "synthetic" in made.origin
    assert made.shape == (12, 12, 3) and made.classes == 700
    for part, count in ((made.train, 2), (made.val, 1), (made.test, 1)):
        assert (np.bincount(part.labels, minlength=700) == count).all()
        assert (np.diff(part.labels) < 0).any()  # shuffled


def test_a_seed_draws_the_same_images_and_another_seed_others() -> None:
    first, again, other = (make_synthetic_task(MINI, seed, (5, 2, 2)) for seed in (1, 1, 2))
    for part in ("train", "val", "test"):
        mine, same, different = (getattr(drawn, part) for drawn in (first, again, other))
        assert (mine.images == same.images).all() and (mine.labels == same.labels).all()
        assert (mine.images != different.images).any()
    assert (
        len({image.tobytes() for part in (first.train, first.val, first.test) for image in part.images}) == 90
    )


def test_one_channel_can_be_asked_for() -> None:
    assert make_synthetic_task(TINY, 1, (5, 1, 1)).shape == (8, 8, 1)


def test_synthetic_classes_can_be_told_apart_but_not_by_pixels_alone() -> None:
    """A linear classifier of pixels learns something, and far from all: what is left is for networks."""
    from sklearn.linear_model import RidgeClassifier

    made = make_synthetic_task(MINI, 0, (150, 1, 100))
    flat = [(part.images.reshape(len(part), -1) / 255, part.labels) for part in (made.train, made.test)]
    score = RidgeClassifier(alpha=300.0).fit(*flat[0]).score(*flat[1])
    assert 0.15 < score < 0.7  # chance is 0.1


# --- sources --------------------------------------------------------------------------------------


def test_sources_are_named() -> None:
    assert load_task("digits", MINI).name == "digits"
    first, same, other = (load_task(source, MINI) for source in ("synthetic", "synthetic:0", "synthetic:7"))
    assert first.name == same.name == "synthetic-0" and (first.val.images == same.val.images).all()
    assert other.name == "synthetic-7" and [len(p) for p in (other.train, other.val, other.test)] == [
        4500,
        500,
        1000,
    ]


def test_a_synthetic_source_tells_how_many_images_of_each_class() -> None:
    few = load_task("synthetic:7:3/2/1", MINI)
    assert [len(part) for part in (few.train, few.val, few.test)] == [30, 20, 10]
    assert few.name == "synthetic-7-3-2-1"  # not that of the task with the usual images
    assert "3/2/1 of each class" in few.origin


def test_a_tasks_source_names_the_same_images_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "digits": "digits",
        "synthetic:007:3/2/1": "synthetic:7:3/2/1",
        "synthetic": "synthetic:0:450/50/100",
    }
    for text, source in sources.items():
        first = load_task(text, MINI)
        again = load_task(first.source, MINI)
        assert first.source == again.source == source and first.name == again.name
        assert (first.test.images == again.test.images).all()
    public = load_task("synthetic:0:1/1/1", WIDE)
    monkeypatch.setattr(tasks, "_from_folder", lambda folder, config: public)
    monkeypatch.chdir(tmp_path)
    assert load_task("cifar", WIDE).source == str(tmp_path / "cifar")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", r"'digit' is no task; did you mean 'digits'\? give 'digits', 'synthetic'"),
        ("flowers", "'flowers' is no task: give 'digits', 'synthetic'"),
        ("synthetic:", "the seed is a whole number"),
        ("synthetic:-1", "the seed is a whole number"),
        ("synthetic:9999999999", "more than 4294967295"),
        ("synthetic:3:20/5", "as in 'synthetic:3:200/50/200'"),
        ("synthetic::20/5/5", "the seed is a whole number"),
        ("synthetic:3:20/0/5", "give 1 to 10000 images"),
        ("synthetic:3:99999/1/5", "give 1 to 10000 images"),
        ("digits", "task 'digits' is 10 classes of images 32 x 32 x 3, space 'blox' reads 100 classes"),
        ("digits", r"a space that fits the other \(10 classes: --space mini or tiny or deep\)"),
    ],
)
def test_sources_that_are_none_are_refused(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_task(source, BLOX)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "cifar-100-binary.tar.gz"
    path.touch()
    with pytest.raises(ConfigError, match="a folder that holds"):
        load_task(path, BLOX)

"""Images dealt out for each use: disjoint, repeatable, of stated sizes; and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.training.image_split import ImageSplit, parse_split, separated
from search.training.images import Images, Task, moments, uses_text
from search.training.recipe import default_recipe
from search.training.task_source import split_source
from search.training.tasks import load_task
from space import TINY
from space.errors import ConfigError

PARTS = ("train", "val", "test", "profile", "rescore")


def numbered(first: int, count: int) -> Images:
    """Return images that hold their own numbers, and these as labels."""
    numbers = np.arange(first, first + count)
    pixels = np.stack([numbers // 256, numbers % 256, numbers % 7], axis=1).astype(np.uint8)
    return Images(images=pixels[:, None, None, :], labels=numbers.astype(np.int64))


def task(train: int = 1000, val: int = 200, test: int = 150) -> Task:
    mean, std = moments(numbered(0, train).images)
    return Task(
        name="numbers", train=numbered(0, train), val=numbered(train, val), test=numbered(train + val, test),
        classes=10_000, mean=mean, std=std, synthetic=False, origin="tests", source="numbers",
    )  # fmt: skip


def labels(one: Task, part: str) -> list[int]:
    found: Images = getattr(one, part)
    assert (found.images[:, 0, 0, 0] * 256.0 + found.images[:, 0, 0, 1] == found.labels).all(), (
        "kept together"
    )
    return found.labels.tolist()


def test_every_image_has_one_use_and_test_images_stay_as_they_are() -> None:
    whole, dealt = task(), separated(task(), ImageSplit(seed=3, sizes=(150, 110, 120)))
    uses = [labels(dealt, part) for part in PARTS]
    assert sorted(number for one in uses for number in one) == list(range(1350)), "each once, none lost"
    assert [len(one) for one in uses] == [820, 120, 150, 150, 110]
    assert labels(dealt, "test") == labels(whole, "test")
    held = labels(dealt, "profile") + labels(dealt, "rescore") + labels(dealt, "val")
    assert set(labels(whole, "val")) <= set(held), "nothing that was held out is trained on"
    for part in ("profile", "rescore", "val"):
        assert 0 < sum(number >= 1000 for number in labels(dealt, part)) < len(labels(dealt, part)), "mixed"
    pixels = dealt.train.images / 255
    np.testing.assert_allclose(dealt.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-9)
    assert dealt.uses == {"profile": 150, "rescore": 110, "epochs": 120, "test": 150}
    given = replace(task(), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert separated(given, ImageSplit(seed=3, sizes=(150, 110, 120))).mean == given.mean, (
        "one that was given stays"
    )


def test_validation_images_alone_are_dealt_out_where_they_are_enough() -> None:
    whole = task(val=700)
    dealt = separated(whole, ImageSplit(seed=0))
    assert labels(dealt, "train") == labels(whole, "train") and dealt.mean == whole.mean
    assert dealt.uses == {"profile": 233, "rescore": 233, "epochs": 233, "test": 150}
    assert dealt.origin == "tests, dealt out by seed 0, 1 validation image left out"
    fewer = separated(whole, ImageSplit(seed=0, sizes=(100, 110, 120)))
    assert labels(fewer, "train") == labels(whole, "train") and fewer.mean == whole.mean
    assert fewer.origin.endswith("by seed 0, 370 validation images left out")
    assert "left out" not in separated(task(), ImageSplit(seed=0)).origin
    assert separated(task(), ImageSplit(seed=0)).uses["rescore"] == 200, "as many as usual at least"


def test_a_task_that_says_no_source_says_none_when_it_is_dealt_out() -> None:
    assert separated(replace(task(), source=""), ImageSplit(seed=3)).source == ""


def test_the_seed_decides_who_gets_which_and_the_source_says_all_of_it() -> None:
    one, again, other = (load_task(f"digits+split:{seed}", TINY) for seed in (0, 0, 1))
    assert one.images_digest == again.images_digest != other.images_digest
    assert one.source == "digits+split:0:200/200/200"
    assert load_task(one.source, TINY).images_digest == one.images_digest
    assert one.name == "digits-split-0-200-200-200" != other.name
    assert uses_text(one).startswith("200 profile blocks, 200 re-score networks, 200 choose epochs, 300 test")
    assert default_recipe(one.source) == default_recipe("digits")


def test_without_a_split_validation_images_serve_all_three_and_it_says_so() -> None:
    shared = load_task("digits", TINY)
    assert shared.profile is shared.rescore is shared.val
    assert "all three" in uses_text(shared)
    whole = load_task("digits+split:0", TINY)
    held = whole.held_out
    assert held is not None and replace(whole, held_out=None).images_digest != whole.images_digest
    swapped = replace(whole, held_out=replace(held, profile=held.rescore, rescore=held.profile))
    assert swapped.images_digest != whole.images_digest, "who has which is part of what a result rests on"


@pytest.mark.parametrize(
    ("sizes", "made", "message"),
    [
        ((99, 200, 200), task(), "99 images to profile blocks.*give 100 or more of each"),
        ((200, 200, 99), task(), "99 to choose epochs"),
        ((100, 100, 100), task(test=99), "99 to test: of fewer than 100"),
        ((300, 300, 300), task(), "takes 700 of its 1,000 training images, more than half"),
        (None, task(train=700), "takes 400 of its 700 training images"),
    ],
)
def test_too_few_images_are_refused_with_their_numbers(
    sizes: tuple[int, int, int] | None, made: Task, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        separated(made, ImageSplit(seed=0, sizes=sizes))


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "0:1/2", "0:1/2/3/4", "0+split:1", "99999999999", "4294967296"]
)
def test_a_text_that_is_no_split_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"digits\+split:0|the seed is more than"):
        parse_split(text)
    with pytest.raises(ConfigError):
        load_task(f"digits+split:{text}", TINY)


def test_a_path_that_holds_the_mark_is_taken_whole_and_its_split_is_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "a+split:b" / "images"
    folder.mkdir(parents=True)
    (tmp_path / "c+split:d.npz").touch()
    for path in (
        f"folder:{folder}", f"folder:{folder}:fit=crop", f"{folder}", f"{folder.parent}", f"npz:{tmp_path}/c+split:d.npz"
    ):  # fmt: skip
        assert split_source(path) == (path, None)
        assert split_source(f"{path}+split:0:100/110/120") == (path, "0:100/110/120")
    missing = f"folder:{tmp_path}/none+split:b"
    assert split_source(missing) == (f"folder:{tmp_path}/none", "b"), "refused as a split that is none"
    assert split_source("digits+split:0+split:1") == ("digits", "0+split:1")

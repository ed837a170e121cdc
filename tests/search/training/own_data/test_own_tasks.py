"""Tasks of a user's own images: what they hold, how they are split, what they are called by, and what that depends on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from factories.image_folders import COLORS, draw, write_folder, write_task

from search.training.images import moments
from search.training.own_data import tasks as own_tasks
from search.training.own_data.tasks import split_parts
from search.training.task_source import DataSettings
from search.training.tasks import Task, load_task, load_task_of
from space import TINY, SpaceConfig
from space.errors import ConfigError

SPACE = SpaceConfig(name="colors", ops=("conv",), widths=(2,), image_size=8, classes=3)
PARTS = ("train", "val", "test")


def pixels(task: Task) -> set[tuple[int, bytes]]:
    return {
        (int(label), image.tobytes())
        for part in PARTS
        for image, label in zip(getattr(task, part).images, getattr(task, part).labels, strict=True)
    }


def sizes(task: Task) -> list[int]:
    return [len(getattr(task, part)) for part in PARTS]


# --- what a task holds ----------------------------------------------------------------------------


def test_a_folder_is_a_task_of_its_classes_split_without_overlap(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "paints")
    told: list[str] = []
    task = load_task(f"folder:{root}", SPACE, told.append)
    assert task.class_names == ("blue", "green", "red") and task.classes == 3 and not task.synthetic
    assert sizes(task) == [21, 3, 6] and len(pixels(task)) == 30
    assert pixels(task) == {
        (label, np.asarray(draw(color, 1000 * label + number)).tobytes())
        for label, color in enumerate(COLORS.values())
        for number in range(10)
    }
    assert (task.mean, task.std) == moments(task.train.images)
    assert all(set(getattr(task, part).labels) == {0, 1, 2} for part in PARTS)
    assert (np.diff(task.train.labels) < 0).any(), "the first images are not of one class"
    assert task.origin == f"{root}, split by seed 0" and task.source == f"folder:{root}"
    (line,) = told
    files = sum(path.stat().st_size for path in root.rglob("*.png"))
    assert f"30 images, {files:,} bytes, decoded once to 5,760 bytes in" in line


def test_digits_written_as_a_folder_are_the_built_in_task(tmp_path: Path) -> None:
    digits = load_task("digits", TINY)
    root = write_task(tmp_path / "digits", digits)
    task = load_task(f"folder:{root}", TINY)
    assert (task.mean, task.std, task.classes) == (digits.mean, digits.std, digits.classes)
    for part in PARTS:
        mine, theirs = getattr(task, part), getattr(digits, part)
        both = [
            sorted((int(label), image.tobytes()) for image, label in zip(one.images, one.labels, strict=True))
            for one in (mine, theirs)
        ]
        assert both[0] == both[1]
    assert task.origin == str(root)


def test_arrays_are_the_same_task_as_the_folder_of_their_images(tmp_path: Path) -> None:
    folder = load_task(f"folder:{write_folder(tmp_path / 'paints')}", SPACE)
    arrays = {
        f"{letter}_{part}": getattr(getattr(folder, part), name)
        for part in PARTS
        for letter, name in (("x", "images"), ("y", "labels"))
    }
    np.savez(tmp_path / "paints.npz", **arrays, classes=list(folder.class_names))
    task = load_task(f"npz:{tmp_path / 'paints.npz'}", SPACE)
    assert pixels(task) == pixels(folder) and sizes(task) == sizes(folder)
    assert (task.mean, task.std, task.class_names) == (folder.mean, folder.std, folder.class_names)


def test_arrays_of_another_size_are_fitted_as_the_task_says(tmp_path: Path) -> None:
    large = [np.asarray(draw(color, number, (12, 10))) for color in COLORS.values() for number in range(4)]
    np.savez(tmp_path / "a.npz", x=np.stack(large), y=np.repeat(np.arange(3), 4))
    source = f"npz:{tmp_path / 'a.npz'}"
    with pytest.raises(
        ConfigError, match="the images of all: 12 x 10 pixels, the space reads 8 x 8; add fit=crop"
    ):
        load_task(source, SPACE)
    for fit in ("crop", "stretch"):
        assert load_task(f"{source}:fit={fit}", SPACE).shape == (8, 8, 3)
    gray = load_task(f"{source}:fit=crop,color=gray", replace(SPACE, in_channels=1))
    assert gray.shape == (8, 8, 1)


def test_normalization_is_given_or_that_of_the_training_images(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "paints")
    given = load_task(f"folder:{root}:mean=0.5/0.25/0.125,std=1/2/3", SPACE)
    assert given.mean == (0.5, 0.25, 0.125) and given.std == (1.0, 2.0, 3.0)
    with pytest.raises(ConfigError, match="mean and std have 1 value, images 3 channels"):
        load_task(f"folder:{root}:mean=0.5,std=1", SPACE)


# --- splits ---------------------------------------------------------------------------------------


def test_a_seed_splits_alike_and_another_one_otherwise(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "paints")
    first, again, other = (load_task(f"folder:{root}:seed={seed}", SPACE) for seed in (1, 1, 2))
    assert (first.test.images == again.test.images).all() and first.name == again.name
    assert (first.test.images != other.test.images).any() and first.name != other.name
    assert sizes(load_task(f"folder:{root}:val=0.3,test=0.5", SPACE)) == [6, 9, 15]


def test_given_parts_stay_whole_and_missing_ones_are_split_from_train() -> None:
    labels = np.repeat(np.arange(2), 10)
    found = split_parts({"train": labels, "test": labels[5:15]}, "ab", DataSettings(val=0.2))
    assert [found[part][0] for part in PARTS] == ["train", "train", "test"]
    train, val, test = (set(found[part][1].tolist()) for part in PARTS)
    assert len(val) == 4 and train | val == set(range(20)) and not train & val and test == set(range(10))
    assert np.bincount(labels[list(val)]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ((3, 3, 3), {"train": [1, 1, 1], "val": [1, 1, 1], "test": [1, 1, 1]}),
        ((3, 60), {"train": [1, 6], "val": [1, 30], "test": [1, 24]}),
    ],
)
def test_a_part_leaves_an_image_of_each_class_for_those_after_it(
    counts: tuple[int, ...], wanted: dict[str, list[int]]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = split_parts({"all": labels}, "abc"[: len(counts)], DataSettings(val=0.5, test=0.4))
    assert {part: np.bincount(labels[found[part][1]]).tolist() for part in PARTS} == wanted


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"all": [0, 0, 0, 1, 1]}, "class 'b' has 2 images to share among train, val, test"),
        ({"train": [0, 0, 0, 1]}, "class 'b' has 1 image to share among train, val, test"),
        ({"train": [0, 0], "val": [0, 1], "test": [0, 1]}, "class 'b' has 0 images to share among train;"),
        ({"train": [0, 1], "val": [0, 1], "test": [0, 0]}, "test: class 'b' has no image"),
    ],
)
def test_a_class_needs_an_image_in_each_part(labels: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_parts({part: np.array(one) for part, one in labels.items()}, "ab", DataSettings())


def test_images_that_are_in_two_parts_are_told(tmp_path: Path) -> None:
    root = write_task(tmp_path / "own", load_task(f"folder:{write_folder(tmp_path / 'paints')}", SPACE))
    told: list[str] = []
    first = load_task(f"folder:{root}", SPACE, told.append)
    assert len(told) == 1  # of decoding
    for number, path in enumerate(list((root / "train" / "class 0").iterdir())[:2]):
        (root / "test" / "class 0" / f"again-{number}.png").write_bytes(path.read_bytes())
    task = load_task(f"folder:{root}", SPACE, told.append)
    assert told[2] == f"{task.name}: 2 of 8 images to test are among those to train, too" and len(told) == 3
    assert first.name != task.name
    chosen = next((root / "val" / "class 1").iterdir())  # by which an epoch is chosen
    (root / "test" / "class 1" / "again.png").write_bytes(chosen.read_bytes())
    load_task(f"folder:{root}", SPACE, told.append)
    assert told[-1].endswith("1 of 9 images to test are among those to validate, too") and len(told) == 6


# --- identity -------------------------------------------------------------------------------------


def test_the_name_is_of_images_labels_classes_and_normalization(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "my paints!")
    first = load_task(f"folder:{root}", SPACE)
    assert first.name == f"my-paints-{first.images_digest[:8]}"
    (moved := tmp_path / "else").mkdir()
    same = load_task(f"folder:{root.rename(moved / 'my paints!')}", SPACE)
    assert same.images_digest == first.images_digest and same.source != first.source
    root = moved / "my paints!"
    found = {first.images_digest}
    found.add(load_task(f"folder:{root}:mean=0/0/0,std=1/1/1", SPACE).images_digest)
    (root / "red").rename(root / "rose")
    found.add(load_task(f"folder:{root}", SPACE).images_digest)
    draw((1, 2, 3), 7).save(root / "rose" / "000.png")
    found.add(load_task(f"folder:{root}", SPACE).images_digest)
    (root / "rose" / "001.png").unlink()
    found.add(load_task(f"folder:{root}", SPACE).images_digest)
    assert len(found) == 5


def test_the_digest_of_built_in_tasks_is_what_it_was() -> None:
    digits = load_task("digits", TINY)
    assert digits.images_digest == "2853576ad4c63ba22f6ba2ad3b7c899043fa67832af50558fb5520195c6b4903"


def test_images_that_call_themselves_synthetic_are_taken_at_their_word(tmp_path: Path) -> None:
    task = load_task(f"folder:{write_folder(tmp_path / 'synthetic-paints')}", SPACE)
    assert task.synthetic and task.name.startswith("synthetic-paints-")


def test_a_changed_folder_is_not_what_a_network_was_trained_on(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "paints")
    task = load_task(f"folder:{root}", SPACE)
    trained = SimpleNamespace(source=task.source, task=task.name, architecture=SimpleNamespace(config=SPACE))
    assert load_task_of(trained).name == task.name  # type: ignore[arg-type]
    (root / "red" / "000.png").unlink()
    with pytest.raises(
        ConfigError, match=rf"changed since .* it was {task.name}, it is paints-.*train on these"
    ):
        load_task_of(trained)  # type: ignore[arg-type]
    trained.source = ""
    with pytest.raises(ConfigError, match="does not name the images that it was trained on"):
        load_task_of(trained)  # type: ignore[arg-type]


# --- decoding once --------------------------------------------------------------------------------


def test_images_are_decoded_once_whatever_else_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "paints")
    load_task(f"folder:{root}", SPACE)
    with monkeypatch.context() as patch:
        patch.setattr(own_tasks, "decode", None)
        told: list[str] = []
        load_task(f"folder:{root}:seed=4,val=0.2,mean=0/0/0,std=1/1/1", SPACE, told.append)
        assert told == []
    (root / "red" / "000.png").write_bytes((root / "blue" / "000.png").read_bytes())
    assert len(pixels(load_task(f"folder:{root}", SPACE))) == 30  # a blue one is red now
    for count, other in enumerate(("fit=crop", "fit=stretch", "background=white", "color=gray"), start=1):
        load_task(f"folder:{root}:{other}", SPACE, told.append)
        assert len(told) == count, other
    load_task(f"folder:{root}:fit=crop", replace(SPACE, image_size=4), told.append)
    assert len(told) == 5


def test_what_another_pillow_decodes_is_decoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, told = f"folder:{write_folder(tmp_path / 'paints')}", list[str]()
    load_task(source, SPACE, told.append)
    monkeypatch.setattr("PIL.Image.__version__", "0.0")
    load_task(source, SPACE, told.append)
    assert len(told) == 2


def test_a_broken_image_is_told_and_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    root = write_folder(tmp_path / "paints")
    whole = (root / "green" / "004.png").read_bytes()
    (root / "green" / "004.png").write_bytes(whole[:-30])
    with pytest.raises(ConfigError, match=r"paints/green/004\.png is a broken image .*; mend or remove it"):
        load_task(f"folder:{root}", SPACE)
    assert not list(cache.glob("*/images.npy"))
    (root / "green" / "004.png").write_bytes(whole)
    assert sizes(load_task(f"folder:{root}", SPACE)) == [21, 3, 6]


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "paints")
    before = own_tasks.check_image

    def changing(data: bytes, *given: object) -> None:
        before(data, *given)  # type: ignore[arg-type]
        other = tmp_path / f"{threading.get_ident()}.png"
        draw((0, 0, 0), 99).save(other)
        other.replace(root / "red" / "009.png")  # whole: other threads read it meanwhile

    monkeypatch.setattr(own_tasks, "check_image", changing)
    with pytest.raises(ConfigError, match=r"red/009\.png: changed while the folder was read"):
        load_task(f"folder:{root}", SPACE)


def test_too_many_bytes_are_refused_before_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "paints")
    monkeypatch.setattr(own_tasks, "MAX_DECODED_BYTES", 5000)
    monkeypatch.setattr(own_tasks, "MAX_FILE_BYTES", 0)  # what would be told of the first file that is read
    with pytest.raises(
        ConfigError, match="30 images of 8 x 8 x 3 take 5,760 bytes, more than 5,000; take fewer"
    ):
        load_task(f"folder:{root}", SPACE)


def test_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_tasks, "MAX_FILE_BYTES", 50)
    with pytest.raises(ConfigError, match=r"000\.png: has more than 50 bytes; make the image smaller"):
        load_task(f"folder:{write_folder(tmp_path / 'paints')}", SPACE)


# --- what does not fit ----------------------------------------------------------------------------


def test_a_space_of_other_classes_is_refused_before_decoding(tmp_path: Path, cache: Path) -> None:
    root = write_folder(tmp_path / "paints")
    with pytest.raises(ConfigError, match=r"has 3 classes \(blue, green, red\), space 'tiny' has 10"):
        load_task(f"folder:{root}", TINY)
    assert not cache.exists()


def test_unequal_sizes_are_refused_by_the_file(tmp_path: Path, cache: Path) -> None:
    root = write_folder(tmp_path / "paints")
    draw((0, 0, 0), 1, (9, 8)).save(root / "red" / "005.png")
    with pytest.raises(ConfigError, match=r"red/005\.png: 9 x 8 pixels, the space reads 8 x 8; add fit=crop"):
        load_task(f"folder:{root}", SPACE)
    assert not list(cache.glob("*/images.npy"))
    assert load_task(f"folder:{root}:fit=crop", SPACE).shape == (8, 8, 3)


def test_images_of_one_value_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((12, 8, 8, 3), np.uint8), y=np.arange(12) % 3)
    with pytest.raises(ConfigError, match="of one value in a channel, which teaches nothing"):
        load_task(f"npz:{tmp_path / 'a.npz'}", SPACE)


def test_the_origin_says_what_was_split_and_from_what(tmp_path: Path) -> None:
    root = write_task(tmp_path / "own", load_task(f"folder:{write_folder(tmp_path / 'paints')}", SPACE))
    (root / "val").rename(tmp_path / "away")
    task = load_task(f"folder:{root}:seed=5", SPACE)
    assert task.origin == f"{root}, val split from train by seed 5" and sizes(task) == [18, 3, 6]

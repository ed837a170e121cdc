"""Folders of images: which layouts are read as what, and which are refused by the place that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.training.own_data.folders import list_folder
from space.errors import ConfigError


def files(root: Path, *names: str) -> Path:
    """Write empty files, which listing does not read; return the root."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_folder_a_class_is_one_part_in_the_order_of_names(tmp_path: Path) -> None:
    root = files(
        tmp_path, "b/2.png", "b/10.png", "B/1.png", "a/x/1.png", "a/.hidden", "a/Thumbs.db", ".git/config"
    )
    classes, parts = list_folder(root)
    assert classes == ("B", "a", "b") and list(parts) == ["all"]
    assert parts["all"].files == ("B/1.png", "a/x/1.png", "b/10.png", "b/2.png")
    assert parts["all"].labels == (0, 1, 2, 2)


def test_parts_are_told_by_their_names(tmp_path: Path) -> None:
    root = files(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "val", "test") for name in "ab"))
    classes, parts = list_folder(root)
    assert classes == ("a", "b") and sorted(parts) == ["test", "train", "val"]
    assert parts["val"].files == ("val/a/1.png", "val/b/1.png")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    classes, parts = list_folder(files(tmp_path, "train/1.png", "car/1.png"))
    assert classes == ("car", "train") and list(parts) == ["all"]


def test_a_link_within_the_folder_is_an_image(tmp_path: Path) -> None:
    root = files(tmp_path, "a/1.png", "b/1.png")
    (root / "b/2.png").symlink_to(root / "a/1.png")
    assert list_folder(root)[1]["all"].files == ("a/1.png", "b/1.png", "b/2.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png"], "only that of 'a'; name the folder above"),
        (["1.png"], "1.png: lies among the folders of classes"),
        (["a/1.png", "b/1.png", "1.png"], "1.png: lies among the folders of classes"),
        (["a/1.png", "b/.hidden"], "b: holds no image; add some"),
        (
            ["train/a/1.png", "train/b/1.png", "valid/a/1.png"],
            "'valid' beside 'train'; parts are called train, val, test",
        ),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "class 'b' is in train alone"),
        (
            ["train/a/1.png", "train/b/1.png", *(f"test/{n}/1.png" for n in "abc")],
            "class 'c' is in test alone",
        ),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/.x"], "val/b: holds no image"),
        (["a/1.png", "b\x1b[31m/1.png"], r"the class 'b\\x1b\[31m' has characters that cannot be shown"),
    ],
)
def test_layouts_that_mean_no_task_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_folder(files(tmp_path / "root", *names))


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", files(tmp_path, "file") / "file"):
        with pytest.raises(ConfigError, match="there is no such folder"):
            list_folder(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="and there is none"):
        list_folder(tmp_path / "empty")


def test_links_out_of_the_folder_and_to_folders_are_refused(tmp_path: Path) -> None:
    outside = files(tmp_path / "outside", "1.png")
    for number, (link, target) in enumerate(
        [("b/2.png", outside / "1.png"), ("c", outside), ("b/more", outside), ("b/up", Path(".."))]
    ):
        root = files(tmp_path / str(number), "a/1.png", "b/1.png")
        (root / link).symlink_to(target)
        with pytest.raises(ConfigError, match=f"{link}: is a link"):
            list_folder(root)


@pytest.mark.parametrize("link", ["a/2.png", "a/more/2.png", "c"])
def test_links_that_lead_to_themselves_are_refused(link: str, tmp_path: Path) -> None:
    root = files(tmp_path, "a/1.png", "a/more/1.png", "b/1.png")
    (root / link).symlink_to(Path(link).name)
    with pytest.raises(ConfigError, match=f"{link}: (is no plain file; remove it|lies among the folders)"):
        list_folder(root)


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = files(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(root / "a/pipe")
    with pytest.raises(ConfigError, match="a/pipe: is no plain file; remove it"):
        list_folder(root)

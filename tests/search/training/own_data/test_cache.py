"""Decoded images on disk: made once, never half, checked when read, and no more than fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from search.training.own_data import cache as caching
from search.training.own_data.cache import cached_images
from space.errors import ConfigError

SHAPE = (3, 2, 2, 1)
IMAGES = np.arange(12, dtype=np.uint8).reshape(SHAPE)
MADE: list[Path] = []


def make(folder: Path) -> Iterator[np.ndarray]:
    MADE.append(folder)
    yield from IMAGES


def kept(key: str = "a", told: list[str] | None = None) -> np.ndarray:
    return cached_images(key, SHAPE, make, (told if told is not None else []).append)


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    MADE.clear()


def test_images_are_made_once_and_cannot_be_written_to(cache: Path) -> None:
    for _ in range(2):
        found = kept()
        assert (found == IMAGES).all() and not found.flags.writeable
    assert [cache] == MADE


def test_what_fails_leaves_nothing(cache: Path) -> None:
    def failing(folder: Path) -> Iterator[np.ndarray]:
        yield IMAGES[0]
        raise ConfigError("x.png: broken")

    with pytest.raises(ConfigError, match=r"x\.png: broken"):
        cached_images("a", SHAPE, failing, print)
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert (kept() == IMAGES).all()


def test_what_a_killed_process_left_is_removed(cache: Path) -> None:
    left = cache / ".a.999999.partial"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    kept()
    assert not left.exists()


@pytest.mark.parametrize("damage", ["byte", "short", "digest", "other"])
def test_damaged_images_are_made_again(cache: Path, damage: str) -> None:
    kept()
    file, digest = cache / "a" / "images.npy", cache / "a" / "sha256"
    data = file.read_bytes()
    if damage == "byte":
        file.write_bytes(data[:-1] + b"\xff")
    elif damage == "short":
        file.write_bytes(data[:-1])
    elif damage == "digest":
        digest.unlink()
    else:
        np.save(file, IMAGES[:2])
        digest.write_text(caching._sha256(file))
    told: list[str] = []
    assert (kept(told=told) == IMAGES).all() and len(MADE) == 2
    assert "is damaged; its images are made again" in told[0]


def test_the_entries_unused_for_longest_make_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, key in enumerate("abc"):
        kept(key)
        os.utime(cache / key / "sha256", (1000 + age, 1000 + age))
    kept("a")  # used again
    size = (cache / "a" / "images.npy").stat().st_size
    monkeypatch.setattr(caching, "MAX_BYTES", 3 * size)
    kept("d")
    assert {path.name for path in cache.iterdir() if not path.name.startswith(".")} == {"a", "c", "d"}


def test_images_that_somebody_removed_by_hand_do_not_keep_others_out(cache: Path) -> None:
    kept("a")
    (cache / "a" / "images.npy").unlink()
    assert (kept("b") == IMAGES).all()
    assert (kept("a") == IMAGES).all() and len(MADE) == 3


def test_a_disk_without_room_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(
        ConfigError, match="take 12 bytes, 5 are free; free some room, or HARNESS_CACHE names another"
    ):
        kept()
    assert MADE == []


def test_a_cache_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be made: .*; HARNESS_CACHE names another folder"):
        kept()

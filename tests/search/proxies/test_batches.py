"""Batches of images: digits or a user's own, in whichever layout, standardized, and refused with a reason."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import search.proxies.batches as batches
from search.proxies import load_batch
from space import BLOX, MINI, SpaceConfig
from space.errors import ConfigError

GRAY = SpaceConfig(name="gray", ops=("conv",), widths=(2,), image_size=8, classes=4, in_channels=1)


def save(path: Path, images: object, labels: object) -> Path:
    np.savez(path, images=np.asarray(images), labels=np.asarray(labels))
    return path


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_digits_are_standardized_in_the_spaces_shape() -> None:
    batch = load_batch("", BLOX)
    assert batch.images.shape == (64, 3, 32, 32) and batch.images.dtype == np.float32
    assert batch.labels.shape == (64,) and set(batch.labels) <= set(range(10)) and len(set(batch.labels)) > 5
    np.testing.assert_allclose(batch.images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(batch.images.std(axis=(0, 2, 3)), 1, atol=1e-4)
    assert "digits" in batch.origin


def test_the_digits_are_only_of_the_spaces_classes_and_drawn_by_seed() -> None:
    first, again, other = (load_batch("", GRAY, count=40, seed=seed) for seed in (1, 1, 2))
    assert first.images.shape == (40, 1, 8, 8) and set(first.labels) == {0, 1, 2, 3}
    assert (first.images == again.images).all() and (first.labels == again.labels).all()
    assert (first.images != other.images).any()


def test_the_digits_own_size_is_not_resampled() -> None:
    from sklearn.datasets import load_digits

    known = {image.tobytes() for image in load_digits().images.astype(np.float32)}
    images = load_batch("", GRAY, count=5).images[:, 0]
    levels = np.unique(images)  # 0 to 16, standardized
    restored = np.round((images - levels[0]) / (levels[-1] - levels[0]) * 16).astype(np.float32)
    assert all(image.tobytes() in known for image in restored)


def test_both_layouts_and_floats_hold_the_same_images(tmp_path: Path) -> None:
    images, labels = pictures(20, 16, 16, 3), np.arange(20) % 10
    last = load_batch(save(tmp_path / "last.npz", images, labels), MINI)
    first = load_batch(save(tmp_path / "first.npz", images.transpose(0, 3, 1, 2), labels), MINI)
    floats = load_batch(save(tmp_path / "floats.npz", images / 255.0, labels), MINI)
    assert last.images.shape == (20, 3, 16, 16) and last.origin == str(tmp_path / "last.npz")
    assert (last.images == first.images).all() and (last.labels == first.labels).all()
    np.testing.assert_allclose(last.images, floats.images, atol=1e-5)
    scaled = images[np.random.default_rng(0).permutation(20)].transpose(0, 3, 1, 2).astype(np.float64)
    scaled = (scaled - scaled.mean(axis=(0, 2, 3), keepdims=True)) / scaled.std(axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(last.images, scaled, atol=1e-4)
    assert (last.labels == labels[np.random.default_rng(0).permutation(20)]).all()


def test_gray_images_fill_every_channel_and_are_resized(tmp_path: Path) -> None:
    steps = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    steps[:, :, 4:] = 200  # dark left half, bright right half
    batch = load_batch(save(tmp_path / "gray.npz", steps, [0, 1, 2, 3]), MINI)
    assert batch.images.shape == (4, 3, 16, 16)
    assert (batch.images[:, 0] == batch.images[:, 2]).all()
    assert (batch.images[..., :7] < 0).all() and (batch.images[..., 9:] > 0).all()


def test_a_constant_channel_is_0_and_no_number_is_lost(tmp_path: Path) -> None:
    images = pictures(4, 16, 16, 3)
    images[..., 1] = 7
    batch = load_batch(save(tmp_path / "flat.npz", images, [0, 1, 2, 3]), MINI)
    assert np.isfinite(batch.images).all() and not batch.images[:, 1].any()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (pictures(4, 16, 16), [0, 1, 2, 3], r"uint8 of shape \(4, 16, 16\)"),
        (pictures(4, 16, 16, 3).astype(np.int32), [0, 1, 2, 3], "int32"),
        (pictures(4, 16, 16, 2), [0, 1, 2, 3], "which axis holds the channels"),
        (pictures(4, 3, 16, 3), [0, 1, 2, 3], "which axis holds the channels"),
        (pictures(0, 16, 16, 3), np.zeros(0, dtype=int), "shape"),
        (pictures(1, 16, 16, 3), [1], "give 2 or more"),
        (pictures(4, 16, 16, 3), [0, 1, 2], "4 and labels 3"),
        (pictures(4, 16, 16, 3), [0, 1, 2, 10], "label 10 at place 3.*classes 0 to 9"),
        (pictures(4, 16, 16, 3), [0, -1, 2, 3], "label -1 at place 1"),
        (pictures(4, 16, 16, 3), [0.0, 1.0, 2.0, 3.0], "labels are float64"),
        (np.full((4, 16, 16, 3), np.nan), [0, 1, 2, 3], "not finite"),
        (np.full((4, 16, 16, 3), 1e300), [0, 1, 2, 3], "not finite"),
    ],
)
def test_what_is_no_batch_is_refused(tmp_path: Path, images: object, labels: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_batch(save(tmp_path / "batch.npz", images, labels), MINI)


def test_files_that_are_no_archives_of_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.npz cannot be read: No such file"):
        load_batch(tmp_path / "missing.npz", MINI)
    text = tmp_path / "text.npz"
    text.write_text("images")
    with pytest.raises(ConfigError, match=r"is no \.npz"):
        load_batch(text, MINI)
    np.savez(tmp_path / "other.npz", pictures=pictures(4, 16, 16, 3), labels=np.arange(4))
    with pytest.raises(ConfigError, match="no array 'images' but labels; write it with"):
        load_batch(tmp_path / "other.npz", MINI)
    whole = save(tmp_path / "whole.npz", pictures(4, 16, 16, 3), np.arange(4)).read_bytes()
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(whole[:400] + bytes(40) + whole[440:])
    with pytest.raises(ConfigError, match=r"damaged\.npz is no \.npz of plain arrays, or a damaged one"):
        load_batch(damaged, MINI)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "batch.npz")
    with pytest.raises(ConfigError, match="is no plain file"):
        load_batch(tmp_path / "batch.npz", MINI)


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trap"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("trap.npz", images=np.array([Trap()] * 4, dtype=object), labels=np.arange(4))
    with pytest.raises(ConfigError, match=r"trap\.npz is no \.npz of plain arrays"):
        load_batch("trap.npz", MINI)
    with zipfile.ZipFile("plain.npz", "w") as archive:
        archive.writestr("images.npy", pickle.dumps(Trap()))
        archive.writestr("labels.npy", pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match=r"plain\.npz"):
        load_batch("plain.npz", MINI)
    assert not Path("trap").exists()


def test_archives_that_unpack_to_too_much_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((2000, 16, 16, 3), dtype=np.uint8), labels=np.zeros(2000, int))
    monkeypatch.setattr(batches, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(ConfigError, match="more than 1048576"):
        load_batch(path, MINI)


def test_headers_that_promise_too_much_are_refused(tmp_path: Path) -> None:
    header = np.lib.format.magic(1, 0)
    text = (
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 1000, 3)}".ljust(117) + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "tall.npz", "w") as archive:
        archive.writestr("images.npy", header + len(text).to_bytes(2, "little") + text + bytes(100))
        archive.writestr("labels.npy", b"")
    with pytest.raises(ConfigError, match=r"tall\.npz is no \.npz of plain arrays"):
        load_batch(tmp_path / "tall.npz", MINI)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="a proxy's batch of 1 image is"):
        load_batch("", MINI, count=1)

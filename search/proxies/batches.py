"""Batch of images for zero-cost proxies: a user's file, or scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from space import SpaceConfig
from space.array_files import read_arrays
from space.errors import ConfigError
from space.text import counted

MAX_BYTES = 1 << 30  # of a file, packed or unpacked
FEWEST = 2  # images: BatchNorm and correlations need two


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Images, float32 (n, channels, size, size) with mean 0 and deviation 1 in each channel, and labels, int64 (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    origin: str


def load_batch(path: str | PathLike[str], config: SpaceConfig, count: int = 64, seed: int = 0) -> Batch:
    """Return `count` random images and their labels, or as many as there are, as networks of a space read them.

    `path` names an .npz with `images`, (n, h, w, c) or (n, c, h, w) of bytes or floats, and `labels`, (n,) of whole numbers
    from 0 to below the space's classes. Empty: the digits that scikit-learn ships, 8 x 8 pixels (Alpaydin and Kaynak 1998, UCI).
    Images are resized to the space's size, gray ones repeated in each of its channels, and each channel standardized.

    Raises:
        ConfigError: the file cannot be read, or holds no such images and labels.
    """
    if count < FEWEST:
        raise ConfigError(f"a proxy's batch of {counted(count, 'image')} is too small; take {FEWEST} or more")
    read, labels, origin = _digits(config) if not str(path) else _read(Path(path))
    what = f"{origin}: images"
    with np.errstate(over="ignore"):  # numbers beyond single precision are refused below
        images = _channels_first(read, labels, config, what).astype(np.float32)
    if not np.isfinite(images).all():
        raise ConfigError(f"{what} hold values that are not finite; leave those images out")
    outside = (labels < 0) | (labels >= config.classes)
    if outside.any():
        raise ConfigError(
            f"{origin}: label {labels[outside][0]} at place {int(np.argmax(outside))}; "
            f"space {config.name!r} has the classes 0 to {config.classes - 1}"
        )
    if len(images) < FEWEST:
        raise ConfigError(f"{what} are {len(images)}; give {FEWEST} or more")
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    return Batch(images=_fitted(images[chosen], config), labels=labels[chosen], origin=origin)


def _digits(config: SpaceConfig) -> tuple[NDArray[np.generic], NDArray[np.int64], str]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    usable = digits.target < config.classes
    return digits.images[usable][..., None], digits.target[usable].astype(np.int64), "scikit-learn's digits"


def _read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.int64], str]:
    """Return the file's images as stored, its labels, and its name."""
    names, remedy = ("images", "labels"), "write it with numpy.savez(path, images=..., labels=...)"
    try:
        arrays = read_arrays(path, MAX_BYTES, names)
    except ConfigError as e:
        raise ConfigError(f"{e}; {remedy}") from e
    for name in names:
        if name not in arrays:
            found = ", ".join(arrays) or "none of the two"
            raise ConfigError(f"{path} has no array {name!r} but {found}; {remedy}")
    images, labels = (arrays[name] for name in names)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}; give a whole number an image"
        )
    return images, labels.astype(np.int64), str(path)


def _channels_first(
    images: NDArray[np.generic], labels: NDArray[np.int64], config: SpaceConfig, what: str
) -> NDArray[np.generic]:
    """Return images as (n, c, h, w)."""
    if images.ndim != 4 or not images.size or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        raise ConfigError(
            f"{what} are {images.dtype} of shape {images.shape}; give bytes or floats of (n, h, w, c) or (n, c, h, w)"
        )
    if len(images) != len(labels):
        raise ConfigError(f"{what} are {len(images)} and labels {len(labels)}; give one label an image")
    known = {1, config.in_channels}
    first, last = images.shape[1] in known, images.shape[3] in known
    if first and last and images.shape[1] != images.shape[3]:
        first, last = (images.shape[axis] == config.in_channels for axis in (1, 3))
    if first == last:
        raise ConfigError(
            f"{what} of shape {images.shape}: it is not plain which axis holds the channels; space {config.name!r} reads "
            f"{config.in_channels}, or 1 to be repeated, as the second or the last axis"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _fitted(images: NDArray[np.float32], config: SpaceConfig) -> NDArray[np.float32]:
    """Return images (n, c, h, w) in the space's size and channels, standardized."""
    import torch
    from torch.nn.functional import interpolate

    if images.shape[2:] != (config.image_size, config.image_size):
        size = (config.image_size, config.image_size)
        resized = interpolate(
            torch.from_numpy(np.ascontiguousarray(images)), size, mode="bilinear", antialias=True
        )
        images = resized.numpy()
    images = np.repeat(images, config.in_channels // images.shape[1], axis=1)
    mean, spread = (of(images, axis=(0, 2, 3), keepdims=True) for of in (np.mean, np.std))
    standardized: NDArray[np.float32] = ((images - mean) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return standardized

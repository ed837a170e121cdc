"""Calibration images of a trained network, as a file: int8 takes its ranges from the values computed on them.

The file is a `.npz` with one array, `images`: float32 (n, C, H, W), normalized as in the training. Needs no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ConversionError
from space import SpaceConfig
from space.array_files import read_arrays
from space.errors import ConfigError

KEY = "images"
LEAST_IMAGES, MOST_IMAGES = 16, 256
MAX_FILE_BYTES = 1 << 28  # 256 images of 3 x 32 x 32 need 3 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationImages:
    """Name a file of calibration images; `sha256` is of its images alone, however they are packed."""

    path: Path
    sha256: str


def named_images(path: Path | str, config: SpaceConfig) -> CalibrationImages:
    """Return the name of a file's images, once they are seen to fit a space.

    Raises:
        ConversionError: the file cannot be read, or its images are too few or many, of another shape, not finite, or all alike.
    """
    path = Path(path).absolute()
    return CalibrationImages(path=path, sha256=_digest(_checked(path, config)))


def load_images(named: CalibrationImages, config: SpaceConfig) -> NDArray[np.float32]:
    """Return named images, (n, C, H, W).

    Raises:
        ConversionError: they are not those that were named, or as for `named_images`.
    """
    images = _checked(named.path, config)
    if _digest(images) != named.sha256:
        raise ConversionError(
            f"calibration images {named.path} changed since they were named; name them again"
        )
    return images


def save_images(path: Path, images: NDArray[np.float32]) -> None:
    """Write images as a file that `named_images` takes."""
    np.savez(path, allow_pickle=False, **{KEY: images})


def _checked(path: Path, config: SpaceConfig) -> NDArray[np.float32]:
    what = f"calibration images {path}"
    remedy = f"write them with numpy.savez({path.name!r}, {KEY}=images)"
    try:
        found = read_arrays(path, MAX_FILE_BYTES, [KEY])
    except ConfigError as error:
        raise ConversionError(f"calibration images: {error}; {remedy}") from error
    if KEY not in found:
        raise ConversionError(f"{what} hold no array {KEY!r}; {remedy}")
    images: NDArray[np.float32] = found[KEY]  # type: ignore[assignment]  # checked here
    shape = (config.in_channels, config.image_size, config.image_size)
    if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != shape:
        raise ConversionError(
            f"{what} are {images.dtype} of shape {images.shape}; space {config.name!r} reads float32 of (n, "
            f"{', '.join(map(str, shape))}), normalized as in the training"
        )
    if not LEAST_IMAGES <= len(images) <= MOST_IMAGES:
        raise ConversionError(
            f"{what} are {len(images)}; choose {LEAST_IMAGES} to {MOST_IMAGES} training images of all classes"
        )
    if not np.isfinite(images).all():
        raise ConversionError(f"{what} hold values that are not finite; normalize them as in the training")
    if (images == images[0]).all() or images.min() == images.max():
        raise ConversionError(
            f"{what} are all alike, which gives no range; choose training images of all classes"
        )
    return images


def _digest(images: NDArray[np.float32]) -> str:
    header = f"{images.dtype.str} {images.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(images).tobytes()).hexdigest()

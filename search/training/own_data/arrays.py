"""Files of labeled images as arrays, `.npz`: those of others are read, and images held in Python are written.

`x`, uint8 (n, height, width, channels) or gray (n, height, width), and `y`, whole numbers (n,) from 0; or these of each part:
`x_train`, `y_train`, `x_val`, `y_val`, `x_test`, `y_test`, of which val and test may be missing. `classes`, texts, names the
classes; by default their numbers are their names.
"""

from __future__ import annotations

import io
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.training.images import Images
from search.training.own_data.folders import ALL, PARTS
from space.array_files import read_arrays
from space.atomic_files import write_file
from space.errors import ConfigError, shown
from space.text import counted

MAX_FILE_BYTES = 8 << 30
CLASSES = "classes"
MAX_CLASSES = 100_000
_KEYS = {ALL: ("x", "y")} | {part: (f"x_{part}", f"y_{part}") for part in PARTS}


def read_parts(path: Path) -> tuple[tuple[str, ...], Mapping[str, Images]]:
    """Return the names of a file's classes, and its parts by name; images that are not split are the part `all`.

    Raises:
        ConfigError: it cannot be read, holds Python objects, lacks an array, or one is of another type or shape.
    """
    names = [CLASSES, *(name for pair in _KEYS.values() for name in pair)]
    try:
        found = read_arrays(path, MAX_FILE_BYTES, names)
    except ConfigError as error:
        raise ConfigError(
            f"npz:{error}; write it with numpy.savez({path.stem + '.npz'!r}, x=images, y=labels)"
        ) from error
    parts = {
        part: _part(found, part, path) for part, pair in _KEYS.items() if not set(pair).isdisjoint(found)
    }
    if not parts or (ALL in parts and len(parts) > 1) or (ALL not in parts and "train" not in parts):
        raise ConfigError(
            f"npz:{path} holds {', '.join(sorted(found)) or 'none of the arrays of a task'}; give x and y, or x_train and "
            "y_train with, where they are split, x_val, y_val, x_test and y_test"
        )
    return checked_classes(found.get(CLASSES), parts, f"npz:{path}"), parts


def write_parts(path: Path, classes: tuple[str, ...], parts: Mapping[str, Images]) -> None:
    """Write a file that `read_parts` reads; equal parts give equal bytes. Raises: ConfigError when it cannot be written."""
    arrays: dict[str, Any] = {CLASSES: np.array(classes)}
    for part, one in parts.items():
        arrays |= dict(zip(_KEYS[part], (one.images, one.labels), strict=True))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getbuffer())


def checked_classes(found: object, parts: Mapping[str, Images], what: str) -> tuple[str, ...]:
    """Return the names of classes: those given, or the numbers from 0 to the highest label.

    Raises:
        ConfigError: they are no texts, not different, fewer than two, or fewer than a label says.
    """
    highest = max(int(one.labels.max()) for one in parts.values())
    if found is None:
        names = tuple(map(str, range(highest + 1)))
    else:
        array = np.asarray(found, object)  # of several texts for a class, as ImageNet's have, in no rectangle
        names = tuple(array.tolist()) if array.ndim == 1 else ()
        if not all(isinstance(name, str) for name in names) or len(set(names)) != max(1, array.size):
            raise ConfigError(
                f"{what}: {CLASSES} are {shown(found)}; give different texts, one for each class"
            )
    if not all(name and name.isprintable() for name in names):
        wrong = next(name for name in names if not (name and name.isprintable()))
        raise ConfigError(f"{what}: the class {wrong!r} cannot be shown; rename it")
    if len(names) < 2 or highest >= len(names):
        raise ConfigError(
            f"{what}: labels are up to {highest}, of {counted(len(names), 'class', 'classes')}; a task has two or more, "
            "numbered from 0"
        )
    return names


def _part(found: Mapping[str, NDArray[np.generic]], part: str, path: Path) -> Images:
    x, y = _KEYS[part]
    for name, other in ((x, y), (y, x)):
        if name not in found:
            raise ConfigError(f"npz:{path} has {other} and no {name}; write both")
    return checked_part(found[x], found[y], f"npz:{path}: {x}", f"npz:{path}: {y}")


def checked_part(images: Any, labels: Any, x: str, y: str) -> Images:
    """Return images and labels as a part; `x` and `y` name them in messages.

    Raises:
        ConfigError: they are of another type or shape, or labels are below 0.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise ConfigError(
            f"{x} is {images.dtype} of shape {images.shape}; give uint8, 0 to 255, of (n, height, width, channels) or "
            "(n, height, width)"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ConfigError(
            f"{y} is {labels.dtype} of shape {labels.shape}; give whole numbers of {images.shape[:1]}"
        )
    for label in map(int, (labels.min(), labels.max())):
        if not 0 <= label < MAX_CLASSES:
            raise ConfigError(f"{y} holds {label}; number the classes from 0")
    return Images(images=images if images.ndim == 4 else images[..., None], labels=labels.astype(np.int64))


def whole_number(value: Any, what: str) -> int:
    """Return a label as a Python number. Raises: ConfigError."""
    try:
        return operator.index(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{what}: the label is {shown(value)}; give a whole number from 0") from error

"""The values of one column as arrays that cannot be changed, checked row by row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from space.block import block_table
from space.config import SpaceConfig
from space.dataset.schema import MAX_LIST, Kind
from space.errors import ArchitectureError, DatasetError, shown
from space.indexing import indices_of
from space.vectors import check_vectors

# One value a row: float64 or int64 (rows,), or a tuple of texts. Vectors of architectures: uint8
# (rows, stages, 5), the five being op0, op1, prev, inp, sc. Lists: float64 (rows, length), or a tuple of
# float64 (length,) where lengths differ.
Column: TypeAlias = NDArray[Any] | tuple[Any, ...]

_T = TypeVar("_T", bound=np.generic)
MAX_INT = 2**32 - 1  # the packed format holds whole numbers in four bytes


def as_column(
    name: str, kind: Kind, values: object, indices: NDArray[np.int64], config: SpaceConfig
) -> Column:
    """Return a column's values, one for each row of `indices`, in the form that `Column` tells.

    Raises:
        DatasetError: the number of values is not that of the rows, or a value cannot be; the message names its row.
    """
    rows = len(indices)
    if (
        isinstance(values, str)
        or not isinstance(values, Sequence | np.ndarray)
        or (isinstance(values, np.ndarray) and not values.ndim)
        or len(values) != rows
    ):
        raise DatasetError(f"column {name} is no array of {rows} values; give one for each row")
    if kind.value == "str":
        return _texts(name, values)
    if kind.value == "int":
        return _whole_numbers(name, values)
    if kind.value == "arch":
        return _vectors(name, values, indices, config)
    if not kind.is_list:
        return _frozen(_checked(name, kind, _floats(name, values, 1)))
    if isinstance(values, np.ndarray):
        return _frozen(_checked(name, kind, _floats(name, values, 2)))
    lists = tuple(_frozen(_floats(f"row {row}: {name}", v, 1)) for row, v in enumerate(values, start=1))
    if len(set(map(len, lists))) == 1:
        return _frozen(_checked(name, kind, np.stack(lists)))
    for row, items in enumerate(lists, start=1):
        _checked(name, kind, items[np.newaxis], first_row=row)
    return lists


def as_numbers(name: str, values: object, kinds: str, dimensions: int) -> NDArray[Any]:
    """Return an array of that many dimensions whose dtype is of one of these kinds (numpy's letters), or an empty one.

    Raises:
        DatasetError: the values make another array or none.
    """
    wanted = "numbers" if "f" in kinds else "whole numbers"
    message = (
        f"{name}: holds other values than {wanted} in {dimensions} dimension(s); give one for each place"
    )
    try:
        found = np.asarray(values)
    except (ValueError, TypeError) as error:  # lists of different lengths
        raise DatasetError(message) from error
    if found.size and (found.dtype.kind not in kinds or found.ndim != dimensions):
        raise DatasetError(message)
    return found


@lru_cache(maxsize=4)
def block_codes(ops: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place among the blocks of each packed block, ((op0 * ops + op1) << 3) | flags; -1 for none."""
    places = np.full(len(ops) ** 2 * 8, -1)
    for (op0, op1, prev, inp, sc), place in block_table(ops).by_raw.items():
        places[((op0 * len(ops) + op1) << 3) | (prev << 2) | (inp << 1) | sc] = place
    return places


def _floats(name: str, values: object, dimensions: int) -> NDArray[np.float64]:
    numbers = as_numbers(name, values, "fiu", dimensions)
    # What its owner has frozen, as the readers of files do, need not be copied to be kept.
    is_frozen = numbers is values and numbers.base is None and not numbers.flags.writeable
    return numbers.astype(np.float64, copy=not is_frozen)


def _checked(name: str, kind: Kind, values: NDArray[np.float64], first_row: int = 1) -> NDArray[np.float64]:
    if kind.is_list and not 1 <= values.shape[1] <= MAX_LIST:
        raise DatasetError(
            f"row {first_row}: {name} is a list of {values.shape[1]} values; give 1 to {MAX_LIST}"
        )
    if kind.value == "accuracy" and values.size and values.min() >= 0 and values.max() <= 100:
        return values  # NaN is neither; two passes over millions of epochs in place of six
    good: NDArray[np.bool_] = np.isfinite(values)
    good &= (values > 0) if kind.positive else (values >= 0)
    wanted = "a number above 0" if kind.positive else "a number of at least 0"
    if kind.value == "accuracy":
        good &= values <= 100
        wanted = "percent from 0 to 100"
    _refuse(name, values, good, wanted, first_row)
    return values


def _whole_numbers(name: str, values: object) -> NDArray[np.int64]:
    found = as_numbers(name, values, "iu", 1)
    _refuse(name, found, (found >= 0) & (found <= MAX_INT), f"a whole number from 0 to {MAX_INT}")
    return _frozen(found.astype(np.int64))


def _texts(name: str, values: Sequence[object] | NDArray[np.generic]) -> tuple[str, ...]:
    texts = []
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.isascii() or len(value) > MAX_LIST or "\0" in value:
            what = shown(value) if isinstance(value, str) else type(value).__name__
            raise DatasetError(
                f"row {row}: {name} = {what} cannot be stored; "
                f"give ASCII text of at most {MAX_LIST} characters"
            )
        texts.append(str(value))
    return tuple(texts)


def _vectors(name: str, values: object, indices: NDArray[np.int64], config: SpaceConfig) -> NDArray[np.uint8]:
    """Check that each vector is that of its row's network, canonical or not."""
    try:
        check_vectors(config)
    except ArchitectureError as error:
        raise DatasetError(f"column {name}: {error}") from error
    found = as_numbers(name, values, "iu", 3)
    count = len(config.ops)
    if found.shape[1:] != (config.stages, 5):
        raise DatasetError(
            f"column {name} does not hold op0, op1, prev, inp, sc of {config.stages} stages for each row; "
            "give an array of shape (rows, stages, 5)"
        )
    limits = np.array([count, count, 2, 2, 2])
    good = np.asarray(((found >= 0) & (found < limits)).all(axis=(1, 2)))
    op0, op1, prev, inp, sc = np.moveaxis(np.where(good[:, None, None], found, 0).astype(np.int64), 2, 0)
    blocks = block_codes(config.ops)[((op0 * count + op1) << 3) | (prev << 2) | (inp << 1) | sc]
    good &= (blocks >= 0).all(axis=1)
    good &= indices_of(config, blocks) == indices
    bad = np.flatnonzero(~good)
    if bad.size:
        row = int(bad[0])
        raise DatasetError(
            f"row {row + 1}: {name} = {found[row].tolist()} is not the network that the row's hash names; "
            "the file is damaged or of another space: download or write it again"
        )
    return _frozen(found.astype(np.uint8))


def _refuse(
    name: str, values: NDArray[np.generic], good: NDArray[np.bool_], wanted: str, first_row: int = 1
) -> None:
    if not good.all():
        row, *place = (int(i) for i in np.argwhere(~good)[0])
        element = "".join(f"[{i}]" for i in place)
        value = values[(row, *place)].item()
        raise DatasetError(
            f"row {row + first_row}: {name}{element} = {value} is not {wanted}; leave the row out"
        )


def _frozen(values: NDArray[_T]) -> NDArray[_T]:
    values.setflags(write=False)
    return values

"""Rows as one pickle of a list of lists. It is read without Python's unpickler, which runs what a file says."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from space.config import SpaceConfig
from space.dataset.csv_rows import flat_vector, nested_rows
from space.dataset.header import Header
from space.dataset.keys import digests_of
from space.dataset.model import Dataset
from space.dataset.plain_pickle import load_plain
from space.dataset.schema import MAX_LIST, Kind, kinds_of
from space.errors import DatasetError

_DAMAGED = "the file is damaged, or was not written by this format's writer: use .csv or .blox"
_PROTOCOL = 4  # that of the published files
# Instructions that a value, list or tuple can need: itself, its mark, its place in the memo, its end.
_STEPS = 4


def encode(dataset: Dataset) -> tuple[dict[str, str], bytes]:
    """Return no column types, and the rows as a pickle."""
    return {}, pickle.dumps(nested_rows(dataset), protocol=_PROTOCOL)


def decode(
    payload: bytes, header: Header, config: SpaceConfig, wanted: Collection[str] | None = None
) -> tuple[NDArray[np.uint8], dict[str, object]]:
    """Return the digests of the rows, (rows, 16), and the values of each wanted column; of all where none is named.

    Raises:
        DatasetError: the pickle holds no such rows; the message names the row, or the byte.
    """
    kinds = kinds_of(header.dataset_type, header.columns)
    # No list holds fewer values than lists within it, but for the vectors' stages of three lists.
    objects = 3 + sum(2 * kind.max_cells(config) + 1 for kind in kinds.values())
    rows = load_plain(payload, _STEPS * objects * (len(config) + 1))
    if not isinstance(rows, list) or not rows or len(rows) > len(config):
        raise DatasetError(f"its pickle is no list of 1 to {len(config)} rows; {_DAMAGED}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list | tuple) or len(row) != 1 + len(kinds):
            raise DatasetError(f"row {number} is no list of {1 + len(kinds)} values; {_DAMAGED}")
    hashes, *columns = zip(*rows, strict=True)
    _check_types("model_hash", hashes, (str,))
    values = {
        name: _values(name, kind, column, config)
        for (name, kind), column in zip(kinds.items(), columns, strict=True)
        if wanted is None or name in wanted
    }
    return digests_of(hashes), values


def _values(name: str, kind: Kind, cells: Sequence[object], config: SpaceConfig) -> object:
    if kind.value == "arch":
        return [flat_vector(cell, row, name, config) for row, cell in enumerate(cells, start=1)]
    if kind.is_list:
        return [_floats(name, cell, row) for row, cell in enumerate(cells, start=1)]
    _check_types(name, cells, (str,) if kind.value == "str" else (int, float))
    return cells


def _floats(name: str, cell: object, row: int) -> NDArray[np.float64]:
    if not isinstance(cell, list | tuple) or len(cell) > MAX_LIST:
        raise DatasetError(f"row {row}: {name} is no list of at most {MAX_LIST} numbers; {_DAMAGED}")
    _check_types(f"row {row}: {name}", cell, (int, float, np.ndarray))
    try:
        return np.concatenate([np.atleast_1d(np.asarray(piece, np.float64)) for piece in cell or [[]]])
    except OverflowError as error:
        raise DatasetError(f"row {row}: {name} holds a number without end; {_DAMAGED}") from error


def _check_types(name: str, cells: Sequence[object], types: tuple[type, ...]) -> None:
    """Refuse other types before numpy sees them: lists that hold each other would take it forever."""
    if others := set(map(type, cells)) - set(types):
        row = next(row for row, cell in enumerate(cells, start=1) if type(cell) in others)
        raise DatasetError(
            f"value {row} of {name} is {type(cells[row - 1]).__name__}, not "
            f"{' or '.join(t.__name__ for t in types if t is not np.ndarray)}; {_DAMAGED}"
        )

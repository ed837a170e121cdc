"""Rows as comma-separated text: no title row, CRLF, lists and vectors as quoted Python lists.

Numbers are written so that they read back equal.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from space.config import SpaceConfig
from space.dataset.header import Header
from space.dataset.keys import digests_of
from space.dataset.model import Dataset
from space.dataset.nested_rows import flat_vector, nested_rows
from space.dataset.schema import Kind, kinds_of
from space.errors import DatasetError, shown

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")  # int() refuses more
OF_NUMBERS = frozenset("0123456789.eE+-")
_BATCH = 1000  # rows
_DAMAGED = "the file is damaged: download or write it again"


def encode(dataset: Dataset) -> tuple[dict[str, str], bytes]:
    """Return no column types, and the rows as text."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(nested_rows(dataset))  # the default dialect is the published one
    return {}, text.getvalue().encode("ascii")


def decode(
    payload: bytes, header: Header, config: SpaceConfig, wanted: Collection[str] | None = None
) -> tuple[NDArray[np.uint8], dict[str, object]]:
    """Return the digests of the rows, (rows, 16), and the values of each wanted column; of all where none is named.

    Raises:
        DatasetError: the text is no such table; the message names the row.
    """
    kinds = kinds_of(header.dataset_type, header.columns)
    if not payload.endswith(b"\n"):
        raise DatasetError("does not end with a line end: it was cut; download or write it again")
    hashes: list[str] = []
    columns: dict[str, list[object]] = {name: [] for name in kinds if wanted is None or name in wanted}
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(payload), encoding="ascii", newline=""), strict=True)
    most = len(config)
    while batch := _next_rows(reader, len(hashes), 1 + len(kinds)):
        if len(hashes) + len(batch) > most:
            raise DatasetError(
                f"row {most + 1}: more rows than the {most} networks of space {config.name!r}; "
                "keep one row for a network"
            )
        texts, *cells = zip(*batch, strict=True)
        for (name, kind), column in zip(kinds.items(), cells, strict=True):
            if name in columns:
                columns[name] += _converted(name, kind, column, len(hashes) + 1, config)
        hashes += texts
    return digests_of(hashes), dict(columns)


def next_rows(reader: Iterator[list[str]], before: int, count: int, remedy: str) -> list[list[str]]:
    """Return the next rows, at most `count`; none at the end. Raises: DatasetError: they are no rows."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(reader, count))
    except (csv.Error, ValueError) as error:  # ValueError: a character that is not ASCII
        raise DatasetError(f"row {before + len(rows) + 1} or soon after it: {error}; {remedy}") from error
    return rows


def _next_rows(reader: Iterator[list[str]], before: int, width: int) -> list[list[str]]:
    """Return the next rows, few enough that lists of epochs are not all held as text; none at the end."""
    rows = next_rows(reader, before, _BATCH, _DAMAGED)
    if set(map(len, rows)) - {width}:
        row, cells = next((row, len(cells)) for row, cells in enumerate(rows) if len(cells) != width)
        raise DatasetError(f"row {before + row + 1}: {cells} cells instead of {width}; {_DAMAGED}")
    return rows


def _converted(
    name: str, kind: Kind, texts: Sequence[str], first_row: int, config: SpaceConfig
) -> list[object]:
    """Return the values of one column in some rows."""
    if kind.value == "str":
        return list(texts)
    if kind.is_list or kind.value == "arch":
        return [_nested(name, kind, text, row, config) for row, text in enumerate(texts, start=first_row)]
    convert, pattern = (int, _WHOLE_NUMBER) if kind.value == "int" else (float, NUMBER)
    try:
        if set().union(*texts) <= OF_NUMBERS:  # neither nan, nor inf, nor the underscores that float() allows
            return [convert(text) for text in texts]
    except ValueError:
        pass
    row, text = next((r, t) for r, t in enumerate(texts, start=first_row) if not pattern.fullmatch(t))
    raise DatasetError(f"row {row}: {name} = {shown(text)} is not a number; {_DAMAGED}")


def _nested(name: str, kind: Kind, text: str, row: int, config: SpaceConfig) -> object:
    with contextlib.suppress(ValueError, OverflowError, RecursionError):
        found = json.loads(text)
        if kind.value == "arch":
            return flat_vector(found, row, name, config)
        if isinstance(found, list) and {type(item) for item in found} <= {int, float}:
            return np.array(found, dtype=np.float64)
    raise DatasetError(f"row {row}: {name} = {shown(text)} is not a list of numbers; {_DAMAGED}")

"""Rows as comma-separated text: no title row, CRLF, lists and vectors as quoted Python lists.

Numbers are written so that they read back equal.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from space.config import SpaceConfig
from space.dataset.header import Header
from space.dataset.keys import digests_of
from space.dataset.model import Dataset
from space.dataset.schema import Kind, kinds_of
from space.errors import DatasetError, shown
from space.vectors import flat_stage, is_list

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")  # int() refuses more
OF_NUMBERS = frozenset("0123456789.eE+-")
_BATCH = 1000  # rows
_DAMAGED = "the file is damaged: download or write it again"


def nested_rows(dataset: Dataset) -> list[list[object]]:
    """Return the rows of a data set: the hash, then a number, text, list or published vector a column."""
    kinds = kinds_of(dataset.dataset_type, tuple(dataset.columns))
    columns: list[Iterable[object]] = [dataset.hashes.tolist()]
    for name, column in dataset.columns.items():
        if isinstance(column, tuple):
            columns.append(item.tolist() if isinstance(item, np.ndarray) else item for item in column)
        elif kinds[name].value == "arch":
            columns.append([[[s[0]], s[1:]] for s in stages] for stages in column.tolist())
        else:
            columns.append(column.tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def flat_vector(nested: object, row: int, name: str, config: SpaceConfig) -> list[list[int]]:
    """Return a published vector, `[[op0], [op1, prev, inp, sc]]` for each stage, as five numbers a stage.

    Raises:
        DatasetError: the value has another form; the message names the row, never the value, which may be endless.
    """
    stages = map(flat_stage, nested) if is_list(nested, config.stages) else []
    found = [one for one in stages if one and all(type(value) is int and 0 <= value <= 255 for value in one)]
    if len(found) != config.stages:
        raise DatasetError(
            f"row {row}: {name} is not [[op0], [op1, prev, inp, sc]] for each of {config.stages} stages; {_DAMAGED}"
        )
    return found


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
    # Few rows at a time, so that lists of epochs are not all held as text.
    while batch := next_rows(reader, len(hashes), _BATCH, _DAMAGED, 1 + len(kinds)):
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


def next_rows(
    reader: Iterator[list[str]], before: int, count: int, remedy: str, width: int = 0
) -> list[list[str]]:
    """Return the next rows, at most `count`; none at the end. Raises: DatasetError: they are no rows, or not of `width` cells."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(reader, count))
    except (csv.Error, ValueError) as error:  # ValueError: a character that is not ASCII
        raise DatasetError(f"row {before + len(rows) + 1} or soon after it: {error}; {remedy}") from error
    if width and set(map(len, rows)) - {width}:
        row, cells = next((row, len(one)) for row, one in enumerate(rows, before + 1) if len(one) != width)
        raise DatasetError(f"row {row}: {cells} cells instead of {width}; {remedy}")
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

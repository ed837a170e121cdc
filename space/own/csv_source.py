"""A user's table as CSV: comma-separated UTF-8 text with a title row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from space.errors import DatasetError, shown
from space.own.source import MAX_ROWS, MAX_TITLES, Source

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_OF_NUMBERS = frozenset("0123456789.eE+-")
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_SEPARATORS = {"semicolons": ";", "tabs": "\t"}
_BATCH = 5000  # rows


def csv_source(content: bytes) -> Source:
    """Return the table that these bytes hold.

    Raises:
        DatasetError: they are no UTF-8 text, or no table; the message names the line or row.
    """
    text = _text(content).rstrip("\r\n")  # empty lines at the end
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    titles = tuple(title.strip() for row in _next_rows(reader, -1, 1) for title in row)
    if not 2 <= len(titles) <= MAX_TITLES:
        others = [name for name, mark in _SEPARATORS.items() if mark in "".join(titles)]
        hint = f"; its cells look separated by {others[0]}" if others else ""
        raise DatasetError(
            f"its title row holds {len(titles)} cells, {shown(list(titles[:9]))}{hint}; give a column of networks and one "
            f"of accuracies, separated by commas, and at most {MAX_TITLES} columns"
        )
    columns: list[list[str]] = [[] for _ in titles]
    while rows := _next_rows(reader, len(columns[0]), _BATCH):
        before = len(columns[0])
        if set(map(len, rows)) - {len(titles)}:
            row, cells = next(
                (row, len(cells)) for row, cells in enumerate(rows, 1) if len(cells) != len(titles)
            )
            raise DatasetError(f"row {before + row}: {cells} cells instead of {len(titles)}; correct it")
        if before + len(rows) > MAX_ROWS:
            raise DatasetError(f"row {MAX_ROWS + 1}: more than {MAX_ROWS} rows; keep those that are needed")
        for column, cells_of_column in zip(columns, zip(*rows, strict=True), strict=True):
            column += cells_of_column
    by_title = dict(zip(titles, columns, strict=True))

    @cache
    def numbers(title: str) -> NDArray[np.float64]:
        return _numbers(title, by_title[title])

    def is_numeric(title: str) -> bool:
        try:
            return not np.isnan(numbers(title)).all()
        except DatasetError:
            return False

    return Source(
        titles=titles,
        rows=len(columns[0]),
        cells=lambda title: [cell.strip() for cell in by_title[title]],
        numbers=numbers,
        is_numeric=is_numeric,
    )


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the table as CSV in UTF-8"
        ) from error


def _next_rows(reader: Iterator[list[str]], before: int, count: int) -> list[list[str]]:
    """Return the next rows, at most `count`; none at the end."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(reader, count))
    except csv.Error as error:
        raise DatasetError(
            f"row {before + len(rows) + 1} or soon after it: {error}; check its quotes and line ends"
        ) from error
    return rows


def _numbers(title: str, texts: Sequence[str]) -> NDArray[np.float64]:
    if (
        set().union(*texts) <= _OF_NUMBERS and "" not in texts
    ):  # neither nan, nor inf, nor the underscores of float()
        try:
            return np.array(list(map(float, texts)), dtype=np.float64)
        except ValueError:
            pass
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(map(str.strip, texts)):
        if _NUMBER.fullmatch(text):
            values[row] = float(text)
        elif text.casefold() not in _MISSING:
            raise DatasetError(
                f"row {row + 1}: {title} = {shown(text)} is not a number; correct it, or leave it empty"
            )
    return values

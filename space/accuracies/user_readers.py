"""Readers of a user's table, CSV or Parquet: column names, columns read on demand.

pyarrow is imported only when a Parquet table is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.dataset.csv_rows import NUMBER, OF_NUMBERS, next_rows
from space.errors import DatasetError, shown
from space.text import counted, reason_of
from space.text_files import decoded

MAX_ROWS = 2_000_000  # of 91,125 networks, some 20 seeds each
MAX_TITLES = 1000
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_SEPARATORS = {"semicolons": ";", "tabs": "\t"}
_BATCH = 5000  # rows
_MAX_UNPACKED_BYTES = 1 << 29  # 2 million rows of hashes and accuracies need a fifth of it
_DAMAGED = "the file is damaged: write it again"
_BAD_ROW = "check its quotes and line ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTable:
    """A user's table with a title row.

    `cells(title)` are a column's cells as they stand, (rows,); `numbers(title)` is a column as float64 (rows,), NaN where a
    cell is empty, or a DatasetError that names the row; `is_numeric(title)` says whether a column is one of numbers, and
    not empty; `place(row)` names a row, counted from 0, to whoever reads the file.
    """

    titles: tuple[str, ...]
    rows: int
    cells: Callable[[str], Sequence[object]]
    numbers: Callable[[str], NDArray[np.float64]]
    is_numeric: Callable[[str], bool]
    place: Callable[[int], str] = lambda row: f"row {row + 1}"


def csv_source(content: bytes) -> UserTable:
    """Read a table from the bytes of a CSV file.

    Raises:
        DatasetError: they are no UTF-8 text, or no table; the message names the line or row.
    """
    text = _text(content).rstrip("\r\n")  # empty lines at the end
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    titles = tuple(title.strip() for row in next_rows(reader, -1, 1, _BAD_ROW) for title in row)
    if not 2 <= len(titles) <= MAX_TITLES:
        others = [name for name, mark in _SEPARATORS.items() if mark in "".join(titles)]
        looks = f"; its cells look separated by {others[0]}" if others else ""
        raise DatasetError(
            f"its title row holds {counted(len(titles), 'cell')}, {shown(list(titles[:9]))}{looks}; give a column of "
            f"networks and one of accuracies, separated by commas, and at most {MAX_TITLES} columns"
        )
    columns: list[list[str]] = [[] for _ in titles]
    while rows := next_rows(reader, len(columns[0]), _BATCH, _BAD_ROW, len(titles)):
        if len(columns[0]) + len(rows) > MAX_ROWS:
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

    return UserTable(
        titles=titles,
        rows=len(columns[0]),
        cells=lambda title: [cell.strip() for cell in by_title[title]],
        numbers=numbers,
        is_numeric=is_numeric,
    )


def parquet_source(content: bytes) -> UserTable:
    """Read a table from the bytes of a Parquet file.

    Raises:
        DatasetError: pyarrow is missing, or the bytes are no Parquet file or one that is too large.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError("Parquet files are read by pyarrow: pip install 'harness[parquet]'") from error
    with _readable():
        file = parquet.ParquetFile(pa.BufferReader(content), memory_map=False)
        metadata, schema = file.metadata, file.schema_arrow
        rows, titles = metadata.num_rows, tuple(schema.names)
        # Not the sizes of single columns: pyarrow ends the process where their metadata is damaged.
        unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if rows > MAX_ROWS or metadata.num_columns > MAX_TITLES or rows < 0:
        raise DatasetError(
            f"claims {rows} rows of {metadata.num_columns} columns; at most {MAX_ROWS} and {MAX_TITLES} are read: "
            "keep those that are needed"
        )
    if not 0 <= unpacked <= _MAX_UNPACKED_BYTES:  # pyarrow would ask for the memory at once
        raise DatasetError(
            f"unpacks to {unpacked} bytes, more than {_MAX_UNPACKED_BYTES}; keep only the columns that are needed, "
            "and do not trust a file that you did not make"
        )
    one = _Parquet(file, schema, rows)
    return UserTable(
        titles=titles, rows=rows, cells=one.cells, numbers=one.numbers, is_numeric=one.is_numeric
    )


@dataclass(frozen=True, slots=True)
class _Parquet:
    """An open Parquet file of pyarrow's, whose columns are read on demand."""

    file: Any
    schema: Any
    rows: int

    def cells(self, title: str) -> Sequence[object]:
        """Return a column's cells. Raises: DatasetError."""
        column = self._column(title)
        with _readable(title):
            return column.to_pylist()  # type: ignore[no-any-return]

    def is_numeric(self, title: str) -> bool:
        """Return whether a column is of numbers."""
        from pyarrow import types

        kind = self.schema.field(title).type
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))

    def numbers(self, title: str) -> NDArray[np.float64]:
        """Return a column as float64 (rows,), NaN where a cell is empty. Raises: DatasetError."""
        import pyarrow as pa

        if not self.is_numeric(title):
            cells = enumerate(self.cells(title), 1)
            first = next(((row, cell) for row, cell in cells if cell is not None), None)
            example = f" (row {first[0]}: {shown(str(first[1]))})" if first else ""
            raise DatasetError(
                f"column {shown(title)} holds {self.schema.field(title).type} and no numbers{example}; write numbers"
            )
        column = self._column(title)
        with _readable(title):
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.array(values, dtype=np.float64)

    def _column(self, title: str) -> Any:
        with _readable(title):
            table = self.file.read(columns=[title], use_threads=False)
            found = table.column(title)
            table.validate(full=True)
        if len(found) != self.rows:
            raise DatasetError(
                f"column {shown(title)} holds {len(found)} rows instead of {self.rows}; {_DAMAGED}"
            )
        return found


@contextmanager
def _readable(title: str = "") -> Iterator[None]:
    """Refuse a file, or its column of a title, that pyarrow cannot read. Raises: DatasetError."""
    import pyarrow as pa

    what = f"column {shown(title)} cannot be read as Parquet" if title else "cannot be read as Parquet"
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise DatasetError(f"{what} ({reason_of(error)}); {_DAMAGED}") from error


def _text(content: bytes) -> str:
    try:
        return decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the table as CSV in UTF-8"
        ) from error


def _numbers(title: str, texts: Sequence[str]) -> NDArray[np.float64]:
    # Neither nan, nor inf, nor the underscores of float().
    if set().union(*texts) <= OF_NUMBERS and "" not in texts:
        try:
            return np.array(list(map(float, texts)), dtype=np.float64)
        except ValueError:
            pass
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(map(str.strip, texts)):
        if NUMBER.fullmatch(text):
            values[row] = float(text)
        elif text.casefold() not in _MISSING:
            raise DatasetError(
                f"row {row + 1}: {title} = {shown(text)} is not a number; correct it, or leave it empty"
            )
    return values

"""A user's table as Parquet, read by pyarrow, which is imported only here and only when such a table is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.errors import DatasetError, shown
from space.own.source import MAX_ROWS, MAX_TITLES, Source

_MAX_UNPACKED_BYTES = 1 << 29  # 2 million rows of hashes and accuracies need a fifth of it
_DAMAGED = "the file is damaged: write it again"


def parquet_source(content: bytes) -> Source:
    """Return the table that these bytes hold.

    Raises:
        DatasetError: pyarrow is missing, or the bytes are no Parquet file or one that is too large.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError("Parquet files are read by pyarrow: pip install 'harness[parquet]'") from error
    foreign = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
    try:
        file = parquet.ParquetFile(pa.BufferReader(content), memory_map=False)
        metadata, schema = file.metadata, file.schema_arrow
        rows, titles = metadata.num_rows, tuple(schema.names)
        # Not the sizes of single columns: pyarrow ends the process where their metadata is damaged.
        unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    except foreign as error:
        raise _damaged(error) from error
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

    def column(title: str) -> Any:
        try:
            table = file.read(columns=[title], use_threads=False)
            found = table.column(title)
            table.validate(full=True)
        except foreign as error:
            raise _damaged(error, title) from error
        if len(found) != rows:
            raise DatasetError(f"column {shown(title)} holds {len(found)} rows instead of {rows}; {_DAMAGED}")
        return found

    def cells(title: str) -> Sequence[object]:
        try:
            return column(title).to_pylist()  # type: ignore[no-any-return]
        except foreign as error:
            raise _damaged(error, title) from error

    def is_numeric(title: str) -> bool:
        kind = schema.field(title).type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    def numbers(title: str) -> NDArray[np.float64]:
        if not is_numeric(title):
            first = next(((row, cell) for row, cell in enumerate(cells(title), 1) if cell is not None), None)
            example = f" (row {first[0]}: {shown(str(first[1]))})" if first else ""
            raise DatasetError(
                f"column {shown(title)} holds {schema.field(title).type} and no numbers{example}; write numbers"
            )
        try:
            values = column(title).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except foreign as error:
            raise _damaged(error, title) from error
        return np.array(values, dtype=np.float64)

    return Source(titles=titles, rows=rows, cells=cells, numbers=numbers, is_numeric=is_numeric)


def _damaged(error: BaseException, title: str = "") -> DatasetError:
    what = f"column {shown(title)} cannot be read as Parquet" if title else "cannot be read as Parquet"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DatasetError(f"{what} ({reason}); {_DAMAGED}")

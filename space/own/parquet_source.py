"""A user's table as Parquet, read by pyarrow, which is imported only here and only when such a table is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.dataset.errors import DatasetError
from space.errors import shown
from space.own.source import MAX_ROWS, MAX_TITLES, Source

_MAX_COLUMN_BYTES = 1 << 28  # unpacked; 2 million hashes need a quarter of it
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
    except foreign as error:
        raise _damaged(error) from error
    if rows > MAX_ROWS or metadata.num_columns > MAX_TITLES or rows < 0:
        raise DatasetError(
            f"claims {rows} rows of {metadata.num_columns} columns; at most {MAX_ROWS} and {MAX_TITLES} are read: "
            "keep those that are needed"
        )

    def column(title: str) -> Any:
        try:
            _check_size(metadata, title)
            table = file.read(columns=[title], use_threads=False)
            found = table.column(title)
            table.validate(full=True)
        except DatasetError:
            raise
        except foreign as error:
            raise _damaged(error, title) from error
        if len(found) != rows:
            raise DatasetError(f"column {shown(title)} holds {len(found)} rows instead of {rows}; {_DAMAGED}")
        return found

    def cells(title: str) -> Sequence[object]:
        try:
            return column(title).to_pylist()  # type: ignore[no-any-return]
        except foreign as error:
            raise error if isinstance(error, DatasetError) else _damaged(error, title) from error

    def is_numeric(title: str) -> bool:
        kind = schema.field(title).type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    def numbers(title: str) -> NDArray[np.float64]:
        if not is_numeric(title):
            raise DatasetError(
                f"column {shown(title)} holds {schema.field(title).type} and no numbers; write numbers"
            )
        try:
            values = column(title).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except foreign as error:
            raise error if isinstance(error, DatasetError) else _damaged(error, title) from error
        return np.array(values, dtype=np.float64)

    return Source(titles=titles, rows=rows, cells=cells, numbers=numbers, is_numeric=is_numeric)


def _check_size(metadata: Any, title: str) -> None:
    """Refuse a column that would unpack to more than such a table needs; pyarrow would ask for the memory at once."""
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for place in range(chunks.num_columns):
            chunk = chunks.column(place)
            if chunk.path_in_schema.split(".")[0] == title or chunk.path_in_schema == title:
                size += max(chunk.total_uncompressed_size, chunk.total_compressed_size)
    if not 0 <= size <= _MAX_COLUMN_BYTES:
        raise DatasetError(
            f"column {shown(title)} unpacks to {size} bytes, more than {_MAX_COLUMN_BYTES}; do not trust the file"
        )


def _damaged(error: BaseException, title: str = "") -> DatasetError:
    what = f"column {shown(title)} cannot be read as Parquet" if title else "cannot be read as Parquet"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DatasetError(f"{what} ({reason}); {_DAMAGED}")

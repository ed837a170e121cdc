"""Tables as DataFrames and as Arrow tables; the only importer of pandas and pyarrow, which are optional, in harness."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, TypeVar, overload

from space.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


SHOWN = 10  # rows that a notebook shows
# Ends of columns that hold numbers, also where none is known.
NUMBERS = ("_ms", "_mj", "_mJ", "_bytes", "_percent")

Row = TypeVar("Row", covariant=True)


class Tabular:
    """A table of plain values in named columns; a unit, such as ms, ends its column's name."""

    __slots__ = ()

    @abstractmethod
    def to_records(self) -> tuple[Sequence[Mapping[str, object]], Sequence[str]]:
        """Return the rows as plain values by column, and the columns in order, also where there is no row."""

    def head(self, count: int) -> tuple[Sequence[Mapping[str, object]], int]:
        """Return the first rows as plain values by column, and the number of all."""
        rows, _ = self.to_records()
        return rows[:count], len(rows)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {_rows(self.head(1)[1])}; to_pandas() has them>"

    def _repr_html_(self) -> str:
        """Return HTML for a notebook: the first rows, and how many there are."""
        rows, count = self.head(SHOWN)
        lines = [list(rows[0])] if rows else []
        lines += [[_cell(value) for value in row.values()] for row in rows]
        html = "".join(
            f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in line)}</tr>"
            for line, tag in zip(lines, ["th"] + ["td"] * len(rows), strict=False)
        )
        return f"<table>{html}</table><p>{_rows(count)} of {escape(type(self).__name__)}</p>"

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a pandas DataFrame. Raises: ConfigError when pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                "to_pandas() needs pandas, which is not installed: pip install pandas"
            ) from error
        rows, columns = self.to_records()
        frame = pd.DataFrame(list(rows), columns=list(columns))
        bare = [name for name in columns if name.endswith(NUMBERS) and frame[name].isna().all()]
        return frame.astype(dict.fromkeys(bare, "float64"))

    def to_arrow(self) -> pa.Table:
        """Return the table as an Arrow table, for Polars, DuckDB, Parquet. Raises: ConfigError when pyarrow is not installed."""
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ConfigError(
                "to_arrow() needs pyarrow, which is not installed: pip install pyarrow"
            ) from error
        rows, columns = self.to_records()
        arrays = {column: pa.array([row[column] for row in rows]) for column in columns}
        bare = [name for name in columns if name.endswith(NUMBERS) and arrays[name].type == pa.null()]
        return pa.table({**arrays, **{name: arrays[name].cast(pa.float64()) for name in bare}})


class RowTable(Tabular, Sequence[Row]):
    """A table that is the sequence of its `rows`."""

    __slots__ = ()

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...

    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"

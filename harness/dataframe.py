"""Tables as DataFrames and as Arrow tables; the only importer of pandas and pyarrow, which are optional, in harness."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from space.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Tabular:
    """A table of plain values in named columns; a unit, such as ms, ends its column's name."""

    __slots__ = ()

    @abstractmethod
    def to_records(self) -> tuple[Sequence[Mapping[str, object]], Sequence[str]]:
        """Return the rows as plain values by column, and the columns in order, also where there is no row."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a pandas DataFrame. Raises: ConfigError when pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                "to_pandas() needs pandas, which is not installed: pip install pandas"
            ) from error
        rows, columns = self.to_records()
        return pd.DataFrame(list(rows), columns=list(columns))

    def to_arrow(self) -> pa.Table:
        """Return the table as an Arrow table, for Polars, DuckDB, Parquet. Raises: ConfigError when pyarrow is not installed."""
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ConfigError(
                "to_arrow() needs pyarrow, which is not installed: pip install pyarrow"
            ) from error
        rows, columns = self.to_records()
        return pa.table({column: [row[column] for row in rows] for column in columns})

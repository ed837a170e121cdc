"""The only importer of pandas, which is optional: rows of plain values as a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from space.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def to_frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a DataFrame (len(rows), len(columns)) with these columns in this order, also where there is no row.

    Raises: ConfigError when pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigError("to_pandas() needs pandas, which is not installed: pip install pandas") from error
    return pd.DataFrame(list(rows), columns=list(columns))

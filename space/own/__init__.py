"""A user's own accuracies: tables with a title row, from CSV or Parquet."""

from space.own.table import ARCHITECTURE_COLUMNS, read_own_table

__all__ = ["ARCHITECTURE_COLUMNS", "read_own_table"]

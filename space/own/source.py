"""A user's table, whatever file it is from: its titles, and its columns as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 2_000_000  # of 91,125 networks, some 20 seeds each
MAX_TITLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Hold a table with a title row.

    `cells(title)` are a column's cells as they stand, (rows,); `numbers(title)` is a column as float64 (rows,), NaN where a
    cell is empty, or a DatasetError that names the row; `is_numeric(title)` says whether a column is one of numbers, and
    not empty.
    """

    titles: tuple[str, ...]
    rows: int
    cells: Callable[[str], Sequence[object]]
    numbers: Callable[[str], NDArray[np.float64]]
    is_numeric: Callable[[str], bool]

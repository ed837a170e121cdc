"""Networks that several names are of: what was measured by one name counts for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from harness.prediction.space_latencies import SpaceLatencies
from search.table import Cost
from space.indexing import IndexArray

Column = TypeVar("Column", Cost, SpaceLatencies)


def of_equals(cost: Column, first: IndexArray) -> Column:
    """Return a cost in which a network counts as measured if an equal one was; `first`: from `first_equals`."""
    if cost.measured is None:
        return cost
    source, measured = np.arange(len(first)), np.flatnonzero(cost.measured)
    equal = np.full(len(first), -1)
    equal[first[measured]] = measured
    source = np.where(cost.measured | (equal[first] < 0), source, equal[first])
    columns: dict[str, Any] = {
        name: column[source]
        for name in ("values", "low", "high", "measured", "supported", "grades")
        if (column := getattr(cost, name)) is not None
    }
    return replace(cost, **columns)

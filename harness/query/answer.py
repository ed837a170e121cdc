"""A search's answer: the networks within the limits, most accurate first, as rows of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from harness.dataframe import to_frame
from harness.query.join import SearchTable
from search.methods.method import Trace
from search.table import Table
from search.table.answers import Answer
from search.table.constraints import allowed
from search.table.pareto import Front, pareto_front
from space import Architecture
from space.accuracies import Accuracies
from space.indexing import IndexArray

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchAnswer(Sequence[Row]):
    """Networks within the limits, most accurate first, each a row: accuracies in percent, latencies in ms, sizes in bytes.

    `trace` is that of a method that evaluates some networks only; `verified` are those measured after the search, by
    canonical index: where some of them are within the limits, they alone are the rows.
    """

    table: SearchTable
    answer: Answer
    trace: Trace | None = None
    verified: frozenset[int] | None = None

    @property
    def indices(self) -> IndexArray:
        """The canonical index of each row's network."""
        ranked = self.answer.ranked
        if self.verified is None:
            return ranked
        measured = ranked[np.isin(ranked, list(self.verified))]
        return measured if len(measured) else ranked

    @property
    def best(self) -> Architecture:
        """The most accurate network within the limits."""
        return Architecture.from_index(int(self.indices[0]), self.table.table.config)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [network_row(self.table.table, one) for one in self.indices[index].tolist()]
        return network_row(self.table.table, int(self.indices[index]))

    def front(self, costs: Sequence[str]) -> Front:
        """Return the Pareto front over accuracy and some of the table's costs, of all networks within the limits.

        Raises: ConfigError when the table has no such cost.
        """
        mask = allowed(self.table.table, self.answer.constraints, confident=self.answer.confident)
        return pareto_front(self.table.table, costs, mask)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a DataFrame; columns as of `harness search --output`, units in their names.

        Raises: ConfigError when pandas is not installed.
        """
        return to_frame(self[:], list(self[0]))


def network_row(table: Table, index: int) -> Row:
    """Return one network's row as plain values; the keys of synthetic values hold the word."""
    architecture = Architecture.from_index(index, table.config)
    row: Row = {"architecture": str(architecture), "graph_hash": architecture.graph_hash, "index": index}
    for accuracies in (table.accuracy, *table.shown):
        row[_accuracy_key(accuracies)] = _number(accuracies.values[index])
    for name, cost in table.costs.items():
        key = f"{name}_{cost.unit}" if cost.unit else name
        row[key] = _number(cost.values[index])
        if cost.low is not None and cost.high is not None:
            row[f"{name}_low_{cost.unit}"] = _number(cost.low[index])
            row[f"{name}_high_{cost.unit}"] = _number(cost.high[index])
        if cost.measured is not None and cost.grades is not None:
            row[f"{name}_source"] = "measured" if cost.measured[index] else "predicted"
            if cost.supported is not None and not cost.supported[index]:
                row[f"{name}_source"] = "predicted, far"
            row[f"{name}_grade"] = str(cost.grades[index]) or "-"
    return row


def _accuracy_key(accuracies: Accuracies) -> str:
    word = "" if not accuracies.synthetic or "synthetic" in accuracies.metric else "synthetic_"
    return f"{word}{accuracies.metric}_percent"


def _number(value: float) -> float | None:
    """Return a number for JSON and CSV, None in place of NaN and infinity."""
    return float(value) if abs(value) < float("inf") else None

"""Networks and limits as rows of plain values: names, accuracies in percent, latencies in ms, sizes in bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from harness.dataframe import Tabular
from search.statistics import finite
from search.table import Cost, NetworkTable
from search.table.constraints import Constraint
from search.table.pareto import Front
from space.indexing import IndexArray

Row = dict[str, Any]  # plain values, whose kinds the column's name tells


class NetworkRows(Tabular, Sequence[Row]):
    """Some networks of a space, each a row of plain values, which is made when it is asked for."""

    __slots__ = ()

    if TYPE_CHECKING:  # a field, or a property

        @property
        def indices(self) -> Sequence[int] | IndexArray:
            """The canonical index of each row's network, at no cost: it is asked for at every row."""

    @abstractmethod
    def row(self, index: int) -> Row:
        """Return the row of a network."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The keys of a row, in order."""

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self.row(int(one)) for one in self.indices[index]]
        return self.row(int(self.indices[index]))

    def to_records(self) -> tuple[list[Row], Sequence[str]]:
        """Return the rows and the columns, those of `harness search --output`."""
        return self[:], self.columns

    def head(self, count: int) -> tuple[list[Row], int]:
        return self[:count], len(self)


def network_columns(table: NetworkTable) -> list[str]:
    """Return the columns of a table's rows, in order."""
    return list(network_row(table, 0))


def network_row(table: NetworkTable, place: int) -> Row:
    """Return a row of a table as plain values; the keys of synthetic values hold the word."""
    architecture = table.network(place)
    row: Row = {
        "architecture": str(architecture),
        "graph_hash": architecture.graph_hash,
        "index": architecture.index,
    }
    for accuracies in (table.accuracy, *table.shown):
        word = "" if not accuracies.synthetic or "synthetic" in accuracies.metric else "synthetic_"
        row[f"{word}{accuracies.metric}_percent"] = finite(accuracies.values[place])
    for name, cost in table.costs.items():
        key = f"{name}_{cost.unit}" if cost.unit else name
        row[key] = finite(cost.values[place])
        if cost.low is not None and cost.high is not None:
            row[f"{name}_low_{cost.unit}"] = finite(cost.low[place])
            row[f"{name}_high_{cost.unit}"] = finite(cost.high[place])
        if cost.measured is not None:
            row[f"{name}_source"] = source_of(cost, place)
        if cost.grades is not None:
            row[f"{name}_grade"] = str(cost.grades[place]) or "-"
    return row


def source_of(cost: Cost, place: int) -> str | None:
    """Return whether a network's cost is measured, predicted, or predicted far from all that was measured, or the network failed;
    None if unknown.
    """
    if cost.measured is None:
        return None
    if cost.measured[place]:
        return "measured"
    is_like = cost.supported is None or bool(cost.supported[place])
    if np.isnan(cost.values[place]):
        return None if is_like else "failed"
    return "predicted" if is_like else "predicted, far"


def front_document(table: NetworkTable, front: Front) -> dict[str, object]:
    """Return a Pareto front as plain values, a row a network, cheapest first."""
    return {
        "costs": list(front.costs),
        "hypervolume": front.hypervolume,
        "reference": list(front.reference),
        "ideal": list(front.ideal),
        "networks": [network_row(table, place) for place in front.indices.tolist()],
    }


def limit_row(constraint: Constraint, *, confident: bool) -> dict[str, object]:
    """Return a limit as plain values; `by`: the value that must meet it, the estimate or, if `confident`, the far end."""
    by = "interval" if confident else "estimate"
    return {"constraint": str(constraint), "limit": constraint.limit, "by": by}

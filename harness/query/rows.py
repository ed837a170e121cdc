"""Networks and limits as rows of plain values: names, accuracies in percent, latencies in ms, sizes in bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.statistics import finite
from search.table import Cost, NetworkTable
from search.table.constraints import Constraint
from search.table.pareto import Front
from space.accuracies import Accuracies
from space.indexing import IndexArray

Row = dict[str, Any]  # plain values, whose kinds the column's name tells


def rows_at(table: NetworkTable, indices: IndexArray, place: int | slice) -> Row | list[Row]:
    """Return the row, or the rows, of the networks at a place among canonical indices (n,)."""
    if isinstance(place, slice):
        return [network_row(table, index) for index in indices[place].tolist()]
    return network_row(table, int(indices[place]))


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
        row[_accuracy_key(accuracies)] = finite(accuracies.values[place])
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
    """Return whether a network's cost is measured, predicted, or predicted far from all that was measured; None if unknown."""
    if np.isnan(cost.values[place]) or cost.measured is None:
        return None
    if cost.measured[place]:
        return "measured"
    return "predicted" if cost.supported is None or cost.supported[place] else "predicted, far"


def _accuracy_key(accuracies: Accuracies) -> str:
    word = "" if not accuracies.synthetic or "synthetic" in accuracies.metric else "synthetic_"
    return f"{word}{accuracies.metric}_percent"


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

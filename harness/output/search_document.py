"""A search's answer as plain values for JSON and CSV; the keys of synthetic values hold the word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.query.join import SearchTable
    from search.answers import Answer
    from search.methods.contract import Trace
    from search.pareto import Front
    from search.table import Table
    from space.accuracies import Accuracies
    from space.indexing import IndexArray


def shown(answer: Answer, verified: frozenset[int] | None) -> IndexArray:
    """Return the networks within the limits to show: those measured now, if any was asked for and found, else all."""
    import numpy as np

    if verified is None:
        return answer.ranked
    measured = answer.ranked[np.isin(answer.ranked, list(verified))]
    return measured if len(measured) else answer.ranked


def answer_document(
    found: SearchTable,
    answer: Answer,
    trace: Trace | None,
    verified: frozenset[int] | None,
    front: Front | None,
    top: int,
) -> dict[str, object]:
    """Return the answer as plain values; accuracies in percent, latencies in ms, sizes in bytes."""
    from search.answers import ties

    table, accuracy = found.table, found.table.accuracy
    ranked = shown(answer, verified)
    tied = ties(accuracy, ranked)
    return {
        "accuracy": accuracy_document(accuracy),
        "costs": {name: {"unit": cost.unit, "title": cost.title} for name, cost in table.costs.items()},
        "latencies": {name: str(one) for name, one in found.provenance.items()},
        "notes": list(found.notes),
        "doubtful": {name: one.doubtful.to_json() for name, one in found.provenance.items()},
        "constraints": [
            {
                "constraint": str(standing.constraint),
                "limit": standing.constraint.limit,
                "by": "interval" if answer.confident else "estimate",
                "met": standing.met,
                "broken": standing.broken,
                "unknown": standing.unknown,
                "doubtful": standing.doubtful,
            }
            for standing in answer.standings
        ],
        "networks_within_limits": len(answer.ranked),
        "method": None
        if trace is None
        else {
            "name": trace.method,
            "seed": trace.seed,
            "look_ups": len(trace.indices),
            "seconds": trace.seconds,
        },
        "verified": None if verified is None else sorted(verified),
        "networks": [
            network_document(table, index) | {"ties_with_best": one}
            for index, one in zip(ranked[:top].tolist(), tied[:top].tolist(), strict=True)
        ],
        "front": None
        if front is None
        else {
            "costs": list(front.costs),
            "hypervolume": front.hypervolume,
            "reference": list(front.reference),
            "ideal": list(front.ideal),
            "networks": [network_document(table, index) for index in front.indices.tolist()],
        },
    }


def accuracy_document(accuracy: Accuracies) -> dict[str, object]:
    """Return what accuracies are and where they are from, as plain values."""
    return {
        "label": accuracy.label,
        "synthetic": accuracy.synthetic,
        "metric": accuracy.metric,
        "epoch": accuracy.epoch,
        "seeds": list(accuracy.seeds),
        "seed_sd": accuracy.seed_sd,
        "origin": list(accuracy.origin),
    }


def network_document(table: Table, index: int) -> dict[str, object]:
    """Return one network's row as plain values; the keys of synthetic values hold the word."""
    from space import Architecture

    architecture = Architecture.from_index(index, table.config)
    row: dict[str, object] = {
        "architecture": str(architecture),
        "graph_hash": architecture.graph_hash,
        "index": index,
    }
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

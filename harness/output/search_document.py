"""A search's answer as plain values for JSON and CSV; the keys of synthetic values hold the word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.prediction.provenance import provenance_document
from harness.query.rows import front_document, limit_row
from search.table.answers import by_estimate_alone, ties
from search.table.constraints import allowed

if TYPE_CHECKING:
    from harness.query.answer import ParetoFront, SearchAnswer
    from space.accuracies import Accuracies


def answer_document(found: SearchAnswer, front: ParetoFront | None, top: int) -> dict[str, object]:
    """Return the answer as plain values; accuracies in percent, latencies in ms, sizes in bytes."""
    table, accuracy = found.table.table, found.table.table.accuracy
    answer, trace, verified = found.answer, found.trace, found.verified
    tied = ties(accuracy, found.indices)
    return {
        "accuracy": accuracy_document(accuracy),
        "costs": {name: {"unit": cost.unit, "title": cost.title} for name, cost in table.costs.items()},
        **provenance_document(found.table.provenance),
        "notes": list(found.table.notes),
        "constraints": [
            limit_row(standing.constraint, confident=answer.confident)
            | {
                "met": standing.met,
                "broken": standing.broken,
                "unknown": standing.unknown,
                "doubtful": standing.doubtful,
            }
            for standing in answer.standings
        ],
        "networks_within_limits": int(allowed(table, answer.constraints, confident=answer.confident).sum()),
        "method": None
        if trace is None
        else {
            "name": trace.method,
            "seed": trace.seed,
            "look_ups": len(trace.indices),
            "seconds": trace.seconds,
        },
        "verified": None if verified is None else sorted(verified),
        "first_by_estimate_alone": [
            str(one)
            for place in found.indices[:1].tolist()
            for one in by_estimate_alone(table, answer, place)
        ],
        "networks": [
            row | {"ties_with_best": one} for row, one in zip(found[:top], tied[:top].tolist(), strict=True)
        ],
        "front": None if front is None else front_document(front.table.table, front.front),
    }


def accuracy_document(accuracy: Accuracies) -> dict[str, object]:
    """Return the kind and origin of accuracies as plain values."""
    return {
        "label": accuracy.label,
        "synthetic": accuracy.synthetic,
        "metric": accuracy.metric,
        "epoch": accuracy.epoch,
        "seeds": list(accuracy.seeds),
        "seed_sd": accuracy.seed_sd,
        "origin": list(accuracy.origin),
    }

"""Data of the page: a search table as JSON, its columns as the base64 of little-endian arrays.

A column is `{"kind", "data"}`, and `table` besides where kind is `codes8` or `codes16`: its distinct values, float64, which
`data` points into with uint8 or uint16. Published accuracies and costs by arithmetic repeat themselves, so that codes hold them
exactly in 2 bytes a network; other numbers take 8 bytes, or 4 where they are latencies, which no clock knows to 7 digits.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.output.plots.front import accuracy_axis, cost_axis
from search.table.answers import seeds_factor
from space import Architecture
from space.hash_table import is_first

if TYPE_CHECKING:
    from search.table import Cost, NetworkTable
    from space.accuracies import Accuracies

    Part = TypeVar("Part", Accuracies, Cost)

Json = dict[str, object]
GRADES = ("", "A", "B", "C", "D")  # the code of a grade is its place
LATENCY_UNIT = "ms"
_COLUMNS = ("values", "seed_counts", "low", "high", "measured", "supported", "grades")
_CODES = {"codes8": "<u1", "codes16": "<u2"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """Contents of a report page.

    `conditions`: the provenance of each cost by its name, as labels and texts in reading order. `notes` say what is missing
    or doubtful. `versions` name the software, as `conditions` do. `limits`, upper ones by a cost's name in the cost's unit, are
    those that the page opens with; `confident`: the upper ends of intervals must meet them. `command`: the command line of the
    same search, to which limits are appended. `made_utc` is a time for people.
    """

    table: NetworkTable
    title: str
    made_utc: str
    conditions: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    versions: Sequence[tuple[str, str]] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    confident: bool = False
    command: str = "harness search"


def build_payload(report: Report) -> Json:
    """Return the page's data as JSON-ready values."""
    table = each_once(report.table)
    axes, rows = _axes(table.costs), None if table.indices is None else table.indices.tolist()
    return {
        "title": report.title,
        "made_utc": report.made_utc,
        "command": report.command,
        "upper_ends": report.confident,
        "space": {
            "name": table.config.name,
            "networks": len(table),
            "size": f"{len(table.config):,}",
            "blocks": [str(block) for block in table.config.blocks],
            "choices": table.config.choices,
            "indices": None if rows is None else [str(index) for index in rows],
            "names": None
            if rows is None or report.table.indices is None
            else [str(Architecture.from_index(index, table.config)) for index in rows],
        },
        "accuracy": _accuracy(table.accuracy)
        | {
            "seed_sd": table.accuracy.seed_sd,
            "seed_counts": encode(table.accuracy.seed_counts),
            "z": seeds_factor(table.accuracy),
            "seeds": list(table.accuracy.seeds),
            "origin": list(table.accuracy.origin),
        },
        "shown": [_accuracy(accuracies) for accuracies in table.shown],
        "supported": encode(table.supported),
        "costs": [
            _cost(cost)
            | {
                "axis": axes[name],
                "name": name,
                "limit": report.limits.get(name),
                "conditions": [list(pair) for pair in report.conditions.get(name, ())],
            }
            for name, cost in table.costs.items()
        ],
        "grades": GRADES,
        "notes": list(report.notes),
        "versions": [list(pair) for pair in report.versions],
    }


def each_once(table: NetworkTable) -> NetworkTable:
    """Return a table without further names of networks that have an earlier one: a page counts rows."""
    if table.indices is not None or (distinct := is_first(table.config)).all():
        return table

    def cut(one: Part) -> Part:
        columns = {name: getattr(one, name) for name in _COLUMNS if hasattr(one, name)}
        kept: dict[str, Any] = {
            name: column[distinct] for name, column in columns.items() if column is not None
        }
        return replace(one, **kept)

    return replace(
        table,
        indices=np.flatnonzero(distinct),
        accuracy=cut(table.accuracy),
        shown=tuple(map(cut, table.shown)),
        costs={name: cut(cost) for name, cost in table.costs.items()},
    )


def encode(values: NDArray[np.generic], *, exact: bool = True) -> Json:
    """Return a column as the page reads it; NaN stays NaN. Not `exact`: 4 bytes a value where codes do not do."""
    distinct, codes = np.unique(values, return_inverse=True)
    for kind, code in _CODES.items():
        if len(distinct) <= 2 ** (8 * np.dtype(code).itemsize):
            return {"kind": kind, "table": _base64(distinct, "<f8"), "data": _base64(codes, code)}
    if exact:
        return {"kind": "float64", "data": _base64(values, "<f8")}
    return {"kind": "float32", "data": _base64(values, "<f4")}


def _base64(values: NDArray[np.generic], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")


def _axes(costs: Mapping[str, Cost]) -> dict[str, str]:
    """Return the label of each cost's axis; those that are alike, of one device's configurations, have their names added."""
    titles = Counter(cost.title for cost in costs.values())
    return {
        name: cost_axis(cost if titles[cost.title] == 1 else replace(cost, title=f"{cost.title} [{name}]"))
        for name, cost in costs.items()
    }


def _accuracy(accuracies: Accuracies) -> Json:
    return {
        "axis": accuracy_axis(accuracies),
        "label": accuracies.label,
        "synthetic": accuracies.synthetic,
        "values": encode(accuracies.values),
        "notes": list(accuracies.notes),
    }


def _cost(cost: Cost) -> Json:
    exact = cost.unit != LATENCY_UNIT
    grades = None
    if cost.grades is not None:
        codes = np.zeros(cost.grades.shape)
        for code, grade in enumerate(GRADES):
            codes[cost.grades == grade] = code
        grades = encode(codes)
    return {
        "unit": cost.unit,
        "title": cost.title,
        "synthetic": cost.synthetic,
        "coverage": cost.coverage,
        "values": encode(cost.values, exact=exact),
        "low": None if cost.low is None else encode(cost.low, exact=exact),
        "high": None if cost.high is None else encode(cost.high, exact=exact),
        "measured": None if cost.measured is None else encode(cost.measured),
        "grades": grades,
    }

"""Pareto fronts over accuracy and costs, with their hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.table.table import NetworkTable
from space.indexing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Pareto front: the non-dominated networks, cheapest first by the first cost.

    `costs` are names of the table's. `hypervolume` is the share, 0 to 1, of the box between `ideal` and `reference` that the
    front dominates; both are (accuracy, *costs), the best and the worst values of all networks that were allowed.
    """

    costs: tuple[str, ...]
    indices: IndexArray
    ideal: tuple[float, ...]
    reference: tuple[float, ...]
    hypervolume: float


def pareto_front(table: NetworkTable, costs: Sequence[str], allowed: BoolArray) -> Front:
    """Return the Pareto front over accuracy, to be high, and costs, to be low, of the networks allowed that have all of them.

    Of networks that are equal in everything only the first in canonical order is kept. Hypervolume: Zitzler & Thiele 1998,
    by moocore. Raises: ConfigError when the table has no such cost.
    """
    import moocore

    costs = tuple(dict.fromkeys(costs))
    columns = [-table.accuracy.values, *(table.cost(name).values for name in costs)]
    known = np.flatnonzero(allowed & np.isfinite(np.stack(columns)).all(axis=0))
    points: FloatArray = np.column_stack([column[known] for column in columns])
    if not len(points):
        return Front(costs=costs, indices=known, ideal=(), reference=(), hypervolume=0.0)
    best, worst = points.min(axis=0), points.max(axis=0)
    kept = moocore.is_nondominated(points)
    indices, members = known[kept], points[kept]
    span = np.where(worst > best, worst - best, 1.0)
    unit = (members - best) / span  # the box becomes the unit cube
    volume = moocore.hypervolume(unit, ref=np.ones(len(columns))) if (worst > best).all() else 0.0
    order = np.lexsort((members[:, 0], *members.T[:0:-1])) if costs else np.arange(len(indices))
    return Front(
        costs=costs,
        indices=indices[order],
        ideal=(-float(best[0]), *best[1:].tolist()),
        reference=(-float(worst[0]), *worst[1:].tolist()),
        hypervolume=float(volume),
    )

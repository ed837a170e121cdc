"""List every choice of one block a stage whose sum is within a window of the best, without listing the others.

A choice that meets limits `rows @ x <= highest` costs, for any multipliers of 0 or more, at least
`bound + loss`: bound = sum over stages of min(objective + multipliers @ rows) - multipliers @ highest, and `loss` what its
blocks are above those minima (Lagrangian bound; Geoffrion 1974). So all choices of an objective up to `bound + gap` are
among those of a loss up to `gap`, which are few when the multipliers are those of the linear relaxation. Poor
multipliers make the list longer, never incomplete.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from space.indexing import FloatArray

MAX_LISTED = 2_000_000  # choices listed at once: some 100 MB


class Relaxation:
    """A program's linear relaxation: minimize `objective` (stages, B) under `rows` (m, stages, B) @ x <= `highest` (m,)."""

    def __init__(self, objective: FloatArray, rows: FloatArray, highest: FloatArray) -> None:
        self._rows, self._highest = rows, highest
        multipliers = _multipliers(objective, rows, highest)
        reduced = objective + np.tensordot(multipliers, rows, axes=1)
        least = reduced.min(axis=1)
        self.bound = float(least.sum() - multipliers @ highest)
        self.widest = float((reduced - least[:, None]).max(axis=1).sum())  # no choice loses more
        self._losses = reduced - least[:, None]

    def within(self, gap: float) -> NDArray[np.int16] | None:
        """Return all choices that lose up to `gap` and meet the limits, (n, stages); None for more than `MAX_LISTED`."""
        stages = len(self._losses)
        # Rounding may admit a choice just beyond a limit, but exclude none.
        slip = 1e-9 * (1.0 + abs(self._highest))
        # (m, stages): the least from a stage on.
        rest = self._rows.min(axis=2)[:, ::-1].cumsum(axis=1)[:, ::-1]
        blocks = np.zeros((1, 0), dtype=np.int16)
        lost, totals = np.zeros(1), np.zeros((len(self._rows), 1))
        for stage in range(stages):
            order = np.argsort(self._losses[stage], kind="stable")
            sorted_losses = self._losses[stage][order]
            counts = np.searchsorted(sorted_losses, gap - lost, side="right")
            if counts.sum() > MAX_LISTED:
                return None
            parents = np.repeat(np.arange(len(lost)), counts)
            ranks = np.arange(len(parents)) - np.repeat(counts.cumsum() - counts, counts)
            chosen = order[ranks]
            totals = totals[:, parents] + self._rows[:, stage][:, chosen]  # (m, n)
            later = rest[:, stage + 1] if stage + 1 < stages else np.zeros(len(rest))
            fits = (totals + later[:, None] <= (self._highest + slip)[:, None]).all(axis=0)
            parents, chosen, totals = parents[fits], chosen[fits], totals[:, fits]
            lost = lost[parents] + sorted_losses[ranks[fits]]
            blocks = np.column_stack([blocks[parents], chosen.astype(np.int16)])
        return blocks


def _multipliers(objective: FloatArray, rows: FloatArray, highest: FloatArray) -> FloatArray:
    """Return the limits' multipliers (m,) in the linear relaxation; 0, which is valid too, where it could not be solved."""
    if not len(rows):
        return np.zeros(0)
    from scipy.optimize import linprog

    stages, count = objective.shape
    result = linprog(
        objective.ravel(),
        A_ub=rows.reshape(len(rows), -1),
        b_ub=highest,
        A_eq=np.kron(np.eye(stages), np.ones(count)),
        b_eq=np.ones(stages),
        bounds=(0, 1),
        method="highs",
    )
    if result.status != 0:
        return np.zeros(len(rows))
    multipliers: FloatArray = np.maximum(0.0, -result.ineqlin.marginals)
    return multipliers

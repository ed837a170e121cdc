"""The best choice of one block a stage by HiGHS (`scipy.optimize.milp`), and the next ones by cutting off those found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError
from search.latency.features import FloatArray

Blocks = tuple[int, ...]  # the block of each stage, first stage first

# Objective and rows are scaled to this width. HiGHS stops within 1e-6 of the best and lets rows be broken by as much.
WIDTH = 1e3
WHOLE = 1e-3  # how far from 0 and 1 the solver's values may be; HiGHS promises 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """Minimise the sum of `objective` (stages, B) under `rows` (m, stages, B), whose sums are at most `highest` (m,)."""

    objective: FloatArray
    rows: FloatArray
    highest: FloatArray

    def cost(self, blocks: Blocks) -> float:
        """Return a choice's objective."""
        return float(self.objective[np.arange(len(blocks)), list(blocks)].sum())


def by_cuts(
    scaled: Scaled,
    broken: Callable[[Blocks], FloatArray | None],
    excluded: Sequence[Blocks],
    time_limit_s: float,
) -> Iterator[Blocks]:
    """Yield choices, best first, each by a programme of its own in which those before are cut off, until there are no more.

    `broken` returns a cut (stages, B), of which fewer than all stages may be taken, for a choice that only met the limits by
    the solver's tolerance, and None for one that meets them. After tens of cuts HiGHS may write lines of its own to stdout.

    Raises:
        HarnessError: a programme was not solved, or not in time.
    """
    shape = scaled.objective.shape
    cuts = [_at(shape, blocks) for blocks in excluded]
    left_s = time_limit_s
    while True:
        begin = time.perf_counter()
        blocks = _solved(scaled, cuts, left_s)
        left_s -= time.perf_counter() - begin
        if blocks is None:
            return
        cut = broken(blocks)
        cuts.append(_at(shape, blocks) if cut is None else cut)
        if cut is None:
            yield blocks


def _solved(scaled: Scaled, cuts: Sequence[FloatArray], left_s: float) -> Blocks | None:
    """Return the best choice that no cut excludes, or None when there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    stages, count = scaled.objective.shape
    constraints = [LinearConstraint(np.kron(np.eye(stages), np.ones(count)), 1, 1)]  # one block a stage
    if len(scaled.rows):
        constraints.append(
            LinearConstraint(scaled.rows.reshape(len(scaled.rows), -1), -np.inf, scaled.highest)
        )
    if cuts:
        constraints.append(LinearConstraint(np.reshape(cuts, (len(cuts), -1)), -np.inf, stages - 1))
    # Presolve may find "unbounded or infeasible", which scipy tells as status 4; without it the solver finds out which.
    for presolve in (True, False):
        if left_s <= 0:
            raise HarnessError("the integer programme was not solved in time; allow it more")
        result = milp(
            scaled.objective.ravel(),
            integrality=np.ones(scaled.objective.size),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"time_limit": left_s, "mip_rel_gap": 0.0, "presolve": presolve},
        )
        if result.status != 4:
            break
    if result.status == 2:
        return None
    if result.status != 0:
        raise HarnessError(f"the integer programme was not solved: {result.message}; allow it more time")
    chosen = np.reshape(result.x, (stages, count))
    blocks = chosen.argmax(axis=1)
    if abs(chosen - np.eye(count)[blocks]).max() > WHOLE:
        raise HarnessError("the integer programme was not solved: the solver chose parts of blocks")
    return tuple(blocks.tolist())


def _at(shape: tuple[int, ...], blocks: Blocks) -> FloatArray:
    cut = np.zeros(shape)
    cut[np.arange(shape[0]), list(blocks)] = 1.0
    return cut

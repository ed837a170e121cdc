"""The best choice of one block a stage by HiGHS (`scipy.optimize.milp`), and the next ones by cutting off those found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from space.errors import HarnessError
from space.indexing import FloatArray

Blocks = tuple[int, ...]  # the block of each stage, first stage first

# Objective and rows are scaled to this width. HiGHS stops within 1e-6 of the best and lets rows be broken by as much.
WIDTH = 1e3
TIME_LIMIT_S = 60.0  # of the solver, for all programs of a search together
WHOLE = 1e-3  # how far from 0 and 1 the solver's values may be; HiGHS promises 1e-6
_REMEDY = "give fewer limits, or looser ones"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """Minimize the sum of `objective` (stages, B) under `rows` (m, stages, B), whose sums are at most `highest` (m,)."""

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
) -> Iterator[Blocks]:
    """Yield choices, best first, each by a program of its own that excludes those before, until there are no more.

    `broken` returns a cut (stages, B), of which fewer than all stages may be taken, for a choice that only met the limits by
    the solver's tolerance, and None for one that meets them. After tens of cuts HiGHS may write lines of its own to stdout.

    Raises:
        HarnessError: a program was not solved, or not in time.
    """
    shape = scaled.objective.shape
    cuts = [ones_at(shape, blocks) for blocks in excluded]
    left_s = TIME_LIMIT_S
    while True:
        begin = time.perf_counter()
        blocks = _solved(scaled, cuts, left_s)
        left_s -= time.perf_counter() - begin
        if blocks is None:
            return
        cut = broken(blocks)
        cuts.append(ones_at(shape, blocks) if cut is None else cut)
        if cut is None:
            yield blocks


def ones_at(shape: tuple[int, ...], blocks: Blocks) -> FloatArray:
    """Return 1 at a choice's blocks and 0 elsewhere, (stages, B): its sum counts the blocks in common."""
    found = np.zeros(shape)
    found[np.arange(shape[0]), list(blocks)] = 1.0
    return found


def least_choice(
    objective: FloatArray,
    rows: FloatArray,
    highest: FloatArray,
    shape: tuple[int, ...],
    what: str,
    left_s: float = TIME_LIMIT_S,
) -> Blocks | None:
    """Return the choice of one block a stage that makes `objective` (n,) least under `rows` (m, n), or None when there is none.

    The first stages * B of the n variables are the choice, of `shape` (stages, B); the others are any numbers.

    Raises:
        HarnessError: `what` was not found, or not in time.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    stages, count = shape
    free = objective.size - stages * count
    one_each = np.hstack([np.kron(np.eye(stages), np.ones(count)), np.zeros((stages, free))])
    constraints = [LinearConstraint(one_each, 1, 1)]
    if len(rows):
        constraints.append(LinearConstraint(rows, -np.inf, highest))
    is_choice = np.arange(objective.size) < stages * count
    # Presolve may end with "unbounded or infeasible", scipy's status 4; without presolve the solver decides which.
    for presolve in (True, False):
        if left_s <= 0:
            raise HarnessError(f"{what} was not found in {TIME_LIMIT_S:g} s; {_REMEDY}")
        result = milp(
            objective,
            integrality=is_choice.astype(float),
            bounds=Bounds(np.where(is_choice, 0.0, -np.inf), np.where(is_choice, 1.0, np.inf)),
            constraints=constraints,
            options={"time_limit": left_s, "mip_rel_gap": 0.0, "presolve": presolve},
        )
        if result.status != 4:
            break
    if result.status == 2:
        return None
    if result.status != 0:
        raise HarnessError(f"{what} was not found: {result.message}; {_REMEDY}")
    chosen = np.reshape(result.x[is_choice], shape)
    blocks = chosen.argmax(axis=1)
    if abs(chosen - np.eye(count)[blocks]).max() > WHOLE:
        raise HarnessError(f"{what} was not found: the solver chose parts of blocks")
    return tuple(blocks.tolist())


def _solved(scaled: Scaled, cuts: Sequence[FloatArray], left_s: float) -> Blocks | None:
    """Return the best choice that no cut excludes, or None when there is none."""
    shape = scaled.objective.shape
    rows = np.reshape([*scaled.rows, *cuts], (-1, scaled.objective.size))
    highest = np.append(scaled.highest, np.full(len(cuts), shape[0] - 1.0))
    return least_choice(
        scaled.objective.ravel(), rows, highest, shape, "the integer program's best choice", left_s
    )

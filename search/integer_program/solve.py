"""Choose one block for each stage by an integer program: the best sum of scores under limits on sums of costs.

Where scores and costs are sums over the stages no network has to be listed: 8 stages of 45 blocks are 1.7e13 networks, and the
best one takes a fraction of a second. The solver, HiGHS, finds the best. A list of all choices near the best
(`search.integer_program.window`) gives the next ones, as LANA collects its candidates (Molchanov et al. 2021, arXiv:2107.10624),
and proves that no better one was missed. Where too many are equally near, the solver excludes those found and continues
(`search.integer_program.solver`). HiGHS computes with tolerances; correctly rounded sums decide here whether a choice meets the
limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from search.integer_program.solver import WIDTH, Blocks, Scaled, by_cuts
from search.integer_program.window import Relaxation
from search.latency.block_features import stage_effects
from space import SpaceConfig
from space.errors import HarnessError
from space.indexing import FloatArray, available, block_indices

TIE = 1e-8  # as a share of the widest stage's scores: sums that differ by less are equal to the solver
STEPS = (0.25, 0.05, 0.01, 0.002)  # by how much of itself the window is widened: the first that can be listed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limit:
    """Limit on a sum of costs, `constant` and one for each stage,: from `lower` to `upper`, both included.

    `costs`, (stages, B), may be of any unit and size; whole numbers are summed exactly up to 2**53.
    """

    name: str
    costs: FloatArray
    constant: float = 0.0
    upper: float = math.inf
    lower: float = -math.inf

    def __post_init__(self) -> None:
        if not (np.isfinite(self.costs).all() and math.isfinite(self.constant)):
            raise ValueError(f"limit {self.name}: a cost is not finite")
        if math.isnan(self.upper) or math.isnan(self.lower):
            raise ValueError(f"limit {self.name}: {self.lower} to {self.upper} is no range")

    def total(self, blocks: Sequence[int]) -> float:
        """Return the correctly rounded sum for one block a stage."""
        return fsum_of(self.costs, blocks, self.constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A choice: the block of each stage, first stage first, the sum of their scores, and the sum under each limit."""

    blocks: Blocks
    score: float
    totals: tuple[float, ...] = ()


def solve(
    scores: FloatArray,
    limits: Sequence[Limit] = (),
    count: int = 1,
    *,
    excluded: Sequence[Sequence[int]] = (),
) -> list[Solution]:
    """Return the `count` choices with the highest sums of scores (stages, B) within the limits, best first.

    There are fewer where fewer meet the limits. Sums that differ by less than `TIE` of the widest stage's scores count as equal;
    of equal ones any comes first, but the same one in every call. `excluded` choices, one block a stage each, are not returned.

    Raises:
        HarnessError: the solver did not prove its answer, or not in time; nothing is then known.
    """
    return list(islice(in_order(scores, limits, excluded=excluded), count))


def in_order(
    scores: FloatArray,
    limits: Sequence[Limit] = (),
    *,
    excluded: Sequence[Sequence[int]] = (),
) -> Iterator[Solution]:
    """Yield the choices of `solve` one by one, computed on demand."""
    if scores.ndim != 2 or any(limit.costs.shape != scores.shape for limit in limits):
        shapes = ", ".join(str(limit.costs.shape) for limit in limits)
        raise ValueError(f"scores of {scores.shape} and costs of {shapes}: give one (stages, B) to all")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    scaled = _scaled(scores, limits)
    if scaled is None:
        return
    seen = {tuple(map(int, blocks)) for blocks in excluded}
    before = math.inf
    for blocks in _candidates(scaled, limits, seen):
        score = fsum_of(scores, blocks)
        if score > before + TIE * float(np.ptp(scores, axis=1).max()):
            raise HarnessError(
                f"the solver passed over a choice of score {score:.9g} for one of {before:.9g}: its order "
                "cannot be trusted; bring the scores of the stages nearer to one size"
            )
        before = min(before, score)
        yield Solution(blocks=blocks, score=score, totals=tuple(limit.total(blocks) for limit in limits))


def choice_limits(config: SpaceConfig) -> list[Limit]:
    """Return the limit that excludes blocks which a stage does not have; none where all stages have all blocks."""
    is_absent = ~available(config)
    if not is_absent.any():
        return []
    return [Limit(name="blocks of each choice", costs=is_absent.astype(np.float64), upper=0.0)]


def additive_part(config: SpaceConfig, values: FloatArray) -> tuple[FloatArray, float]:
    """Return the least-squares additive part of a space's values, (len(config),): effects (stages, B) and a constant.

    NaN marks networks of unknown value. A block that only these have gets an effect of 0, or nearly.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise ValueError("no value is known")
    if len(known) == len(values):
        return stage_effects(config, values), float(values.mean())
    from scipy.sparse import csr_array

    count = len(config.blocks)
    columns = block_indices(config, known) + count * np.arange(config.stages)  # (n, stages)
    places = np.arange(0, columns.size + 1, config.stages)
    ones = csr_array(
        (np.ones(columns.size), columns.ravel(), places), shape=(len(known), count * config.stages)
    )
    constant = float(values[known].mean())
    # A constant may move from stage to stage; of the many solutions lstsq takes the smallest.
    effects = np.linalg.lstsq((ones.T @ ones).toarray(), ones.T @ (values[known] - constant), rcond=None)[0]
    return effects.reshape(config.stages, count), constant


def _scaled(scores: FloatArray, limits: Sequence[Limit]) -> Scaled | None:
    """Return the program in the solver's terms without limits that hold anyway; None when a limit cannot be met."""
    rows, highest = [], []
    for limit in limits:
        for sign, bound in ((1, limit.upper), (-1, -limit.lower)):
            costs, constant = sign * limit.costs, sign * limit.constant
            least, most = costs.min(axis=1), costs.max(axis=1)
            cheapest, most_expensive = math.fsum([constant, *least]), math.fsum([constant, *most])
            if cheapest > bound:
                return None
            if most_expensive <= bound:
                continue
            # Each stage's cheapest block counts 0, for large constants would lose precision. Rounding must not exclude a
            # choice that is just allowed; `_broken` finds those that it wrongly admits.
            scale = WIDTH / float((most - least).max())
            slip = 2 * math.ulp(max(abs(cheapest), abs(most_expensive)))
            rows.append(scale * (costs - least[:, None]))
            highest.append(scale * math.fsum([bound, slip, -constant, *-least]))
    spread = float(np.ptp(scores, axis=1).max())
    return Scaled(
        objective=(scores.max(axis=1, keepdims=True) - scores) * (WIDTH / spread if spread > 0 else 0.0),
        rows=np.reshape(rows, (len(rows), *scores.shape)),
        highest=np.array(highest),
    )


def _candidates(scaled: Scaled, limits: Sequence[Limit], seen: set[Blocks]) -> Iterator[Blocks]:
    """Yield choices that meet the limits and are not in `seen`, best first, and add them to `seen`."""

    def broken(blocks: Blocks) -> FloatArray | None:
        return _broken(limits, blocks)

    first = next(by_cuts(scaled, broken, ()), None)
    if first is None:
        return
    relaxation = Relaxation(scaled.objective, scaled.rows, scaled.highest)
    gap = max(0.0, scaled.cost(first) - relaxation.bound) * (1 + 1e-9) + 1e-9 * WIDTH
    steps: tuple[float, ...] = (0.0,)
    while True:
        for step in steps:
            wider = gap + step * (gap + 0.04 * WIDTH)
            listed = relaxation.within(wider)
            if listed is not None:
                break
        else:
            break
        gap, steps = wider, STEPS
        costs = scaled.objective[np.arange(listed.shape[1]), listed].sum(axis=1)
        near = costs <= relaxation.bound + gap  # of those beyond, some are not in the list
        order = np.lexsort((*listed.T, np.where(near, costs, np.inf)))[: near.sum()]
        for row in listed[order].tolist():
            blocks = tuple(row)
            if blocks not in seen and broken(blocks) is None:
                seen.add(blocks)
                yield blocks
        if gap >= relaxation.widest and near.all():
            return
    yield from by_cuts(scaled, broken, sorted(seen))


def _broken(limits: Sequence[Limit], blocks: Sequence[int]) -> FloatArray | None:
    """Return a cut, (stages, B), against a choice that breaks a limit, or None.

    A choice that costs no less in any stage breaks the upper limit as well, so all of those are cut off at once.
    """
    for limit in limits:
        total, own = limit.total(blocks), np.array(_picked(limit.costs, blocks))[:, None]
        if total > limit.upper:
            return (limit.costs >= own).astype(np.float64)
        if total < limit.lower:
            return (limit.costs <= own).astype(np.float64)
    return None


def _picked(table: FloatArray, blocks: Sequence[int]) -> list[float]:
    return [float(row[block]) for row, block in zip(table, blocks, strict=True)]


def fsum_of(table: FloatArray, blocks: Sequence[int], constant: float = 0.0) -> float:
    """Return the correctly rounded sum of a constant and one number a stage of a table (stages, B)."""
    return math.fsum([constant, *_picked(table, blocks)])

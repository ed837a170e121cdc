"""Finalists: the K networks of the best predictions that are within the limits and not all alike.

Networks next to each other in a ranking often differ in one block only, and what a predictor gets wrong of the one it
gets wrong of the other. So finalists are chosen by one greedy rule, with a distance D: each is the best network whose blocks
differ in at least D stages from every finalist before it. Where no such network is left and finalists are still
wanted, D is lowered by one and the rule goes on, down to 1, at which any other network will do. LANA (Molchanov et al. 2021,
arXiv:2107.10624) collects about 100 solutions of its integer programme in this way, each limited in what it has in common with
those before.

`from_scores` looks at every network of a space that can be enumerated, `from_programme` at none: there a finalist is one
integer programme, in which "at least D stages away from that one" is a limit on a sum like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.latency.features import FloatArray, IndexArray, block_digits
from search.programme import Limit, Solution, solve
from search.table import BoolArray
from space import SpaceConfig

DISTANCE = 2  # stages: in a space of three, at most one block is shared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finalists:
    """Networks in the order in which they were chosen.

    `digits`, int64 (K, stages), are their blocks by number; `scores`, float64 (K,), what they were chosen by, higher is better;
    `distances`, int64 (K,), the distance that held when each was chosen, so that they never rise.
    """

    digits: IndexArray
    scores: FloatArray
    distances: IndexArray

    def __len__(self) -> int:
        return len(self.digits)

    def indices(self, config: SpaceConfig) -> list[int]:
        """Return the networks' canonical indices as whole numbers of any size."""
        count = len(config.blocks)
        places = [count**stage for stage in range(config.stages)]
        return [
            sum(place * digit for place, digit in zip(places, row, strict=True))
            for row in self.digits.tolist()
        ]


def from_scores(
    config: SpaceConfig, scores: FloatArray, allowed: BoolArray, count: int, *, distance: int = DISTANCE
) -> Finalists:
    """Choose up to `count` networks by their scores (len(config),), higher first, among those allowed (len(config),).

    Networks whose score is NaN are not chosen. Of equal scores the earlier network in canonical order comes first.
    Fewer come back only where fewer are allowed. A distance beyond the number of stages is taken as that number.

    Raises:
        ValueError: the arrays are not of the space, or count or distance is below 1.
    """
    if scores.shape != (len(config),) or allowed.shape != scores.shape:
        raise ValueError(f"scores {scores.shape}, allowed {allowed.shape}: give one a network, {len(config)}")
    reach = _checked(config, count, distance)
    candidates = np.flatnonzero(allowed & ~np.isnan(scores))
    left = candidates[np.argsort(-scores[candidates], kind="stable")]
    digits = block_digits(config, left)
    chosen: list[int] = []  # places in `left`
    distances: list[int] = []
    nearest = np.full(len(left), config.stages, dtype=np.int64)  # stages, to the nearest finalist so far
    while len(chosen) < count and reach:
        free = np.flatnonzero(nearest >= reach)
        if not len(free):
            reach -= 1
            continue
        best = int(free[0])
        chosen.append(best)
        distances.append(reach)
        nearest = np.minimum(nearest, (digits != digits[best]).sum(axis=1))
    return Finalists(
        digits=digits[chosen], scores=scores[left[chosen]], distances=np.array(distances, dtype=np.int64)
    )


def from_programme(
    effects: FloatArray,
    limits: Sequence[Limit],
    count: int,
    *,
    distance: int = DISTANCE,
    time_limit_s: float = 60.0,
) -> Finalists:
    """Choose up to `count` networks by sums of `effects` (stages, B) within limits, by one programme each.

    Of sums that the solver holds equal (`search.programme.TIE`) any comes first, and the same one in every call. `time_limit_s`
    is for each programme.

    Raises:
        ValueError: as `solve`, or count or distance is below 1.
        HarnessError: a programme was not solved, or not in time.
    """
    stages = len(effects)
    if count < 1 or distance < 1:
        raise ValueError(f"{count} finalists at distance {distance}: give at least 1 of each")
    reach = min(distance, stages)
    found: list[Solution] = []
    distances: list[int] = []
    while len(found) < count and reach:
        apart = [
            Limit(name=f"overlap with {s.blocks}", costs=_at(effects.shape, s), upper=stages - reach)
            for s in found
        ]
        best = solve(effects, [*limits, *apart], 1, time_limit_s=time_limit_s)
        if not best:
            reach -= 1
            continue
        found += best
        distances.append(reach)
    return Finalists(
        digits=np.array([s.blocks for s in found], dtype=np.int64).reshape(-1, stages),
        scores=np.array([s.score for s in found], dtype=np.float64),
        distances=np.array(distances, dtype=np.int64),
    )


def _checked(config: SpaceConfig, count: int, distance: int) -> int:
    """Return the distance to begin with."""
    if count < 1 or distance < 1:
        raise ValueError(f"{count} finalists at distance {distance}: give at least 1 of each")
    return min(distance, config.stages)


def _at(shape: tuple[int, ...], solution: Solution) -> FloatArray:
    """Return 1 at the solution's blocks and 0 elsewhere, (stages, B): its sum counts the blocks in common."""
    costs = np.zeros(shape)
    costs[np.arange(shape[0]), list(solution.blocks)] = 1.0
    return costs

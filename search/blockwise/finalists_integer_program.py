"""Finalists in a space too large to enumerate: those of `finalists.from_scores`, by integer programs over sums.

One program yields networks best first (`solve.in_order`), and the greedy rule takes from them. That is quick while few networks
lie between two finalists: for D of 2 at most some hundreds lie within D - 1 stages of one. Where there are too many, each
finalist has a program of its own, in which "at least D stages from that one" is another limit on a sum. Networks with costs
besides sums, such as a measured latency, are checked one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from search.blockwise.defaults import DISTANCE
from search.blockwise.finalists import Finalists, from_list
from search.integer_program.solve import Limit, Solution, fsum_of, in_order, solve
from search.integer_program.solver import Blocks, ones_at
from space.indexing import BoolArray, FloatArray, IndexArray

# Networks looked at, best first, before each finalist has a program of its own.
WALKS = (300, 3_000, 30_000)


def from_integer_program(
    effects: FloatArray,
    limits: Sequence[Limit],
    count: int,
    *,
    distance: int = DISTANCE,
    listed: IndexArray | None = None,
    allowed: BoolArray | None = None,
) -> Finalists:
    """Choose up to `count` networks by sums of `effects` (stages, B) within limits.

    Networks with the blocks `listed` (n, stages) are exempt from the limits: those `allowed` (n,) may be chosen, by the same
    sums. Of sums that the solver takes as equal (`solve.TIE`) any comes first, but the same one in every call.

    Raises:
        ValueError: as `solve`, or count or distance is below 1.
        HarnessError: a program was not solved, or not in time.
    """
    known = [] if listed is None else [tuple(row) for row in listed.tolist()]
    apart = [
        Solution(blocks=row, score=fsum_of(effects, row))
        for place, row in enumerate(known)
        if allowed is None or allowed[place]
    ]
    reach = max(1, min(distance, len(effects)))
    order = in_order(effects, limits, excluded=known)
    walked: list[Solution] = []
    found = from_list(np.zeros((0, len(effects)), dtype=np.int64), np.zeros(0), count, distance=distance)
    # Where all sums are equal, none comes first: a walk would go on from one cut to the next.
    walks = (count, *(most for most in WALKS if most > count)) if np.ptp(effects, axis=1).any() else ()
    for most in walks:
        walked += islice(order, most - len(walked))
        is_all = len(walked) < most
        # Networks behind the last one visited may not be taken yet.
        some = [*walked, *(one for one in apart if is_all or one.score >= walked[-1].score)]
        found = from_list(
            np.array([one.blocks for one in some], dtype=np.int64).reshape(-1, len(effects)),
            np.array([one.score for one in some]),
            count,
            distance=distance,
            least=1 if is_all else reach,
        )
        if is_all or len(found) == count:
            return found
    return _one_by_one(effects, limits, count, reach, found, apart, known)


def _one_by_one(
    effects: FloatArray,
    limits: Sequence[Limit],
    count: int,
    reach: int,
    begun: Finalists,
    apart: Sequence[Solution],
    known: Sequence[Blocks],
) -> Finalists:
    """Continue from finalists at distance `reach`, each by a program of its own."""
    stages = len(effects)
    free = sorted(apart, key=lambda one: -one.score)
    found = [tuple(row) for row in begun.choices.tolist()]
    scores, distances = begun.scores.tolist(), begun.distances.tolist()
    while len(found) < count and reach:
        away = [
            Limit(name=f"overlap with {blocks}", costs=ones_at(effects.shape, blocks), upper=stages - reach)
            for blocks in found
        ]
        best = [one for one in free if _is_away(one.blocks, found, reach)][:1]
        best += solve(effects, [*limits, *away], 1, excluded=known)
        if not best:
            reach -= 1
            continue
        chosen = max(best, key=lambda one: one.score)
        found.append(chosen.blocks)
        scores.append(chosen.score)
        distances.append(reach)
    return Finalists(
        choices=np.array(found, dtype=np.int64).reshape(-1, stages),
        scores=np.array(scores, dtype=np.float64),
        distances=np.array(distances, dtype=np.int64),
    )


def _is_away(blocks: Blocks, found: Sequence[Blocks], reach: int) -> bool:
    return all(sum(a != b for a, b in zip(blocks, other, strict=True)) >= reach for other in found)

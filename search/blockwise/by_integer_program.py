"""Choose finalists in a space too large to enumerate, by an integer program over additive scores and costs.

    finalists = choose(config, scores, costs, constraints, 20)
    finalists = ranked(config, choose(..., POOL), fitted.predict, 20)     # where predictions are no sums

Scores are sums over blocks, as `sum` and `linear` predict them; others rank a pool of diverse networks that a sum chose, as in
LANA (Molchanov et al. 2021, arXiv:2107.10624, about 100 solutions of its integer program).

One program yields networks best first (`solve.in_order`), and the greedy rule of `finalists` takes from them. That is quick while
few networks lie between two finalists: for D of 2 at most some hundreds lie within D - 1 stages of one. Where there are too many,
each finalist has a program of its own, in which "at least D stages from that one" is another limit on a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import isnan

import numpy as np

from search.blockwise.defaults import DISTANCE
from search.blockwise.finalists import Finalists, from_list
from search.blockwise.search import none_within
from search.integer_program.nearest import nearest_choice
from search.integer_program.solve import Limit, Solution, fsum_of, in_order, solve
from search.integer_program.solver import Blocks, ones_at
from search.table.answers import Nearest, miss_of
from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts, decisive, limits_on, meets
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import BoolArray, FloatArray, IndexArray, block_indices, blocks_of, index_of

WIDER = 4  # factor by which more names are searched where too many are of the same network, or not allowed
MOST_LOOKED_AT = 2_000
# Networks looked at, best first, before each finalist has a program of its own.
WALKS = (300, 3_000, 30_000)


def choose(
    config: SpaceConfig,
    scores: FloatArray,
    costs: Mapping[str, AdditiveCosts],
    constraints: Sequence[Constraint],
    count: int,
    *,
    distance: int = DISTANCE,
    confident: bool = False,
    distinct: bool = False,
) -> Finalists:
    """Choose up to `count` networks as `within` does; if `distinct`, each by one of its names alone: see `network_key`.

    Raises: ConfigError when no network is within the limits, with the nearest one and its costs; or as `within`.
    """
    looked_at = count
    while True:
        found = within(config, scores, costs, constraints, looked_at, distance=distance, confident=confident)
        if not len(found):
            kept = _kept(np.isfinite(scores))
            closest = nearest(config, costs, constraints, kept=kept, confident=confident)
            raise ConfigError(none_within(config, constraints, closest, confident=confident))
        if not distinct:
            return found
        once = found.each_once(config)
        if len(once) >= count or len(found) < looked_at or looked_at >= MOST_LOOKED_AT:
            return once.at(range(min(count, len(once))))
        looked_at = min(WIDER * looked_at, MOST_LOOKED_AT)


def within(
    config: SpaceConfig,
    scores: FloatArray,
    costs: Mapping[str, AdditiveCosts],
    constraints: Sequence[Constraint],
    count: int,
    *,
    distance: int = DISTANCE,
    confident: bool = False,
) -> Finalists:
    """Choose up to `count` networks by sums of scores (stages, B), higher first, NaN where a block is not to be chosen.

    A network's measured cost, under any of its names, replaces its sum: a network measured beyond a limit is not chosen. One
    measured within the limits is chosen by the name it was measured by, and by other names whose sums are within. One that failed
    in any respect is not chosen.
    `confident`: far ends of intervals meet limits. Raises: ConfigError as `limits_on`, or for a stage without a score.
    """
    limits = limits_of(costs, constraints, confident=confident)
    is_open = np.isfinite(scores)
    if not is_open.any(axis=1).all():
        stage = int(np.argmin(is_open.any(axis=1)))
        raise ConfigError(
            f"no block of stage {stage} of space {config.name!r} has a score; distill and score the blocks of that stage"
        )
    lowest = np.nanmin(np.where(is_open, scores, np.nan), axis=1, keepdims=True)
    filled = np.where(is_open, scores, lowest)  # any number: a limit keeps these blocks out
    known = measured(config, costs, constraints)
    beyond: list[int] = []

    def is_within(index: int) -> bool:
        return not _has_failed(costs, index) and all(
            meets(costs[c.subject].at(index), c, confident=confident) for c in constraints
        )

    while True:
        listed = block_indices(config, [*known, *beyond])
        may = [
            is_open[np.arange(config.stages), row].all() and is_within(index)
            for index, row in zip([*known, *beyond], listed, strict=True)
        ]
        found = from_integer_program(
            filled,
            [*limits, *_kept(is_open)],
            count,
            distance=distance,
            listed=listed,
            allowed=np.array(may, dtype=np.bool_),
        )
        # A sum may be within the limits where the same network was measured beyond them by another name.
        broken = [index for index in found.indices(config) if not is_within(index)]
        if not broken:
            return found
        beyond += broken


def _kept(is_open: BoolArray) -> list[Limit]:
    """Return the limit that excludes blocks which are not open (stages, B)."""
    return (
        []
        if is_open.all()
        else [Limit(name="blocks without a score", costs=(~is_open).astype(np.float64), upper=0.0)]
    )


def ranked(
    config: SpaceConfig,
    pool: Finalists,
    predict: Callable[[IndexArray], FloatArray],
    count: int,
    *,
    distance: int = DISTANCE,
) -> Finalists:
    """Choose up to `count` networks of a pool by their predictions, each by the name of its best."""
    values = predict(np.array(pool.indices(config), dtype=np.int64))
    best = pool.at(np.argsort(-values, kind="stable").tolist()).each_once(config)
    values = predict(np.array(best.indices(config), dtype=np.int64))
    return from_list(best.choices, values, count, distance=distance)


def limits_of(
    costs: Mapping[str, AdditiveCosts], constraints: Sequence[Constraint], *, confident: bool
) -> list[Limit]:
    """Return constraints as limits on sums; see `search.table.costs.limits_on`."""
    return [limit for one in constraints for limit in limits_on(costs[one.subject], one, confident=confident)]


def measured(
    config: SpaceConfig, costs: Mapping[str, AdditiveCosts], constraints: Sequence[Constraint]
) -> list[int]:
    """Return the networks with a measured cost in any constraint, and those that failed in any respect, in canonical order."""
    failed = {index for one in costs.values() for index, amount in one.known.items() if isnan(amount.value)}
    return sorted(failed | {index for one in constraints for index in costs[one.subject].known})


def nearest(
    config: SpaceConfig,
    costs: Mapping[str, AdditiveCosts],
    constraints: Sequence[Constraint],
    *,
    kept: Sequence[Limit] = (),
    confident: bool = False,
) -> Nearest | None:
    """Return the network whose worst excess over any limit is smallest; None where no network has all costs known."""
    if not constraints:
        return None
    known = measured(config, costs, constraints)
    choices = {index: blocks_of(config, index) for index in known}
    limits = limits_of(costs, constraints, confident=confident)
    while (found := nearest_choice(limits, kept=kept, excluded=frozenset(choices.values()))) is not None:
        index = index_of(config, found)
        if not (
            _has_failed(costs, index) or any(costs[c.subject].at(index).is_measured for c in constraints)
        ):
            break
        known.append(index)  # by another name it failed, or was measured to take something else than its sum
        choices[index] = found
    rest = [
        index for index in known if all(one.lower <= one.total(choices[index]) <= one.upper for one in kept)
    ]
    best: Nearest | None = None
    for index in [*([] if found is None else [index_of(config, found)]), *rest]:
        values = [decisive(costs[one.subject].at(index), one, confident=confident) for one in constraints]
        miss = miss_of(index, values, constraints)
        is_known = np.isfinite(values).all() and not _has_failed(costs, index)
        if is_known and (best is None or miss.worst < best.worst):
            best = miss
    return best


def _has_failed(costs: Mapping[str, AdditiveCosts], index: int) -> bool:
    return any(isnan(one.at(index).value) for one in costs.values())


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

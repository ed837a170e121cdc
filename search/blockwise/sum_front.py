"""Pareto fronts over a sum and a cost in spaces of any size: by integer programs with one limit on the cost after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts, BlockSums
from space.indexing import FloatArray, blocks_of

FRONT_POINTS = 20  # of a front at most: each is an integer program or two
BY_PROGRAMS = "integer programs"  # the origin of such a front, in documents
CAP, GOAL = "cap", "objective"  # sums that only the programs of a front limit

# The network of the largest sum of scores (stages, B) within the search's limits and further ones, None where there is none.
# The further ones are on the costs given.
Best = Callable[[FloatArray, Mapping[str, AdditiveCosts], tuple[Constraint, ...]], int | None]


def sum_front(goal: BlockSums, priced: AdditiveCosts, first: int, best: Best) -> tuple[int, ...]:
    """Return networks of the largest `goal` at their cost, by their canonical indices, cheapest first.

    They are part of the Pareto front over the goal (high) and the cost (low). From the network of the largest goal down, each
    program limits the cost to a step below the last network's, which spreads them over the cost (the epsilon-constraint method:
    Haimes et al. 1971); further programs find the cheapest network of an equal goal. Costs are compared by their estimates.
    `first`: a network within the limits.
    """
    config = priced.config
    exact = {i: replace(one, low=one.value, high=one.value) for i, one in priced.known.items()}
    extra = {
        CAP: replace(priced, margin=0.0, known=exact),
        GOAL: AdditiveCosts(name=GOAL, unit="", title=GOAL, config=config, totals=(goal,)),
    }
    cheap: FloatArray = -np.sum([total.blocks for total in priced.totals], axis=0)

    def score(index: int) -> float:
        return goal.of(blocks_of(config, index))

    def value(index: int) -> float:
        return priced.at(index).value

    def at_most(limit: float) -> Constraint:
        return Constraint(subject=CAP, relation="<=", limit=limit, unit="")

    def cheapest(one: int, *limits: Constraint) -> int:
        """Return the cheapest network within limits, of which `one` is known."""
        further = limits
        while (less := best(cheap, extra, further)) is not None:
            # No network of larger sums takes less, and a maximum of sums is no less than their mean.
            bound = math.fsum(total.of(blocks_of(config, less)) for total in priced.totals) / len(
                priced.totals
            )
            one = min(one, less, key=value)
            if bound >= value(one) and not any(known.value < value(one) for known in exact.values()):
                break  # all others are of larger sums, and none was measured to take less
            further = (*limits, at_most(math.nextafter(value(one), -math.inf)))
        return one

    least = value(cheapest(first))
    found: list[int] = []
    step, below = 0.0, tuple[Constraint, ...]()
    while (top := best(goal.blocks, extra, below)) is not None:
        same = Constraint(subject=GOAL, relation=">=", limit=score(top), unit="")
        found.append(cheapest(top, same))
        taken = value(found[-1])
        if taken <= least:
            break
        step = step or (taken - least) / (FRONT_POINTS - 1)
        below = (at_most(max(least, min(taken - step, math.nextafter(taken, -math.inf)))),)
    cheaper = [*map(score, found[1:]), -math.inf]  # of the next network, which may have been measured
    return tuple(one for one, other in zip(found, cheaper, strict=True) if score(one) > other)[::-1]

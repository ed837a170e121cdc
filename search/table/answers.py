"""The most accurate networks within constraints, their ties, and the nearest miss where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.table.constraints import Constraint, allowed, amount_text, bound
from search.table.table import NetworkTable
from space import Architecture, SpaceConfig
from space.accuracies import Accuracies
from space.hash_table import is_first
from space.indexing import BoolArray, FloatArray, IndexArray
from space.statistics import student

COVERAGE = 0.95  # of an interval over seeds
_FAR = 10  # beyond a limit, as a share of it: told in times, not in percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintCounts:
    """Networks that meet, break or lack data for one constraint: `unknown` have no cost, or no interval where one is needed.

    Networks that are equal count once. `doubtful`: those whose interval contains the limit, counted among the others as well.
    """

    constraint: Constraint
    met: int
    broken: int
    unknown: int
    doubtful: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """Networks within the constraints: `ranked`, most accurate first, of equal ones the cheaper and then the earlier first.

    `without_accuracy` counts the space's networks that have none.
    """

    constraints: tuple[Constraint, ...]
    confident: bool
    ranked: IndexArray
    standings: tuple[ConstraintCounts, ...]
    without_accuracy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Violation of one constraint by a network whose cost, or its interval's far end, is `value` in the limit's unit."""

    constraint: Constraint
    value: float

    @property
    def excess(self) -> float:
        """Distance beyond the limit, as a share of it; 0 or less where it is met."""
        distance = self.value / self.constraint.limit - 1
        return distance if self.constraint.is_upper else -distance

    def __str__(self) -> str:
        """Return the cost and its distance beyond the limit: in percent, or in times where it is far."""
        limit = self.constraint
        amount, most = (amount_text(one, limit.unit, digits=4) for one in (self.value, limit.limit))
        if amount == most:  # to so few digits
            amount = amount_text(self.value, limit.unit)
        takes = f"{limit.subject} {amount}"
        if self.excess < _FAR:
            return f"{takes}, {self.excess:.1%} beyond {limit}"
        return f"{takes}, {self.value / limit.limit:,.0f} times {limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The network with the smallest worst violation; `violations` has one entry for each constraint that it breaks."""

    index: int
    violations: tuple[Violation, ...]

    @property
    def worst(self) -> float:
        """The largest excess over a limit; minus infinity where all are met."""
        return max((one.excess for one in self.violations), default=-np.inf)

    def text(self, config: SpaceConfig, about: str = "") -> str:
        """Return a clause with the network, a text `about` it, and its distance beyond each limit."""
        takes = " and ".join(map(str, self.violations))
        return f"the nearest is {Architecture.from_index(self.index, config)}{about}: it takes {takes}"


def answer(table: NetworkTable, constraints: Sequence[Constraint], *, confident: bool = False) -> Answer:
    """Return the networks within all constraints, most accurate first.

    Equal accuracies are ordered by the cost of the first constraint, then canonically.
    Raises: ConfigError when the table has no such cost.
    """
    mask = allowed(table, constraints, confident=confident)
    found = np.flatnonzero(mask)
    keys: list[FloatArray] = [-table.accuracy.values[found]]
    keys += [table.cost(c.subject).values[found] for c in constraints[:1]]
    ranked = found[np.lexsort(keys[::-1])]
    return Answer(
        constraints=tuple(constraints),
        confident=confident,
        ranked=ranked,
        standings=tuple(_standing(table, constraint, confident) for constraint in constraints),
        without_accuracy=int(np.isnan(table.accuracy.values).sum()),
    )


def seeds_factor(accuracies: Accuracies) -> float:
    """Return how many standard deviations hold 95 % of a mean over seeds: by Student's t where trainings told the scatter."""
    freedom = accuracies.seed_freedom
    return float(student(np.inf if freedom is None else freedom, COVERAGE))


def accuracy_reach(accuracies: Accuracies) -> FloatArray:
    """Return half of each network's 95 % interval over seeds, in percent, (networks,); 0 while their scatter is unknown."""
    if accuracies.seed_sd is None:
        return np.zeros(len(accuracies.values))
    return seeds_factor(accuracies) * accuracies.seed_sd / np.sqrt(np.maximum(accuracies.seed_counts, 1))


def by_estimate_alone(table: NetworkTable, found: Answer, network: int) -> list[Constraint]:
    """Return the constraints that a network meets by its estimates, while the far end of its interval does not."""
    place = slice(network, network + 1)
    return [
        one for one in found.constraints if not one.holds(bound(one, table.cost(one.subject), True)[place])[0]
    ]


def ties(accuracies: Accuracies, ranked: IndexArray) -> BoolArray:
    """Return which of the ranked networks tie with the first: their intervals over seeds overlap, or the values are equal."""
    if not len(ranked):
        return np.zeros(0, dtype=np.bool_)
    reach = accuracy_reach(accuracies)
    best = ranked[0]
    lowest = accuracies.values[best] - reach[best]
    return np.asarray(accuracies.values[ranked] + reach[ranked] >= lowest, dtype=np.bool_)


def nearest(
    table: NetworkTable, constraints: Sequence[Constraint], *, confident: bool = False
) -> Nearest | None:
    """Return the network with an accuracy whose worst excess over any limit is smallest; None where costs are unknown.

    Of equal ones the most accurate. Raises: ConfigError when the table has no such cost.
    """
    values = [bound(c, table.cost(c.subject), confident) for c in constraints]
    with np.errstate(invalid="ignore"):
        excess = [
            (value / c.limit - 1) * (1 if c.is_upper else -1)
            for c, value in zip(constraints, values, strict=True)
        ]
        worst = np.max([np.full(len(table), -np.inf), *excess], axis=0)  # NaN where one is unknown
    accuracy = table.accuracy.values
    known = np.flatnonzero((worst < np.inf) & ~np.isnan(accuracy) & table.supported)
    if not len(known):
        return None
    index = int(known[np.lexsort((-accuracy[known], worst[known]))[0]])
    return miss_of(index, [float(value[index]) for value in values], constraints)


def miss_of(index: int, values: Sequence[float], constraints: Sequence[Constraint]) -> Nearest:
    """Return the violations of a network whose costs, or their intervals' far ends, are `values`, one for each constraint."""
    lacking = tuple(
        Violation(constraint=constraint, value=value)
        for constraint, value in zip(constraints, values, strict=True)
        if not constraint.holds(np.array([value]))[0]
    )
    return Nearest(index=index, violations=lacking)


def _standing(table: NetworkTable, constraint: Constraint, confident: bool) -> ConstraintCounts:
    cost = table.cost(constraint.subject)
    decisive = bound(constraint, cost, confident)
    distinct = is_first(table.config)
    met = constraint.holds(decisive) & distinct
    known = ~np.isnan(decisive) & distinct
    far = bound(constraint, cost, True)
    near = cost.low if constraint.is_upper else cost.high
    if cost.low is None or near is None:
        doubtful = 0
    else:
        doubtful = int((constraint.holds(near) & ~constraint.holds(far) & ~np.isnan(far) & distinct).sum())
    return ConstraintCounts(
        constraint=constraint,
        met=int(met.sum()),
        broken=int((known & ~met).sum()),
        unknown=int((distinct & ~known).sum()),
        doubtful=doubtful,
    )

"""What one network costs: looked up where all networks of a space are listed, else the sum of what its blocks cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from search.integer_program.solve import Limit
from search.table.constraints import Constraint
from search.table.table import Cost
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, blocks_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A network's cost: `low` to `high` is an interval, NaN where there is none, the value alone where the cost is exact.

    `grade` is that of a measurement, empty where there is none.
    """

    value: float
    low: float
    high: float
    grade: str = ""
    is_measured: bool = False


class Priced(Protocol):
    """What each network of a space costs in one respect: see `search.table.Cost`. Intervals hold with `coverage`."""

    @property
    def unit(self) -> str: ...

    @property
    def coverage(self) -> float | None: ...

    @property
    def is_latency(self) -> bool: ...

    def at(self, index: int) -> Amount:
        """Return what the network at this place of the canonical order costs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A column of a table as something that is asked for one network."""

    cost: Cost

    @property
    def unit(self) -> str:
        """The unit of amounts."""
        return self.cost.unit

    @property
    def coverage(self) -> float | None:
        """What intervals hold with; None where costs are exact."""
        return self.cost.coverage

    @property
    def is_latency(self) -> bool:
        """Whether some amounts are measured and others predicted."""
        return self.cost.measured is not None

    def at(self, index: int) -> Amount:
        """Return a network's cost."""
        cost = self.cost
        return Amount(
            value=float(cost.values[index]),
            low=float((cost.values if cost.low is None else cost.low)[index]),
            high=float((cost.values if cost.high is None else cost.high)[index]),
            grade="" if cost.grades is None else str(cost.grades[index]),
            is_measured=bool(cost.measured is not None and cost.measured[index]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Total:
    """A sum: `constant`, and what the block of each stage adds, `blocks` (stages, B)."""

    blocks: FloatArray
    constant: float

    def of(self, digits: Sequence[int]) -> float:
        """Return the correctly rounded sum for one block a stage, as `search.integer_program.solve.Limit` does."""
        picked = (float(row[digit]) for row, digit in zip(self.blocks, digits, strict=True))
        return math.fsum([self.constant, *picked])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summed:
    """A cost that is a sum over blocks, or the largest of several sums: of a space of any size.

    `margin`: the share of a cost by which its interval reaches to either side; `known`: what single networks were measured to
    take, by index, which counts in place of their sums. Other fields are those of `search.table.Cost`.
    """

    name: str
    unit: str
    title: str
    config: SpaceConfig
    totals: tuple[Total, ...]
    margin: float = 0.0
    coverage: float | None = None
    known: Mapping[int, Amount] = field(default_factory=dict)

    @property
    def is_latency(self) -> bool:
        """Whether some amounts are measured and others predicted."""
        return self.coverage is not None

    def at(self, index: int) -> Amount:
        """Return a network's cost: measured where it was, else its sum with the margin to either side."""
        if index in self.known:
            return self.known[index]
        value = max(total.of(blocks_of(self.config, index)) for total in self.totals)
        # No latency is below 0, however wide the margin.
        return Amount(value=value, low=value * max(0.0, 1 - self.margin), high=value * (1 + self.margin))


def limits_on(cost: Summed, constraint: Constraint, *, confident: bool) -> list[Limit]:
    """Return the limits on sums that say what a constraint says of all networks that were not measured.

    `confident`: the far end of the interval must meet it.
    Raises: ConfigError when that is no limit on sums: the largest of several sums bounded from below.
    """
    if not constraint.is_upper and len(cost.totals) > 1:
        raise ConfigError(
            f"{constraint}: {cost.title}, is a maximum, which an integer programme can hold below a limit, not above one; leave "
            "the limit out"
        )
    factor = 1.0
    if confident:
        factor = 1 + cost.margin if constraint.is_upper else max(0.0, 1 - cost.margin)
    bound = _bound(constraint, factor)
    return [
        Limit(
            name=str(constraint),
            costs=total.blocks,
            constant=total.constant,
            **{"upper" if constraint.is_upper else "lower": bound},
        )
        for total in cost.totals
    ]


def meets(amount: Amount, constraint: Constraint, *, confident: bool) -> bool:
    """Return whether a network of this cost is within a limit; with `confident` whether its interval's far end is."""
    return bool(constraint.holds(np.array([decisive(amount, constraint, confident=confident)]))[0])


def decisive(amount: Amount, constraint: Constraint, *, confident: bool) -> float:
    """Return what a limit must hold for: the estimate, or the interval's far end."""
    if not confident:
        return amount.value
    return amount.high if constraint.is_upper else amount.low


def _bound(constraint: Constraint, factor: float) -> float:
    """Return the largest or smallest sum of which `factor` times is within the limit."""
    towards = -math.inf if constraint.is_upper else math.inf
    if factor == 0 or math.isinf(factor):
        return towards  # nothing is known of the far end: no sum will do
    bound = constraint.limit / factor
    while not constraint.holds(np.array([bound * factor]))[0]:
        bound = math.nextafter(bound, towards)
    return bound

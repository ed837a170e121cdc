"""Costs of single networks: from a table, or as a sum over blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from search.integer_program.solve import Limit, fsum_of
from search.table.constraints import Constraint
from search.table.table import Cost, CostEstimate
from space import SpaceConfig
from space.errors import ConfigError
from space.hash_table import network_key
from space.indexing import FloatArray, IndexArray, blocks_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockSums:
    """Sum over blocks: a `constant`, and the cost of each block in each stage, `blocks` (stages, B)."""

    blocks: FloatArray
    constant: float

    def of(self, choice: Sequence[int]) -> float:
        """Return the correctly rounded sum for one block a stage, as `search.integer_program.solve.Limit` does."""
        return fsum_of(self.blocks, choice, self.constant)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditiveCosts:
    """Costs as a sum over blocks, or as the largest of several sums, for a space of any size.

    `margin`: half the width of an interval, relative to the cost; `known`: costs of measured networks by canonical index, NaN of
    those that failed, which replace their sums under all their names (`by_key`: see `network_key`). Other fields are those of
    `search.table.Cost`.
    """

    name: str
    unit: str
    title: str
    config: SpaceConfig
    totals: tuple[BlockSums, ...]
    margin: float = 0.0
    coverage: float | None = None
    known: Mapping[int, CostEstimate] = field(default_factory=dict)
    by_key: Mapping[int | bytes, CostEstimate] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_key = {network_key(self.config, index): amount for index, amount in self.known.items()}
        object.__setattr__(self, "by_key", by_key)

    @property
    def is_latency(self) -> bool:
        """Whether some costs are measured and others predicted."""
        return self.coverage is not None

    def at(self, index: int) -> CostEstimate:
        """Return a network's cost: measured where it was, else its sum with the margin to either side."""
        if self.by_key and (known := self.by_key.get(network_key(self.config, index))):
            return known
        value = max(total.of(blocks_of(self.config, index)) for total in self.totals)
        # No latency is below 0, however wide the margin.
        return CostEstimate(
            value=value, low=value * max(0.0, 1 - self.margin), high=value * (1 + self.margin)
        )

    def column(self, indices: IndexArray) -> Cost:
        """Return the costs of some networks, by canonical indices (n,), as a column of a table of these."""
        amounts = [self.at(index) for index in indices.tolist()]
        values = np.array([one.value for one in amounts])
        plain = Cost(name=self.name, unit=self.unit, title=self.title, values=values)
        if not self.is_latency:
            return plain
        return replace(
            plain,
            low=np.array([one.low for one in amounts]),
            high=np.array([one.high for one in amounts]),
            coverage=self.coverage,
            measured=np.array([one.is_measured for one in amounts]),
            grades=np.array([one.grade for one in amounts]),
        )


def limits_on(cost: AdditiveCosts, constraint: Constraint, *, confident: bool) -> list[Limit]:
    """Return a constraint as limits on sums, for all networks that were not measured.

    `confident`: the far end of the interval must meet it.
    Raises: ConfigError where a lower bound on the largest of several sums is asked for, which is no limit on sums.
    """
    if not constraint.is_upper and len(cost.totals) > 1:
        raise ConfigError(
            f"{constraint}: {cost.title}, is a maximum, which an integer program can hold below a limit, not above one; leave "
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


def meets(amount: CostEstimate, constraint: Constraint, *, confident: bool) -> bool:
    """Return whether a cost is within a limit; with `confident`, whether its interval's far end is."""
    return bool(constraint.holds(np.array([decisive(amount, constraint, confident=confident)]))[0])


def decisive(amount: CostEstimate, constraint: Constraint, *, confident: bool) -> float:
    """Return the value that is compared with a limit: the estimate, or the interval's far end."""
    if not confident:
        return amount.value
    return amount.high if constraint.is_upper else amount.low


def _bound(constraint: Constraint, factor: float) -> float:
    """Return the largest or smallest sum that is within the limit after multiplication by `factor`."""
    toward = -math.inf if constraint.is_upper else math.inf
    if factor == 0 or math.isinf(factor):
        return toward  # nothing is known of the far end: no sum will do
    bound = constraint.limit / factor
    while not constraint.holds(np.array([bound * factor]))[0]:
        bound = math.nextafter(bound, toward)
    return bound

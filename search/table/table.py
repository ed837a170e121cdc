"""The joined table: accuracy and costs of every network of a space, with intervals and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from space import Architecture, SpaceConfig
from space.accuracies import Accuracies
from space.errors import ConfigError, did_you_mean
from space.indexing import BoolArray, FloatArray, IndexArray

NOT_MEASURED = ""  # the grade of predicted costs


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """Cost of a network: `low` to `high` is an interval, NaN where there is none, the value alone where the cost is exact.

    `grade` is that of a measurement, empty where there is none.
    """

    value: float
    low: float
    high: float
    grade: str = ""
    is_measured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cost:
    """Costs of all networks of a space in one respect, in canonical order.

    `values`, float64 (len(config),), NaN where unknown, in `unit`: "ms" of times, "bytes" of sizes, "mJ" of energy, "" of counts.
    `low` and `high`, the same shape, are an interval that holds the cost with probability `coverage`, NaN where a network was
    measured in too few slices to have one; all three are None where the cost is exact. Of latencies `measured`, bool
    (len(config),), says which were measured and not predicted, and `grades` are A to D, empty where predicted; None for other
    costs. `supported`, bool (len(config),): measured, or predicted from networks like it; None: all are. One that is
    not, and whose value is unknown, failed. `title` says in one line what it is and where it was measured. `synthetic`: made up,
    to be shown with this word only.
    """

    name: str
    unit: str
    title: str
    values: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    coverage: float | None = None
    measured: BoolArray | None = None
    supported: BoolArray | None = None
    grades: NDArray[np.str_] | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        for part in (self.low, self.high, self.measured, self.supported, self.grades):
            if part is not None and part.shape != self.values.shape:
                raise ValueError(f"cost {self.name}: shape {part.shape} beside values of {self.values.shape}")
        if (self.low is None) != (self.high is None) or (self.low is None) != (self.coverage is None):
            raise ValueError(f"cost {self.name}: low, high and coverage belong together")

    @property
    def is_latency(self) -> bool:
        """Whether some costs are measured and others predicted."""
        return self.measured is not None

    def at(self, index: int) -> CostEstimate:
        """Return a network's cost."""
        return CostEstimate(
            value=float(self.values[index]),
            low=float((self.values if self.low is None else self.low)[index]),
            high=float((self.values if self.high is None else self.high)[index]),
            grade="" if self.grades is None else str(self.grades[index]),
            is_measured=bool(self.measured is not None and self.measured[index]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkTable:
    """Accuracy and costs of every network of a space, joined on the canonical index. `shown` are further accuracies to show.

    `indices`: in a space too large to list, the canonical indices (n,) of the rows' networks, rising; else None. `with_far`:
    networks unlike any measured one count, too.
    """

    config: SpaceConfig
    accuracy: Accuracies
    costs: Mapping[str, Cost]
    shown: tuple[Accuracies, ...] = ()
    indices: IndexArray | None = None
    with_far: bool = False

    def __len__(self) -> int:
        """Return the number of rows, one a network."""
        return len(self.config) if self.indices is None else len(self.indices)

    def network(self, row: int) -> Architecture:
        """Return the network of a row."""
        return Architecture.from_index(row if self.indices is None else int(self.indices[row]), self.config)

    def __post_init__(self) -> None:
        for accuracies in (self.accuracy, *self.shown):
            if accuracies.config != self.config:
                raise ConfigError(
                    f"the accuracies are of space {accuracies.config.name!r} and the table of {self.config.name!r}; "
                    "join accuracies and costs of one space"
                )
        for cost in self.costs.values():
            if cost.values.shape != (len(self),):
                raise ValueError(f"cost {cost.name}: {cost.values.shape} for {len(self)} networks")

    @property
    def supported(self) -> BoolArray:
        """Mask of the networks whose costs are all measured or predicted from similar ones; bool (networks,).

        `with_far`: or predicted at all.
        """
        found = np.ones(len(self), dtype=np.bool_)
        for cost in self.costs.values():
            if cost.supported is not None:
                found &= cost.supported | (self.with_far & ~np.isnan(cost.values))
        return found

    def cost(self, name: str) -> Cost:
        """Return a cost by name.

        Raises: ConfigError when the table has no such cost.
        """
        if name not in self.costs:
            raise ConfigError(no_cost(name, self.costs))
        return self.costs[name]


def no_cost(name: str, known: Iterable[str]) -> str:
    """Return the message that there is no cost of this name."""
    there = list(known)
    return f"no cost {name!r}{did_you_mean(name, there)} (there are: {', '.join(there) or 'none'})"

"""Latencies, or another cost, of every network of a space, and the row of one: measured where they are, predicted elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.prediction.provenance import Provenance
from search.latency.additive import Additive
from search.latency.model_selection import SelectedPredictor
from search.table.table import NOT_MEASURED, Cost
from space import Architecture, SpaceConfig, is_enumerable
from space.hash_table import first_equals, is_first
from space.indexing import BoolArray, FloatArray, IndexArray

MEASURED_COVERAGE = 0.95  # of a measurement's own interval
NOT_GRADED = "-"
FAR = "predicted, far"  # from all that was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """One network's latency: `source` is measured, predicted or failed, the interval holds the latency with `coverage`.

    One that failed, as the device does not run it, has no latency, and nothing is predicted of it.
    A predicted one's interval is meant for a measurement. No interval: measured in too few slices. `supported`: measured
    itself, or predicted from networks like it.

    Its costs alone in a fresh process, and the energy of an inference, are None where they are neither measured nor predicted on
    the configuration. The intervals of `memory` and `energy` hold with 90 %, and their sources are measured, predicted, or `FAR`
    from all that was measured. All energies are by one `energy_sensor`: those of two do not compare.
    """

    architecture: str
    graph_hash: str
    index: int
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    coverage: float
    source: str
    grade: str = NOT_GRADED
    sessions: int = 0
    supported: bool
    memory_bytes: float | None = None
    memory_low_bytes: float | None = None
    memory_high_bytes: float | None = None
    memory_source: str | None = None
    load_ms: float | None = None
    fresh_first_run_ms: float | None = None
    energy_mj: float | None = None
    energy_low_mj: float | None = None
    energy_high_mj: float | None = None
    energy_source: str | None = None
    energy_sensor: str | None = None

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """The interval in ms; None where too few slices were measured to tell."""
        return None if self.low_ms is None or self.high_ms is None else (self.low_ms, self.high_ms)

    def to_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


COLUMNS = tuple(SpaceRow.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceLatencies:
    """Latencies of every network of a space on one configuration: the arrays of a `search.table.Cost`, each (n,).

    `about` does not tell of whose latencies it is. `sensor`: of energies, by what they were measured; it is not cached.
    """

    values: FloatArray
    low: FloatArray
    high: FloatArray
    measured: BoolArray
    supported: BoolArray
    grades: NDArray[np.str_]
    about: Provenance
    sensor: str = ""


Column = TypeVar("Column", Cost, SpaceLatencies)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervals:
    """Values with the ends of their intervals, each (n,), NaN where there is none."""

    values: FloatArray
    low: FloatArray
    high: FloatArray


def space_latencies(
    config: SpaceConfig,
    indices: IndexArray,
    measured: Intervals,
    predicted: Intervals | None,
    supported: BoolArray | None,
    *,
    failed: IndexArray,
    grades: Sequence[str],
    about: Provenance,
) -> SpaceLatencies:
    """Return the latency of every network: `measured` those of `indices` (m,), with their `grades`, else as predicted.

    predicted: of every network, None where nothing is, NaN then. supported: which networks are like measured ones, (n,); None
    for all. failed: those that the device does not run (k,), which have no latency and are like none, by whatever name.
    """
    count = len(config)
    found: dict[str, Any] = {
        name: np.full(count, np.nan) if predicted is None else getattr(predicted, name).copy()
        for name in ("values", "low", "high")
    }
    for name, column in found.items():
        column[indices] = getattr(measured, name)
    is_measured = np.zeros(count, dtype=np.bool_)
    is_measured[indices] = True
    graded = np.full(count, NOT_MEASURED, dtype="<U1")
    graded[indices] = grades
    like = np.ones(count, dtype=np.bool_) if supported is None else supported | is_measured
    if len(failed):
        first = first_equals(config)
        gone = np.isin(first, first[failed])
        is_measured[gone] = like[gone] = False
        graded[gone] = NOT_MEASURED
        for column in found.values():
            column[gone] = np.nan
    return SpaceLatencies(measured=is_measured, supported=like, grades=graded, about=about, **found)


def indices_of(names: Iterable[str], config: SpaceConfig) -> IndexArray:
    """Return the canonical indices of networks by their texts, (n,)."""
    return np.array([Architecture.parse(name, config).index for name in names], dtype=np.int64)


def predicted_by(
    fitted: SelectedPredictor | Additive | None, config: SpaceConfig, measured: int, about: Provenance
) -> Provenance:
    """Return a provenance with a predictor, if there is one, where `measured` networks of the space are measured or failed."""
    if fitted is None:
        return about
    every = int(is_first(config).sum()) if is_enumerable(config) else len(config)
    return replace(about, predicted=every - measured, predictor=fitted.chosen, error=fitted.errors.mape)


def of_equals(cost: Column, first: IndexArray) -> Column:
    """Return a cost in which a network counts as measured if an equal one was; `first` (n,): from `first_equals`."""
    if cost.measured is None:
        return cost
    source, measured = np.arange(len(first)), np.flatnonzero(cost.measured)
    equal = np.full(len(first), -1)
    equal[first[measured]] = measured
    source = np.where(cost.measured | (equal[first] < 0), source, equal[first])
    columns: dict[str, Any] = {
        name: column[source]
        for name in ("values", "low", "high", "measured", "supported", "grades")
        if (column := getattr(cost, name)) is not None
    }
    return replace(cost, **columns)

"""How far a search is from the best after each look-up, over seeds: regret, its mean and interval, and how soon it is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.methods.method import Trace
from search.statistics import mean_interval
from space.indexing import FloatArray

COVERAGE = 0.95  # of the intervals over seeds
THRESHOLDS = (0.5, 0.1, 0.0)  # points of regret that are counted down to
SAME = 1e-6  # points: published accuracies have three decimals, and differences of floats none of theirs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One search. `regret`, (budget,), in points after each look-up; once nothing is left to ask it stays as it is.

    `meets`: whether the network found meets every constraint, judged by the costs of that network alone.
    """

    trace: Trace
    regret: FloatArray
    meets: bool

    def look_ups_to(self, threshold: float) -> float:
        """Return after how many look-ups the regret was `threshold` points or less; inf when it never was."""
        reached = self.regret <= threshold + SAME
        return float(np.argmax(reached) + 1) if reached.any() else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How soon runs came within `threshold` points: `reached` of all did, and half of all within `median` look-ups.

    A run that did not counts as later than all that did; `median` is inf when half of the runs or more did not.
    """

    threshold: float
    median: float
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One method's runs, a run a seed. `mean`, `low` and `high` (budget,): regret over seeds in points; see `mean_interval`."""

    method: str
    runs: tuple[Run, ...]
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    reached: tuple[Reached, ...]

    @property
    def seconds(self) -> float:
        """A search's own time, the median over seeds: the first one also loads libraries."""
        return float(np.median([run.trace.seconds for run in self.runs]))

    @property
    def found(self) -> int:
        """How many runs found a network as accurate as the best."""
        return sum(bool(run.regret[-1] <= SAME) for run in self.runs)


def compared(method: str, runs: Sequence[Run]) -> Compared:
    """Return a method's runs with their regrets' mean, interval and how soon they came close."""
    mean, low, high = mean_interval(np.array([run.regret for run in runs]), COVERAGE)
    low = np.maximum(low, 0)  # as no regret is below it
    reached = []
    for threshold in THRESHOLDS:
        counts = [run.look_ups_to(threshold) for run in runs]
        reached.append(
            Reached(
                threshold=threshold, median=float(np.median(counts)), reached=int(np.isfinite(counts).sum())
            )
        )
    return Compared(method=method, runs=tuple(runs), mean=mean, low=low, high=high, reached=tuple(reached))


def regret(trace: Trace, best_accuracy: float, budget: int) -> FloatArray:
    """Return a run's regret after each of `budget` look-ups, (budget,), in points; after the trace's end it stays."""
    found = trace.best_so_far
    return best_accuracy - np.concatenate([found, np.full(budget - len(found), found[-1])])


def steps(*columns: FloatArray) -> list[tuple[int, tuple[float, ...]]]:
    """Return (look-ups, values) for the first look-up, and wherever a value of the columns, each (m,), is another than before."""
    values = np.stack(columns, axis=1)  # (m, columns)
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    rows = np.flatnonzero(np.append(True, ~same.all(axis=1)))
    return [(row + 1, tuple(values[row].tolist())) for row in rows.tolist()]

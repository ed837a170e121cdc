"""Regret after each evaluation, averaged over seeds, and evaluations needed to reach a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.methods.method import Trace
from search.statistics import Estimate, mean_of, seeds_interval
from space.indexing import FloatArray

THRESHOLDS = (0.5, 0.1, 0.0)  # points of regret that are counted down to
SAME = 1e-6  # points: published accuracies have three decimals, and differences of floats none of theirs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegretRun:
    """One search. `regret` (budget,): in points after each evaluation; constant after the last one.

    `meets`: whether the network found meets every constraint by its own costs. `tested`: its test accuracy in percent where
    validation accuracies were searched, for information; NaN where unknown.
    """

    trace: Trace
    regret: FloatArray
    meets: bool
    tested: float = math.nan

    def evaluations_to(self, threshold: float) -> float:
        """Return the evaluations until the regret was `threshold` points or less; inf when it never was."""
        reached = self.regret <= threshold + SAME
        return float(np.argmax(reached) + 1) if reached.any() else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationsToTarget:
    """Evaluations until runs came within `threshold` points: `reached` of the runs did, half of all within `median`.

    A run that never did counts as later than the others; `median` is inf where half of the runs or more never did.
    """

    threshold: float
    median: float
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodRegret:
    """Runs of one method, one a seed. `mean`, `low` and `high` (budget,): regret over seeds in points; see `mean_of`."""

    method: str
    runs: tuple[RegretRun, ...]
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    reached: tuple[EvaluationsToTarget, ...]

    @property
    def tested(self) -> Estimate:
        """Mean test accuracy over seeds of the networks found, in percent, and its interval between seeds; NaN if unknown."""
        return seeds_interval([run.tested for run in self.runs])

    @property
    def seconds(self) -> float:
        """Median over seeds of a search's own time; the first run also loads libraries."""
        return float(np.median([run.trace.seconds for run in self.runs]))

    @property
    def found(self) -> int:
        """Number of runs that found a network as accurate as the best."""
        return sum(bool(run.regret[-1] <= SAME) for run in self.runs)


def summarize_runs(method: str, runs: Sequence[RegretRun]) -> MethodRegret:
    """Summarize a method's runs: mean regret with its interval, and evaluations to each target."""
    changes = steps(*(run.regret for run in runs))
    found = [mean_of(np.array(regrets)) for _, regrets in changes]
    lengths = np.diff([*(count for count, _ in changes), len(runs[0].regret) + 1])
    mean, low, high = np.repeat([(one.value, one.low, one.high) for one in found], lengths, axis=0).T
    low = np.maximum(low, 0)  # as no regret is below it
    reached = []
    for threshold in THRESHOLDS:
        counts = [run.evaluations_to(threshold) for run in runs]
        reached.append(
            EvaluationsToTarget(
                threshold=threshold, median=float(np.median(counts)), reached=int(np.isfinite(counts).sum())
            )
        )
    return MethodRegret(
        method=method, runs=tuple(runs), mean=mean, low=low, high=high, reached=tuple(reached)
    )


def regret(trace: Trace, best_accuracy: float, budget: int) -> FloatArray:
    """Return a run's regret after each of `budget` evaluations, (budget,), in points; constant after the trace's end."""
    found = trace.best_so_far
    return best_accuracy - np.concatenate([found, np.full(budget - len(found), found[-1])])


def steps(*columns: FloatArray) -> list[tuple[int, tuple[float, ...]]]:
    """Return (evaluations, values) for the first evaluation and wherever a value of the columns, each (m,), changes."""
    values = np.stack(columns, axis=1)  # (m, columns)
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    rows = np.flatnonzero(np.append(True, ~same.all(axis=1)))
    return [(row + 1, tuple(values[row].tolist())) for row in rows.tolist()]

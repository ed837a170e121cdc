"""Runs of methods in the study: cost and regret after each network trained.

A method decides by validation accuracies alone, and is judged by test accuracy: its incumbent is the network with the highest
validation accuracy of those trained so far, and regret is the test accuracy of the best network of all minus the incumbent's, in
points. Choosing the incumbent by test images would choose and report by the same images. So regret can rise, and does not end at
0 where everything was trained, but at `price_of_choosing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from search.statistics import NONE, Estimate, mean_of
from search.study.truth import GroundTruth
from search.work.flops import Spent, network_flops
from space.indexing import FloatArray

FEWEST_RUNS = 3  # fewer than these decide nothing


class MethodVerdict(StrEnum):
    """Verdict on a method against random search, the baseline."""

    BASELINE = "the baseline"
    BEATS = "beats"
    TIES = "ties"
    LOSES = "loses"
    UNDECIDED = "too few runs"
    NOT_COMPARABLE = "not comparable"
    NO_ANSWER = "no answer yet"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyRun:
    """One search: `flops`, `networks` and `seconds` spent in all, and `regret` in points, each (t,), after each of t trainings.

    `regret` is the incumbent's, `lucky_regret` that of the best trained network on test images, which no method could know.
    `networks` counts trained and fine-tuned networks, teachers too. `seconds` add up those of this machine and of the one that
    trained the ground truth.
    """

    seed: int
    flops: FloatArray
    networks: NDArray[np.int64]
    seconds: FloatArray
    regret: FloatArray
    lucky_regret: FloatArray

    def at_flops(self, budget: float) -> float:
        """Return the regret at a number of FLOPs; NaN before the first network."""
        return _at(self.regret, self.trained_at(budget))

    def lucky_at_flops(self, budget: float) -> float:
        """Return the regret of the best on test images at a number of FLOPs; NaN before the first network."""
        return _at(self.lucky_regret, self.trained_at(budget))

    def trained_at(self, budget: float) -> int:
        """Return the number of trainings done at a number of FLOPs."""
        return int(np.searchsorted(self.flops, budget * (1 + 1e-9), side="right"))

    def at_networks(self, budget: int) -> float:
        """Return the regret after a number of networks; NaN before the first answer."""
        return _at(self.regret, int(np.searchsorted(self.networks, budget, side="right")))


def _at(regret: FloatArray, done: int) -> float:
    """Return the regret (t,) after a number of trainings; NaN before the first."""
    return float(regret[done - 1]) if done else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodRuns:
    """All runs of one method, one a seed, and its description.

    Each run begins with `random_first` random networks: until then it is random search. `libraries`: the number of libraries
    where runs of several seeds share one and so repeat its luck.
    """

    method: str
    meaning: str
    runs: tuple[StudyRun, ...]
    random_first: int = 0
    libraries: int | None = None

    def at_flops(self, budget: float) -> FloatArray:
        """Return each run's regret at a cost, (runs,); NaN where a run has no answer yet."""
        return np.array([run.at_flops(budget) for run in self.runs])


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodStanding:
    """A method at one cost: its regret, the paired difference to random search, and the verdict.

    `answered` of `runs` had an answer at this cost. The regret is their mean; the difference is over those of them whose seed the
    baseline has, too.
    """

    method: str
    regret: Estimate
    difference: Estimate
    verdict: MethodVerdict
    answered: int
    runs: int


def run_of(truth: GroundTruth, seed: int, order: Sequence[int], images: int, before: Spent) -> StudyRun:
    """Return the run that spent `before` and then trained networks of the ground truth in this order (t,)."""
    indices = np.asarray(order, dtype=np.int64)
    places = truth.places(indices)
    flops = [network_flops(truth.config, int(index), images, truth.epochs) for index in indices]
    return StudyRun(
        seed=seed,
        flops=before.flops + np.cumsum(flops),
        networks=before.networks + np.arange(1, len(indices) + 1),
        seconds=before.seconds + np.cumsum(truth.seconds[places]),
        regret=regrets(truth, places, truth.val[places]),
        lucky_regret=regrets(truth, places, truth.test[places]),
    )


def regrets(truth: GroundTruth, places: NDArray[np.int64], val: FloatArray) -> FloatArray:
    """Return the incumbent's regret, (t,), after training the networks at these places of the ground truth, (t,), in this order.

    `val` are the accuracies, (t,), that choose the incumbent, of equal ones the first: on validation images, or on test images
    for the lucky regret.
    """
    is_better = np.append(True, val[1:] > np.maximum.accumulate(val)[:-1])
    incumbents = places[np.maximum.accumulate(np.where(is_better, np.arange(len(val)), 0))]
    lacked: FloatArray = truth.test[truth.best] - truth.test[incumbents]
    return lacked


def price_of_choosing(truth: GroundTruth) -> float:
    """Return the test accuracy, in points, lost by choosing by validation accuracy among all networks.

    It is the mean over networks of equal validation accuracy, any of which may be the first one trained.
    """
    return float(truth.test[truth.best] - truth.test[truth.val == truth.val.max()].mean())


def standing(method: MethodRuns, baseline: MethodRuns, budget: float) -> MethodStanding:
    """Compare a method with the baseline where both have spent `budget` operations, seed by seed."""
    regret = method.at_flops(budget)
    others = {run.seed: run.at_flops(budget) for run in baseline.runs}
    pairs = np.array(
        [own - others.get(run.seed, np.nan) for own, run in zip(regret, method.runs, strict=True)]
    )
    answered = int(np.isfinite(regret).sum())
    difference = NONE if method.method == baseline.method else mean_of(pairs)
    if not answered:
        found = MethodVerdict.NO_ANSWER
    elif method.method == baseline.method:
        found = MethodVerdict.BASELINE
    else:
        found = _verdict(method, difference, budget)
    return MethodStanding(
        method=method.method,
        regret=mean_of(regret),
        difference=difference,
        verdict=found,
        answered=answered,
        runs=len(method.runs),
    )


def verdict(difference: Estimate) -> MethodVerdict:
    """Return whether a difference, lower being better, has an interval that excludes 0, and on which side."""
    if difference.count < FEWEST_RUNS:
        return MethodVerdict.UNDECIDED
    if difference.high < 0:
        return MethodVerdict.BEATS
    return MethodVerdict.LOSES if difference.low > 0 else MethodVerdict.TIES


def _verdict(method: MethodRuns, difference: Estimate, budget: float) -> MethodVerdict:
    if method.libraries is not None and method.libraries < FEWEST_RUNS:
        return MethodVerdict.UNDECIDED
    found = verdict(difference)
    has_chosen = any(run.trained_at(budget) > method.random_first for run in method.runs)
    return found if has_chosen or found is MethodVerdict.UNDECIDED else MethodVerdict.NOT_COMPARABLE

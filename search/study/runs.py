"""Runs of methods in the study: cost and regret after each network trained.

A method decides by validation accuracies alone, and is judged by test accuracy: its incumbent is the network of the highest
validation accuracy that it trained so far, and regret is how many points this one lacks on test images of the best of all.
To take the best on test images of those trained would be to choose and to report by the same images. So regret can rise, and
does not end at 0 where everything was trained: `price_of_choosing` says where it ends.
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

    `regret` is the incumbent's, `lucky_regret` that of the best on test images, which nobody could name. `networks` counts those
    trained or fine-tuned whole, a teacher too. `seconds` are of this machine and of the one that trained the ground truth, added
    up.
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

    Each run trains `random_first` networks before it chooses any: until then it is random search. `libraries`: how many
    there are where runs of several seeds share one, for runs of one library repeat its luck.
    """

    method: str
    meaning: str
    runs: tuple[StudyRun, ...]
    random_first: int = 0
    libraries: int | None = None

    def at_flops(self, budget: float) -> FloatArray:
        """Return each run's regret at a cost, (runs,); NaN where a run has no answer yet."""
        return np.array([run.at_flops(budget) for run in self.runs])

    def lucky_at_flops(self, budget: float) -> FloatArray:
        """Return each run's regret of the best on test images at a cost, (runs,); NaN where a run has no answer yet."""
        return np.array([run.lucky_at_flops(budget) for run in self.runs])

    def at_networks(self, budget: int) -> FloatArray:
        """Return each run's regret after a number of networks, (runs,); NaN where a run has no answer yet."""
        return np.array([run.at_networks(budget) for run in self.runs])


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

    `val` are the accuracies, (t,), that choose the incumbent, of equal ones the first: of validation images, or it is lucky.
    """
    is_better = np.append(True, val[1:] > np.maximum.accumulate(val)[:-1])
    incumbents = places[np.maximum.accumulate(np.where(is_better, np.arange(len(val)), 0))]
    lacked: FloatArray = truth.test[truth.best] - truth.test[incumbents]
    return lacked


def price_of_choosing(truth: GroundTruth) -> float:
    """Return the test accuracy, in points, lost by choosing by validation accuracy among all networks; of equally good ones the
    mean, for the first one trained is chosen, and any may be."""
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

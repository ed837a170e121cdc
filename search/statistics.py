"""Accuracies, means, rank correlations and prediction errors with intervals: binomial, Student's t, bootstrap, conformal.

An accuracy has two intervals. `accuracy_interval` is of one network with its weights: the luck of which test images were drawn.
`seeds_interval` is of a procedure: the luck of its seeds, over networks judged on the same images. Neither includes the other.

A mean over seeds varies with the seeds. A rank correlation varies with the choice of trained networks, and with a predictor's
seed: networks are resampled for all runs alike, and then the runs. A resampled network counts as often as it was drawn, pairs of
it with itself not at all: Kendall's tau-b and Spearman's rho of the resample, computed from counts without building it.

Conformal intervals assume nothing of the errors' distribution, only that networks are drawn like those of known errors (Barber,
Candes, Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+", arXiv:1905.02928).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from space.indexing import FloatArray
from space.statistics import student

# x (n,), y (n,), counts (k, n) -> (k,)
Correlation = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]

COVERAGE = 0.95
DRAWS = 2000
FEWEST_DRAWN = 8  # values; of fewer, resamples stay within the range seen, which Student's t does not
# Networks: of four that happen to be in order every resample is, and an interval would be a point.
FEWEST_RANKED = 10
_SLIP = 1e-9  # 0.1 * 10 is to be 1, not 0.99999


def finite(value: float) -> float | None:
    """Return a number for JSON and CSV, None in place of NaN and infinity."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and the ends of its interval, NaN where there is none, from `count` runs or networks."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "none"
        if math.isnan(self.low):
            return f"{self.value:.2f} (no interval)"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def to_plain(self) -> dict[str, float | int | None]:
        """Return it for JSON, None in place of NaN and infinity."""
        ends = {name: finite(getattr(self, name)) for name in ("value", "low", "high")}
        return {**ends, "count": self.count}


NONE = Estimate(value=math.nan, low=math.nan, high=math.nan, count=0)


# --- means ----------------------------------------------------------------------------------------


def mean_interval(
    values: FloatArray, coverage: float = COVERAGE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mean over runs, (n, ...) -> (...), and the ends of its interval by Student's t; NaN for one run.

    At ten runs no interval keeps its coverage for all shapes of distribution. Student's t is the wider of the two usual ones: the
    percentile bootstrap of ten values has a scatter too small by a tenth, and a normal's quantiles. Where all runs have one
    value, the interval is that point.
    """
    count = len(values)
    mean: FloatArray = values.mean(axis=0)
    if count < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = student(count - 1, coverage) * values.std(axis=0, ddof=1) / np.sqrt(count)
    return mean, mean - reach, mean + reach


def mean_of(values: FloatArray, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """Return the mean of values (n,) and its interval; NaNs are left out, one value has no interval.

    Student's t; of `FEWEST_DRAWN` values or more as far as that and the studentized bootstrap reach together: regrets are skewed.
    Of ten exponential values t alone holds the mean in 90 %, where half are 0 in 86 %, and the mean is then nearly always above;
    both together hold it in 94 % of either, and of ten normal ones in 96 % (1,500 simulations each).
    """
    values = values[np.isfinite(values)]
    count = len(values)
    if not count:
        return NONE
    mean, low, high = (float(one) for one in mean_interval(values))
    if count >= FEWEST_DRAWN:
        least, most = studentized(values, seed, draws)
        low, high = min(low, least), max(high, most)
    return Estimate(value=mean, low=low, high=high, count=count)


def studentized(
    values: FloatArray, seed: int = 0, draws: int = DRAWS, coverage: float = COVERAGE
) -> tuple[float, float]:
    """Return the ends of the mean's interval by the studentized bootstrap (Efron & Tibshirani 1993, section 12.5)."""
    mean = float(values.mean())
    drawn = values[np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))]
    sds = drawn.std(axis=1, ddof=1)
    away = (drawn.mean(axis=1) - mean)[sds > 0] / sds[sds > 0]
    if not len(away):  # all values are equal
        return mean, mean
    least, most = np.quantile(away, ((1 - coverage) / 2, (1 + coverage) / 2)) * values.std(ddof=1)
    return mean - float(most), mean - float(least)


# --- accuracies -----------------------------------------------------------------------------------


def accuracy_interval(right: int, images: int) -> Estimate:
    """Return an accuracy in percent with its binomial interval, of `right` images of `images`, independent of all choices.

    Clopper and Pearson 1934 (Biometrika 26(4)): it holds the accuracy on all such images with at least its coverage, at 99 % and
    at 100 % too, where Wilson's shorter one holds less than it says.

    Raises: ValueError where `right` is not from 0 to `images`, or `images` is not 1 or more.
    """
    if not 0 <= right <= images or images < 1:
        raise ValueError(f"{right} of {images} images right: give 0 to all of 1 or more")
    from scipy.special import betaincinv

    tail = (1 - COVERAGE) / 2
    low = float(betaincinv(right, images - right + 1, tail)) if right else 0.0
    high = float(betaincinv(right + 1, images - right, 1 - tail)) if right < images else 1.0
    return Estimate(value=100 * right / images, low=100 * low, high=100 * high, count=images)


def seeds_interval(accuracies: Sequence[float]) -> Estimate:
    """Return the mean accuracy in percent of runs with different seeds, and its interval as `mean_of` has it.

    The interval is for the mean on these same images, within 0 and 100 %. There is none for one run, nor for runs that are all
    equal: few images allow few different accuracies, and three equal ones do not show that no seed differs. Where one is not
    known, neither is the mean.
    """
    values = np.array(accuracies, dtype=np.float64)
    if len(set(accuracies)) < 2 or np.isnan(values).any():
        return Estimate(value=float(values.mean()), low=math.nan, high=math.nan, count=len(values))
    found = mean_of(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 100.0))


# --- the bootstrap over networks ------------------------------------------------------------------


def kendall(x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return Kendall's tau-b of x (n,) and y (n,), each network counted `counts` (k, n) times, for each row: (k,).

    NaN where one side has no order.
    """
    of_x, of_y = _signs(x), _signs(y)
    agreed = ((counts @ (of_x * of_y)) * counts).sum(axis=1)
    untied = [((counts @ np.abs(of)) * counts).sum(axis=1) for of in (of_x, of_y)]
    return _ratio(agreed, np.sqrt(untied[0] * untied[1]))


def spearman(x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return Spearman's rho of x (n,) and y (n,), each network counted `counts` (k, n) times, for each row: (k,).

    A network's rank, less the mean rank, is half the sum of its signs. NaN where one side has no order.
    """
    return _rho(counts @ _signs(x).T, counts @ _signs(y).T, counts)


def spearman_of_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Spearman's rho of each row of x (k, n) and y (k, n), ties at their mean rank: (k,).

    NaN where one side has no order.
    """
    return _rho(_ranks(x), _ranks(y), np.ones(1))


def _ranks(values: FloatArray) -> FloatArray:
    """Return twice the centered mid-ranks of values (k, n) in their row, (k, n)."""
    rows = [(np.sort(row), row) for row in values]
    below = [np.searchsorted(ordered, row) + np.searchsorted(ordered, row, "right") for ordered, row in rows]
    ranks: FloatArray = np.array(below, dtype=np.float64) - values.shape[1]
    return ranks


def _rho(x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return Spearman's rho from twice the centered ranks (k, n) of networks that count `counts` (k, n) times: (k,)."""
    spreads = [(counts * ranks**2).sum(axis=1) for ranks in (x, y)]
    return _ratio((counts * x * y).sum(axis=1), np.sqrt(spreads[0] * spreads[1]))


def correlation_of(
    statistic: Correlation,
    predicted: FloatArray,
    true: FloatArray,
    seed: int = 0,
    draws: int = DRAWS,
    coverage: float = COVERAGE,
) -> Estimate:
    """Return the rank correlation of predictions (runs, n) with the truth (n,): the mean over runs, and its interval.

    It is of percentiles of bootstrap draws (Efron & Tibshirani 1993, chapter 13). Of networks that happen to be in order every
    draw is: then it reaches as far as so many pairs that agree leave open, by Clopper and Pearson (of ten networks to 0.84).
    A prediction that is NaN is left out, such as of a network that the run was fitted on. None where fewer than three networks
    are left in each run, or all are tied; without an interval where fewer than `FEWEST_RANKED` are.
    """
    predicted = np.atleast_2d(predicted)
    runs, count = predicted.shape
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)  # (draws, n)
    every = np.vstack([np.ones(count), drawn])  # the first is the sample itself
    found = np.full((runs, draws + 1), np.nan)
    for run, values in enumerate(predicted):
        known = np.isfinite(values) & np.isfinite(true)
        if known.sum() >= 3:
            found[run] = statistic(values[known], true[known], every[:, known])
    kept = np.isfinite(found[:, 0])
    if not kept.any():
        return NONE
    judged = int((np.isfinite(predicted[kept]) & np.isfinite(true)).sum(axis=1).max())
    found = found[kept]
    if judged < FEWEST_RANKED:
        return Estimate(value=float(found[:, 0].mean()), low=math.nan, high=math.nan, count=judged)
    shares = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), draws).T / len(found)
    means = (found[:, 1:] * shares).sum(axis=0)  # NaN where a resample is all ties: it is left out
    value = float(found[:, 0].mean())
    low, high = np.nanquantile(means, ((1 - coverage) / 2, (1 + coverage) / 2))
    disorder = 1 - ((1 - coverage) / 2) ** (2 / (judged * (judged - 1)))  # of a pair, where none is
    if abs(value) > 1 - _SLIP:
        low, high = min(low, value - 2 * disorder), max(high, value + 2 * disorder)
    return Estimate(
        value=value,
        low=max(min(float(low), value), -1.0),
        high=min(max(float(high), value), 1.0),
        count=judged,
    )


def _signs(values: FloatArray) -> FloatArray:
    """Return -1, 0 or 1 for each pair of values (n,), (n, n)."""
    signs: FloatArray = np.sign(np.subtract.outer(values, values))
    return signs


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


# --- conformal prediction -------------------------------------------------------------------------


def fewest_scores(coverage: float) -> int:
    """Return the number of networks that a finite conformal interval of this coverage needs: 9 for 0.9, 19 for 0.95."""
    return math.ceil(1 / (1 - coverage) - 1 - _SLIP)


def conformal_interval(
    predicted: FloatArray, reach: FloatArray, coverage: float
) -> tuple[FloatArray, FloatArray]:
    """Return low and high of the jackknife+, or CV+, interval of each network, (n,) each.

    `predicted` (measured, n): predictions of the models that left each measured network out; `reach`, of a shape that fits it:
    that network's own error, in the prediction's units. Low is the floor(alpha (m + 1))-th smallest of predicted - reach, high
    the ceil((1 - alpha) (m + 1))-th smallest of predicted + reach, m being the measured networks (Barber et al. 2021, section 3);
    infinite where they are too few for the coverage.
    """
    count, size = predicted.shape
    rank = _rank(count, coverage)
    if rank < 1:
        return np.full(size, -np.inf), np.full(size, np.inf)
    low = np.partition(predicted - reach, rank - 1, axis=0)[rank - 1]
    high = np.partition(predicted + reach, count - rank, axis=0)[count - rank]
    return low, high


def conformal_margin(scores: FloatArray, coverage: float) -> float:
    """Return the ceil((1 - alpha) (n + 1))-th smallest of `scores` (n,), errors of networks left out.

    Infinite where they are too few for the coverage. The margin is the same for all networks, so that the far end of a sum is a
    sum as well, as in the jackknife (Barber et al. 2021, section 1.2): it ignores how predictors without a fold differ.
    """
    count = len(scores)
    rank = _rank(count, coverage)
    return float(np.sort(scores)[count - rank]) if rank >= 1 else math.inf


def _rank(count: int, coverage: float) -> int:
    """Return floor(alpha (count + 1)), the place from either end of sorted scores; 0 where they are too few."""
    return math.floor((1 - coverage) * (count + 1) + _SLIP)

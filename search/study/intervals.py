"""Means over runs and rank correlations over networks, each with a bootstrap interval; and whether a method beats another.

Two kinds of luck are told apart. A mean over seeds has the luck of the seeds: the percentile bootstrap, widened as
Hesterberg 2015 (arXiv:1411.5279, section 4.3) does, for with ten values the plain one is too narrow by a tenth and uses a
normal's quantiles. A rank correlation has the luck of which networks were trained, and where a predictor has a seed, of that
too: networks are resampled for all runs alike, and then the runs. A resampled network counts as often as it was drawn, pairs
of it with itself not at all, which is Kendall's tau-b and Spearman's rho of the resample, computed from counts without
building it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from space.indexing import FloatArray

Statistic = Callable[
    [FloatArray, FloatArray, FloatArray], FloatArray
]  # x (n,), y (n,), counts (k, n) -> (k,)

COVERAGE = 0.95
DRAWS = 2000
FEWEST_DRAWN = 8  # values; of fewer, resampling never leaves the range of what was seen: Student's t does
FEWEST_RANKED = (
    10  # networks: of four that happen to be in order every resample is, and an interval would be a point
)
FEWEST_RUNS = 3  # fewer than these decide nothing
BEATS, TIES, LOSES, UNDECIDED, NOT_COMPARABLE = "beats", "ties", "loses", "too few runs", "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and the ends of its interval, NaN where there is none; `count` says of how many runs or networks it is."""

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
        """Return it for JSON, None in place of NaN."""
        ends = {name: getattr(self, name) for name in ("value", "low", "high")}
        return {
            **{name: None if math.isnan(end) else end for name, end in ends.items()},
            "count": self.count,
        }


NONE = Estimate(value=math.nan, low=math.nan, high=math.nan, count=0)


def mean_of(values: FloatArray, seed: int = 0, coverage: float = COVERAGE, draws: int = DRAWS) -> Estimate:
    """Return the mean of values (n,) and its interval; NaNs are left out, one value has no interval."""
    values = values[np.isfinite(values)]
    count = len(values)
    if not count:
        return NONE
    mean = float(values.mean())
    if count == 1:
        return Estimate(value=mean, low=math.nan, high=math.nan, count=1)
    from scipy.special import ndtr, stdtrit

    reach = float(stdtrit(count - 1, (1 + coverage) / 2))
    if count < FEWEST_DRAWN:
        reach *= float(values.std(ddof=1)) / math.sqrt(count)
        return Estimate(value=mean, low=mean - reach, high=mean + reach, count=count)
    level = float(ndtr(-reach * math.sqrt(count / (count - 1))))
    means = values[np.random.default_rng(seed).integers(0, count, (draws, count))].mean(axis=1)
    low, high = np.quantile(means, (level, 1 - level))
    return Estimate(value=mean, low=min(float(low), mean), high=max(float(high), mean), count=count)


def verdict(difference: Estimate) -> str:
    """Say of a difference, lower being better, whether its interval excludes 0 and on which side."""
    if difference.count < FEWEST_RUNS:
        return UNDECIDED
    if difference.high < 0:
        return BEATS
    return LOSES if difference.low > 0 else TIES


def kendall(x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return Kendall's tau-b of x (n,) and y (n,), each network counted `counts` (k, n) times, for each row: (k,)."""
    of_x, of_y = (np.sign(np.subtract.outer(v, v)) for v in (x, y))
    agreed = ((counts @ (of_x * of_y)) * counts).sum(axis=1)
    untied = [((counts @ np.abs(of)) * counts).sum(axis=1) for of in (of_x, of_y)]
    return _ratio(agreed, np.sqrt(untied[0] * untied[1]))


def spearman(x: FloatArray, y: FloatArray, counts: FloatArray) -> FloatArray:
    """Return Spearman's rho of x (n,) and y (n,), each network counted `counts` (k, n) times, for each row: (k,)."""
    ranks = []
    for values in (x, y):
        below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])  # (n, n)
        rank = counts @ below.T  # (k, n): mid-ranks, but for a constant
        centre = (rank * counts).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
        ranks.append(rank - centre)
    product = (counts * ranks[0] * ranks[1]).sum(axis=1)
    spreads = [(counts * rank**2).sum(axis=1) for rank in ranks]
    return _ratio(product, np.sqrt(spreads[0] * spreads[1]))


def correlation_of(
    statistic: Statistic,
    predicted: FloatArray,
    true: FloatArray,
    seed: int = 0,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
) -> Estimate:
    """Return the rank correlation of predictions (runs, n) with the truth (n,): the mean over runs, and its interval.

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
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), count=judged)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)

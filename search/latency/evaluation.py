"""Errors of predicted ratios against measured ones, and repeatability of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from search.statistics import FEWEST_DRAWN, kendall, mean_interval, spearman_of_rows, studentized
from space.errors import ConfigError
from space.indexing import FloatArray

MOST_PAIRED = 500  # networks of which all pairs are compared, in some ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of predictions of `count` networks, relative to the measured value (0.01 is 1 %).

    `mape` and `median_ape`: mean and median absolute error; `within_5` and `within_10`: the share of networks within 5 and 10 %;
    `spearman` and `kendall` (tau-b): rank correlations, None where one side is constant and has no order.
    """

    count: int
    mape: float
    median_ape: float
    within_5: float
    within_10: float
    spearman: float | None
    kendall: float | None


def relative_errors(predicted: ArrayLike, measured: ArrayLike) -> FloatArray:
    """Return |predicted - measured| / measured of each network, shape (n,).

    Raises:
        ConfigError: the shapes differ or nothing is given; a value is not finite, or a measured one not positive.
    """
    ours, theirs = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or not len(ours):
        raise ConfigError(
            f"predicted ratios of shape {ours.shape} against measured ones of shape {theirs.shape}; "
            "give one of each for every network, and at least one network"
        )
    check_ratios("measured ratio", theirs)
    if bad := np.flatnonzero(~np.isfinite(ours)).tolist():
        raise ConfigError(
            f"predicted ratio {ours[bad[0]]} at place {bad[0]}; leave out networks without a prediction"
        )
    return np.abs(ours - theirs) / theirs


def check_ratios(name: str, ratios: FloatArray) -> None:
    """Refuse ratios that are not finite and above 0.

    Raises:
        ConfigError: names the first bad value and its place.
    """
    if bad := np.flatnonzero(~(np.isfinite(ratios) & (ratios > 0))).tolist():
        raise ConfigError(
            f"{name} {ratios[bad[0]]} at place {bad[0]}; a ratio is a finite number above 0: "
            "leave out networks whose measurement failed"
        )


def judge(predicted: ArrayLike, measured: ArrayLike) -> Errors:
    """Compare predicted with measured ratios, each of shape (n,).

    Raises:
        ConfigError: see `relative_errors`.
    """
    errors = relative_errors(predicted, measured)
    rho, tau = _rank_correlations(np.asarray(predicted, np.float64), np.asarray(measured, np.float64))
    return Errors(
        count=len(errors),
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        within_5=float((errors <= 0.05).mean()),
        within_10=float((errors <= 0.10).mean()),
        spearman=rho,
        kendall=tau,
    )


def _rank_correlations(x: FloatArray, y: FloatArray) -> tuple[float | None, float | None]:
    """Return Spearman's rho and Kendall's tau-b of x (n,) and y (n,), None where one side has no order."""
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return None, None
    rho = float(spearman_of_rows(x[None], y[None])[0])
    if len(x) <= MOST_PAIRED:
        return rho, float(kendall(x, y, np.ones((1, len(x))))[0])
    from scipy.stats import kendalltau  # late: to import it takes longer than all else here

    return rho, float(kendalltau(x, y).statistic)


def repeatability(first: ArrayLike, second: ArrayLike) -> Errors:
    """Compare two rounds of measurement of the same networks: the ceiling for any predictor.

    Both rounds have noise, while a predictor is judged by one: where all differences are noise, an exact predictor has
    1 / sqrt(2) of these errors.

    Raises:
        ConfigError: as `judge`, for either round.
    """
    check_ratios("ratio of the first round", np.asarray(first, dtype=np.float64))
    return judge(first, second)


def mape_interval(predicted: ArrayLike, measured: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean absolute percentage error over networks like these, low and high.

    By the studentized bootstrap (Efron & Tibshirani 1993, section 12.5): absolute errors are skewed, and of 24 of them the high
    end of percentiles of means lay below the true mean in 6 to 14 % of cases, this one's in 2.5 to 6 %, where 2.5 % is meant. Of
    few networks it is Student's t; of one, which shows nothing of others, 0 and infinity.

    Raises:
        ConfigError: see `relative_errors`.
    """
    errors = relative_errors(predicted, measured)
    if len(errors) < 2:
        return 0.0, inf
    if len(errors) < FEWEST_DRAWN:
        _, low, high = map(float, mean_interval(errors))
    else:
        low, high = studentized(errors, seed)
    return max(low, 0.0), high

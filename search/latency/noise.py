"""Separation of prediction error into the predictor's own and the noise of the measurements.

Each measured ratio has a standard deviation. A badly measured network must not distort the fit, count as the predictor's error,
or widen all intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from space.errors import ConfigError
from space.indexing import FloatArray

MEDIAN = 0.6745  # of the absolute value of a standard normal
HALVINGS = 40


def check_sds(sds: ArrayLike | None, count: int) -> FloatArray:
    """Return relative standard deviations of `count` measured ratios, shape (count,); zeros where none are given.

    Raises:
        ConfigError: there is not one for each, or one is negative or not finite.
    """
    if sds is None:
        return np.zeros(count)
    found = np.asarray(sds, dtype=np.float64)
    if found.shape != (count,):
        raise ConfigError(
            f"{count} networks with standard deviations of shape {found.shape}; give one for each"
        )
    if bad := np.flatnonzero(~(np.isfinite(found) & (found >= 0))).tolist():
        raise ConfigError(
            f"standard deviation {found[bad[0]]} at place {bad[0]}; give a share of the ratio, 0 or more"
        )
    return found


def model_sd(errors: FloatArray, sds: FloatArray, leverage: FloatArray | None = None) -> float:
    """Return the predictor's own relative standard deviation, from held-out relative errors (n,) and `sds` (n,).

    With it the median of |error| over its expected deviation is that of a normal distribution; 0 where the measurements explain
    all errors. The median keeps a few bad errors from making all weights equal. `leverage` (n,): see `expected_sds`.
    """
    low, high = 0.0, float(np.abs(errors).max()) / MEDIAN
    if np.median(_standardized(errors, expected_sds(0.0, sds, leverage))) <= MEDIAN:
        return 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_more = np.median(_standardized(errors, expected_sds(middle, sds, leverage))) > MEDIAN
        low, high = (middle, high) if is_more else (low, middle)
    return high


def expected_sds(model: float, sds: FloatArray, leverage: FloatArray | None = None) -> FloatArray:
    """Return the deviation expected of each held-out error, shape (n,): the model's, the measurement's, and the fit's own.

    The last is the `leverage` (n,) times the variance of a typical measurement about the model.
    """
    variance: FloatArray = model**2 + sds**2
    if leverage is not None:
        variance = variance + leverage * (model**2 + np.median(sds) ** 2)
    return np.sqrt(variance)


def fit_weights(model: float, sds: FloatArray) -> FloatArray:
    """Return the weight of each measured network in a fit, shape (n,), of mean 1; equal without deviations."""
    variance = model**2 + sds**2
    if not np.any(variance):
        return np.ones(len(sds))
    weights: FloatArray = 1 / np.maximum(variance, variance.max() * 1e-6)
    weights /= weights.mean()
    return weights


def discounted(held_out: FloatArray, measured: FloatArray, model: float, sds: FloatArray) -> FloatArray:
    """Return measured ratios (n,), moved toward the predicted ones where they are less precise than the typical one.

    Each moves so far that its expected error is that of a network measured with the median precision, to judge the predictor by.
    """
    usual = np.sqrt(model**2 + np.median(sds) ** 2)
    expected = expected_sds(model, sds)
    share = np.minimum(1.0, np.divide(usual, expected, out=np.ones_like(sds), where=expected > 0))
    found: FloatArray = held_out + share * (measured - held_out)
    return found


def _standardized(errors: FloatArray, expected: FloatArray) -> FloatArray:
    """Return |errors| over their expected deviations; infinite for an error where the expected deviation is 0."""
    found: FloatArray = np.divide(
        np.abs(errors), expected, out=np.where(errors == 0, 0.0, np.inf), where=expected > 0
    )
    return found

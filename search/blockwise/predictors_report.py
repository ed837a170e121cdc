"""How well a predictor of accuracies predicts: errors and rank correlations, each with a bootstrap interval over networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.blockwise.fitting import Fitted
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

COVERAGE = 0.95
DRAWS = 2000
LEAVE_OUT, HELD_OUT = "leave-out", "held-out"
_AT_ONCE = 8_000_000  # numbers of one table, so that memory stays bounded
_MOST_PAIRS = 3000  # networks; of more all pairs are not held in memory: take a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic's `value` with the ends of its bootstrap interval over networks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a predictor does on `n` networks: on the fitted ones, each left out ("leave-out"), or on "held-out" ones.

    `mae` and `rmse`: mean absolute and root mean square error in points, None for scores that only rank. `kendall` (tau-b) and
    `spearman`: rank correlations with the accuracies, None where one side is constant and has no order. Leave-out predictions
    come from a model each: where the signatures say little, the higher a network is, the lower is the mean of the others, and
    their rank correlation falls below 0. That of held-out networks does not, nor that of "sum", which ranks unfitted.
    """

    predictor: str
    kind: str
    n: int
    coverage: float
    mae: Estimate | None
    rmse: Estimate | None
    kendall: Estimate | None
    spearman: Estimate | None


def evaluate(
    fitted: Fitted,
    indices: IndexArray | None = None,
    accuracies: FloatArray | None = None,
    *,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Report:
    """Judge a predictor by the networks (n,) of known accuracies (n,), or by the fitted ones that it left out if none are given.

    The intervals are percentiles of bootstrap draws of networks (Efron and Tibshirani 1993, chapter 13).

    Raises:
        ConfigError: no networks, one that the predictor was fitted to, more than can be paired, or an accuracy not finite.
    """
    kind = LEAVE_OUT if indices is None and accuracies is None else HELD_OUT
    if kind == LEAVE_OUT:
        truth, predicted, ranking = fitted.accuracies, fitted.leave_out, fitted.ranking
    else:
        given = np.asarray([] if indices is None else indices, dtype=np.int64)
        truth = np.asarray([] if accuracies is None else accuracies, dtype=np.float64)
        _check_held_out(fitted, given, truth)
        predicted = ranking = fitted.predict(given)
    if not 1 <= len(truth) <= _MOST_PAIRS or not 0 < coverage < 1:
        raise ConfigError(
            f"predictor {fitted.name!r} judged by {len(truth)} networks with coverage {coverage}; give 1 to {_MOST_PAIRS} "
            "networks of known accuracy, at random if there are more, and a share between 0 and 1"
        )
    drawn = list(_drawn(len(truth), draws, seed))
    level = (1 - coverage) / 2, (1 + coverage) / 2
    errors = predicted - truth
    return Report(
        predictor=fitted.name,
        kind=kind,
        n=len(truth),
        coverage=coverage,
        mae=_of_means(np.abs(errors), drawn, level) if fitted.in_percent else None,
        rmse=_of_means(errors**2, drawn, level, root=True) if fitted.in_percent else None,
        kendall=_ranked(ranking, truth, drawn, level, centred=False),
        spearman=_ranked(ranking, truth, drawn, level, centred=True),
    )


def _check_held_out(fitted: Fitted, indices: IndexArray, truth: FloatArray) -> None:
    """Refuse held-out networks that prove nothing.

    Raises:
        ConfigError: their number is not that of the accuracies, one is not finite, or one was fitted to.
    """
    if indices.ndim != 1 or indices.shape != truth.shape or not np.isfinite(truth).all():
        raise ConfigError(
            f"{indices.shape} held-out networks and {truth.shape} accuracies, all finite: {np.isfinite(truth).all()}; give "
            "one finite accuracy for each"
        )
    if len(both := np.intersect1d(indices, fitted.indices)):
        raise ConfigError(
            f"held-out network {both[0]} was fitted to ({len(both)} of {len(indices)} were); leave those out, or "
            "judge by the leave-out predictions"
        )


def _drawn(count: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """Yield how often each network is in each bootstrap draw, (some draws, count), `draws` in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, min(draws, _AT_ONCE // count))
    for begin in range(0, draws, at_once):
        some = min(at_once, draws - begin)
        picks = rng.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        yield np.bincount(picks.ravel(), minlength=some * count).reshape(some, count).astype(np.float64)


def _of_means(
    values: FloatArray, drawn: list[FloatArray], level: tuple[float, float], *, root: bool = False
) -> Estimate:
    """Return the mean of values (n,), or with `root` the root of their mean."""
    means = np.concatenate(
        [values.mean(keepdims=True), *(weights @ values / len(values) for weights in drawn)]
    )
    found = np.sqrt(means) if root else means
    low, high = np.quantile(found[1:], level)
    return Estimate(value=float(found[0]), low=float(low), high=float(high))


def _ranked(
    x: FloatArray, y: FloatArray, drawn: list[FloatArray], level: tuple[float, float], *, centred: bool
) -> Estimate | None:
    """Return Kendall's tau-b, or with `centred` Spearman's rho, of x and y, (n,); None where one side has no order.

    Both come from the signs of all pairs: tau counts those on which x and y agree, and a network's rank, less the mean
    rank, is half the sum of its signs. Draws in which one side is constant have no order and are left out.
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    signs = _signs(x), _signs(y)
    of = _spearman if centred else _kendall
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.concatenate([of(*signs, weights) for weights in drawn])
    low, high = np.nanquantile(values, level)
    value = of(*signs, np.ones((1, len(x))))[0]
    return Estimate(value=float(value), low=float(low), high=float(high))


def _signs(values: FloatArray) -> NDArray[np.float32]:
    return np.sign(values[:, None] - values[None, :]).astype(np.float32)


def _kendall(x: NDArray[np.float32], y: NDArray[np.float32], weights: FloatArray) -> FloatArray:
    """Return tau-b of each draw, (draws,), from the signs of pairs, (n, n) each, and weights (draws, n)."""
    agree = ((weights @ (x * y)) * weights).sum(axis=1)
    apart = [((weights @ np.abs(side)) * weights).sum(axis=1) for side in (x, y)]
    tau: FloatArray = agree / np.sqrt(apart[0] * apart[1])
    return tau


def _spearman(x: NDArray[np.float32], y: NDArray[np.float32], weights: FloatArray) -> FloatArray:
    """Return rho of each draw, (draws,); see `_kendall`."""
    ranks = [weights @ side.T for side in (x, y)]  # (draws, n): twice the ranks, less their mean
    both = (weights * ranks[0] * ranks[1]).sum(axis=1)
    each = [(weights * rank**2).sum(axis=1) for rank in ranks]
    rho: FloatArray = both / np.sqrt(each[0] * each[1])
    return rho

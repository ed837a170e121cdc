"""Evaluation of accuracy predictors: errors and rank correlations, each with a bootstrap interval over networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from search.blockwise.cross_validation import FittedPredictor
from search.statistics import COVERAGE, DRAWS, Correlation, Estimate, bootstrap, finite, kendall, spearman
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

LEAVE_OUT, HELD_OUT = "leave-out", "held-out"
_MOST_PAIRS = 3000  # networks; of more all pairs are not held in memory: take a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorReport:
    """Errors of a predictor on `n` networks: the fitted ones, each left out ("leave-out"), or "held-out" ones.

    `mae` and `rmse`: mean absolute and root mean square error in points, None for scores that only rank. `kendall` (tau-b) and
    `spearman`: rank correlations with the accuracies, None where one side is constant. Where signatures say little, the rank
    correlation of leave-out predictions falls below 0, for the mean of the others is lower the higher the network left out is.
    That of held-out networks does not, nor that of "sum", which ranks unfitted.
    """

    predictor: str
    kind: str
    n: int
    coverage: float
    mae: Estimate | None
    rmse: Estimate | None
    kendall: Estimate | None
    spearman: Estimate | None

    def to_plain(self) -> dict[str, Any]:
        """Return it for JSON, each estimate as its value and the ends of its interval, None where there is none."""
        plain = asdict(self)
        for name in ("mae", "rmse", "kendall", "spearman"):
            if plain[name] is not None:
                plain[name] = {end: finite(plain[name][end]) for end in ("value", "low", "high")}
        return plain


def evaluate(
    fitted: FittedPredictor,
    indices: IndexArray | None = None,
    accuracies: FloatArray | None = None,
    *,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
) -> PredictorReport:
    """Evaluate a predictor on networks (n,) of known accuracies (n,), or by cross-validation if none are given.

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
    absolute = np.abs(predicted - truth)

    def estimated(statistic: Callable[[FloatArray], FloatArray]) -> Estimate:
        return bootstrap(statistic, len(truth), coverage=coverage, draws=draws, seed=seed)

    def ranked(correlation: Correlation) -> Estimate | None:
        if len(truth) < 2 or np.ptp(ranking) == 0 or np.ptp(truth) == 0:
            return None
        return estimated(lambda counts: correlation(ranking, truth, counts))

    return PredictorReport(
        predictor=fitted.name,
        kind=kind,
        n=len(truth),
        coverage=coverage,
        mae=estimated(lambda counts: counts @ absolute / len(truth)) if fitted.in_percent else None,
        rmse=estimated(lambda counts: np.sqrt(counts @ absolute**2 / len(truth)))
        if fitted.in_percent
        else None,
        kendall=ranked(kendall),
        spearman=ranked(spearman),
    )


def _check_held_out(fitted: FittedPredictor, indices: IndexArray, truth: FloatArray) -> None:
    """Refuse held-out networks that the predictor was fitted to, and accuracies that do not match or are not finite.

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

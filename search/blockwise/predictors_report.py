"""Evaluation of accuracy predictors: errors and rank correlations, each with a bootstrap interval over networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from search.blockwise.cross_validation import FittedPredictor
from search.statistics import COVERAGE, DRAWS, Correlation, Estimate, bootstrap, finite, kendall, spearman
from space.errors import ConfigError
from space.indexing import FloatArray

_MOST_PAIRS = 3000  # networks; of more all pairs are not held in memory: take a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorReport:
    """Errors of a predictor on the `n` networks that it was fitted to, each left out.

    `mae` and `rmse`: mean absolute and root mean square error in points. `kendall` (tau-b) and `spearman`: rank correlations with
    the accuracies, None where one side is constant. Where signatures say little, the rank correlation of leave-out predictions
    falls below 0, for the mean of the others is lower the higher the network left out is. That of "sum", which ranks unfitted,
    does not.
    """

    predictor: str
    n: int
    coverage: float
    mae: Estimate
    rmse: Estimate
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
    fitted: FittedPredictor, *, coverage: float = COVERAGE, draws: int = DRAWS, seed: int = 0
) -> PredictorReport:
    """Evaluate a predictor by cross-validation.

    The intervals are percentiles of bootstrap draws of networks (Efron and Tibshirani 1993, chapter 13).

    Raises:
        ConfigError: it was fitted to no networks, or to more than can be paired.
    """
    truth, predicted, ranking = fitted.accuracies, fitted.leave_out, fitted.ranking
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
        n=len(truth),
        coverage=coverage,
        mae=estimated(lambda counts: counts @ absolute / len(truth)),
        rmse=estimated(lambda counts: np.sqrt(counts @ absolute**2 / len(truth))),
        kendall=ranked(kendall),
        spearman=ranked(spearman),
    )

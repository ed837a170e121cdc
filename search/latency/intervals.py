"""Prediction intervals by cross-validation, without assumptions on the errors' distribution."""

from __future__ import annotations

import numpy as np

from search.statistics import conformal_interval
from space.indexing import FloatArray, IndexArray

FOLDS = 10
COVERAGE = 0.90


def folds(count: int, seed: int) -> IndexArray:
    """Assign `count` networks to 10 folds of nearly equal size, or to one each if fewer; shape (count,)."""
    dealt = np.arange(count, dtype=np.int64) % min(FOLDS, count)
    return np.random.default_rng(seed).permutation(dealt)


def cv_plus(
    predictions: FloatArray,
    fold_of: IndexArray,
    scores: FloatArray,
    coverage: float,
    widths: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return low and high of the CV+ interval, each (n,), from predictions (folds, n); scores (measured,).

    `search.statistics.conformal_interval` with residuals relative to the prediction and in units of how uncertain each is (Lei et
    al. 2018, "Distribution-free predictive inference for regression", section 5.2): the reach of measured network i at x is
    |f_k(x)| w(x) R_i, with k = `fold_of`[i], the fold of i, R_i its score and w(x) from `widths` (n,), 1 where they are left out.
    Too few networks for the coverage give 0 and infinity.
    """
    spread = predictions[fold_of]  # (measured, n)
    reach = np.abs(spread) * scores[:, None]
    if widths is not None:
        reach *= widths
    low, high = conformal_interval(spread, reach, coverage)
    return np.maximum(low, 0.0), high  # a latency is positive


def guaranteed(coverage: float) -> float:
    """Return the share of networks within CV+ intervals of this coverage whatever the errors are, 1 - 2 alpha.

    Theorem 4 of Barber et al. 2021, but for a term that vanishes with more networks a fold. It holds for networks drawn like the
    measured ones, which is not so where those are a design, or for the best networks of a search.
    """
    return max(0.0, 2 * coverage - 1)

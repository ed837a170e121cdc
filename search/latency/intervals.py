"""Prediction intervals by cross-validation, without assumptions on the errors' distribution."""

from __future__ import annotations

import numpy as np

from search.latency.features import FloatArray, IndexArray

FOLDS = 10
COVERAGE = 0.90


def folds(count: int, seed: int) -> IndexArray:
    """Deal `count` networks into 10 folds, or one each if fewer, of nearly equal size; shape (count,)."""
    dealt = np.arange(count, dtype=np.int64) % min(FOLDS, count)
    return np.random.default_rng(seed).permutation(dealt)


def cv_plus(
    predictions: FloatArray, fold_of: IndexArray, scores: FloatArray, coverage: float
) -> tuple[FloatArray, FloatArray]:
    """Return low and high of the CV+ interval, each (n,), from predictions (folds, n); scores (measured,).

    Barber, Candes, Ramdas & Tibshirani 2021, "Predictive inference with the jackknife+", section 3, with residuals relative
    to the prediction: low is the floor(alpha (n + 1))-th smallest of f_k(x) (1 - R_i), high the
    ceil((1 - alpha) (n + 1))-th smallest of f_k(x) (1 + R_i), with k = `fold_of`[i], the fold of measured network i, and R_i its
    score. Too few networks for the coverage give 0 and infinity.
    """
    count = len(scores)
    rank = int(np.floor((1 - coverage) * (count + 1) + 1e-9))  # 1e-9: 0.1 * 10 is to be 1, not 0.99999
    if rank < 1:
        return np.zeros(predictions.shape[1]), np.full(predictions.shape[1], np.inf)
    spread = predictions[fold_of]  # (measured, n)
    reach = np.abs(spread) * scores[:, None]
    low = np.partition(spread - reach, rank - 1, axis=0)[rank - 1]
    high = np.partition(spread + reach, count - rank, axis=0)[count - rank]
    return np.maximum(low, 0.0), high  # a latency is positive


def margin(scores: FloatArray, coverage: float) -> float:
    """Return the share of a prediction by which its interval reaches to either side, from `scores` (measured,) as in `cv_plus`.

    The same for all networks, so that the far end of a sum is a sum as well: the ceil((1 - alpha) (n + 1))-th smallest score, as
    in the jackknife (Barber et al. 2021, section 1.2), which knows nothing of how predictors without a fold differ at the
    network. Infinite where there are too few scores for the coverage.
    """
    count = len(scores)
    rank = int(np.floor((1 - coverage) * (count + 1) + 1e-9))
    return float(np.sort(scores)[count - rank]) if rank >= 1 else float("inf")

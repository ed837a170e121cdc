"""Prediction intervals by cross-validation, without assumptions on the errors' distribution."""

from __future__ import annotations

import numpy as np

from space.indexing import FloatArray, IndexArray

FOLDS = 10
COVERAGE = 0.90


def folds(count: int, seed: int) -> IndexArray:
    """Deal `count` networks into 10 folds, or one each if fewer, of nearly equal size; shape (count,)."""
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

    Barber, Candes, Ramdas & Tibshirani 2021, "Predictive inference with the jackknife+", section 3, with residuals relative
    to the prediction and in units of how uncertain each is (Lei et al. 2018, "Distribution-free predictive inference for
    regression", section 5.2): low is the floor(alpha (n + 1))-th smallest of f_k(x) (1 - w(x) R_i), high the
    ceil((1 - alpha) (n + 1))-th smallest of f_k(x) (1 + w(x) R_i), with k = `fold_of`[i], the fold of measured network i, R_i its
    score and w(x) from `widths` (n,), 1 where they are left out. Too few networks for the coverage give 0 and infinity.
    """
    count = len(scores)
    rank = int(np.floor((1 - coverage) * (count + 1) + 1e-9))  # 1e-9: 0.1 * 10 is to be 1, not 0.99999
    if rank < 1:
        return np.zeros(predictions.shape[1]), np.full(predictions.shape[1], np.inf)
    spread = predictions[fold_of]  # (measured, n)
    reach = np.abs(spread) * scores[:, None]
    if widths is not None:
        reach *= widths
    low = np.partition(spread - reach, rank - 1, axis=0)[rank - 1]
    high = np.partition(spread + reach, count - rank, axis=0)[count - rank]
    return np.maximum(low, 0.0), high  # a latency is positive


def guaranteed(coverage: float) -> float:
    """Return the share of networks that CV+ intervals of this coverage hold whatever the errors are, 1 - 2 alpha.

    Theorem 4 of Barber et al. 2021, but for a term that vanishes with more networks a fold; only of networks drawn like the
    measured ones. A design, networks picked to learn most, and the best of a search are not.
    """
    return max(0.0, 2 * coverage - 1)


def margin(scores: FloatArray, coverage: float) -> float:
    """Return the share of a prediction by which its interval reaches to either side, from `scores` (measured,) as in `cv_plus`.

    The same for all networks, so that the far end of a sum is a sum as well: the ceil((1 - alpha) (n + 1))-th smallest score, as
    in the jackknife (Barber et al. 2021, section 1.2), which knows nothing of how predictors without a fold differ at the
    network. Infinite where there are too few scores for the coverage.
    """
    count = len(scores)
    rank = int(np.floor((1 - coverage) * (count + 1) + 1e-9))
    return float(np.sort(scores)[count - rank]) if rank >= 1 else float("inf")

"""Ridge regression of accuracies; penalty and features are chosen by leave-one-out cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from space.indexing import FloatArray

PENALTIES = np.logspace(-2, 4, 19)
FEWEST = 3  # networks; with fewer, leaving one out leaves nothing to compare


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """Ridge fit: the index of the `chosen` design, its `slopes` (columns,) and the `constant`."""

    chosen: int
    slopes: FloatArray
    constant: float


def fit_ridge_cv(designs: Sequence[FloatArray], scores: FloatArray) -> Ridge:
    """Fit scores (n,) on each of several tables of features (n, columns) and return the fit of least leave-one-out error.

    The earlier of equal ones is taken. Fewer than `FEWEST` networks are fitted by their mean.
    """
    if len(scores) < FEWEST:
        return Ridge(chosen=0, slopes=np.zeros(designs[0].shape[1]), constant=float(scores.mean()))
    from sklearn.linear_model import RidgeCV

    models = [RidgeCV(alphas=PENALTIES).fit(design, scores) for design in designs]
    chosen = int(np.argmax([model.best_score_ for model in models]))  # minus the mean squared error
    return Ridge(chosen=chosen, slopes=models[chosen].coef_, constant=float(models[chosen].intercept_))

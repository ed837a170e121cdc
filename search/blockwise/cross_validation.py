"""A predictor with its cross-validation folds: out-of-fold errors and distribution-free intervals.

A network's leave-out prediction is that of a model made without it, all choices of penalties and features included.
The intervals are the jackknife+ where each network was left out alone, and CV+ where folds were (Barber, Candes, Ramdas and
Tibshirani 2021, arXiv:1905.02928): for networks drawn like the fitted ones they hold the truth with probability of 1 - 2 alpha
or more (CV+: less about sqrt(2 / n) at worst), and in practice about 1 - alpha, the coverage asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.blockwise.signature_features import SignatureFeatures
from search.statistics import conformal_interval, fewest_scores
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray
from space.text import counted

FEWEST = 3  # networks with accuracies; of fewer no model can be made without one and judged
COVERAGE = 0.90
AT_ONCE = 4_000_000  # predictions of left-out models held in memory

FittedModel = Callable[[IndexArray], FloatArray]  # networks (n,) -> predictions (n,)
Maker = Callable[[SignatureFeatures, IndexArray, FloatArray], FittedModel]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedPredictor:
    """A predictor of accuracy named `name`, fitted to networks `indices` (n,) of known `accuracies` (n,); n may be 0.

    `in_percent`: predictions are accuracies; else they only rank, higher being better. `leave_out`, (n,): the fitted networks'
    predictions without them, in percent. `ranking`, (n,): scores of the fitted networks for rank correlations, `leave_out` or
    scores that use no accuracy. `left_out` are the models made without a fold each, and `fold_of`, (n,), says
    in which one a network was left out.
    """

    name: str
    features: SignatureFeatures
    model: FittedModel
    in_percent: bool
    indices: IndexArray
    accuracies: FloatArray
    leave_out: FloatArray
    ranking: FloatArray
    fold_of: IndexArray
    left_out: tuple[FittedModel, ...]

    @property
    def errors(self) -> FloatArray:
        """The leave-out predictions minus the accuracies, (n,), in points."""
        return self.leave_out - self.accuracies

    def predict(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,): an accuracy in percent, or a score if not `in_percent`.

        Raises:
            ConfigError: a network is not in the space, or a signature of one of its blocks is unknown.
        """
        indices = np.asarray(indices, dtype=np.int64)
        self.features.check(indices)
        return self.model(indices)

    def interval(self, indices: IndexArray, coverage: float = COVERAGE) -> tuple[FloatArray, FloatArray]:
        """Return low and high of each network's prediction interval in percent, each (n,).

        With fewer than `fewest_scores(coverage)` fitted networks they are minus and plus infinity.

        Raises:
            ConfigError: as `predict`; nothing was fitted, or the coverage is no share.
        """
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage = {coverage}; give a share between 0 and 1, such as {COVERAGE}")
        if not len(self.left_out):
            raise ConfigError(
                f"predictor {self.name!r} was given no accuracies, so its scores have no interval; fit it "
                f"to {fewest_scores(coverage)} networks or more of known accuracy"
            )
        indices = np.asarray(indices, dtype=np.int64)
        self.features.check(indices)
        low, high = np.full(len(indices), -np.inf), np.full(len(indices), np.inf)
        if len(self.indices) < fewest_scores(coverage):
            return low, high
        residuals = np.abs(self.errors)[:, None]
        size = max(1, AT_ONCE // len(self.indices))
        for begin in range(0, len(indices), size):
            rows = slice(begin, begin + size)
            predicted = np.stack([model(indices[rows]) for model in self.left_out])[self.fold_of]  # (n, rows)
            low[rows], high[rows] = conformal_interval(predicted, residuals, coverage)
        return low, high


def fitted(
    name: str,
    features: SignatureFeatures,
    make: Maker,
    indices: IndexArray,
    accuracies: FloatArray,
    fold_of: IndexArray,
) -> FittedPredictor:
    """Make a model of all networks (n,) and their accuracies (n,), and one without each fold of `fold_of` (n,), if it has any."""
    left_out = []
    predicted = np.full(len(indices), np.nan)
    for fold in range(int(fold_of.max(initial=-1)) + 1):
        is_out = fold_of == fold
        model = make(features, indices[~is_out], accuracies[~is_out])
        predicted[is_out] = model(indices[is_out])
        left_out.append(model)
    return FittedPredictor(
        name=name,
        features=features,
        model=make(features, indices, accuracies),
        in_percent=True,
        indices=indices,
        accuracies=accuracies,
        leave_out=predicted,
        ranking=predicted,
        fold_of=fold_of,
        left_out=tuple(left_out),
    )


def deal(indices: IndexArray, most: int, seed: int) -> IndexArray:
    """Assign networks (n,) to n folds of one, or to `most` folds of nearly equal size where they are more; (n,).

    A network's fold does not depend on the order of the networks.
    """
    count = len(indices)
    dealt = np.arange(count, dtype=np.int64) % min(most, count)
    if count > most:
        dealt = np.random.default_rng(seed).permutation(dealt)
    fold_of = np.empty(count, dtype=np.int64)
    fold_of[np.argsort(indices)] = dealt
    return fold_of


def check_known(
    name: str, features: SignatureFeatures, indices: IndexArray, accuracies: FloatArray, least: int
) -> None:
    """Refuse networks (n,) and accuracies (n,) that a predictor cannot be fitted to.

    Raises:
        ConfigError: they are fewer than `least`, differ in number, or name a network twice; an accuracy is not finite; a
            signature is unknown.
    """
    if indices.ndim != 1 or indices.shape != accuracies.shape:
        raise ConfigError(
            f"predictor {name!r}: {indices.shape} networks and {accuracies.shape} accuracies; give one for each"
        )
    if len(indices) < least:
        raise ConfigError(
            f"predictor {name!r}: {counted(len(indices), 'network')} of known accuracy; it needs {least} or more, and "
            f"{fewest_scores(COVERAGE)} or more for intervals of {COVERAGE:.0%}: train or fine-tune more"
        )
    if not np.isfinite(accuracies).all():
        place = int(np.argmin(np.isfinite(accuracies)))
        raise ConfigError(
            f"predictor {name!r}: the accuracy of network {indices[place]} is {accuracies[place]}; leave out networks "
            "whose training failed"
        )
    values, counts = np.unique(indices, return_counts=True)
    if (counts > 1).any():
        raise ConfigError(
            f"predictor {name!r}: network {values[counts > 1][0]} is given {counts.max()} times; left out, it would still be "
            "known: give the mean of its accuracies"
        )
    features.check(indices)

"""The ladder of latency predictors, simplest first; adding one is adding a function and a line of `RUNGS`.

All minimise relative errors. A rung never sees the networks that it is judged on, but may know of every network of the
space what costs no measurement of it: its blocks, its MACs, the sum of its parts, another configuration's prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search.latency.features import (
    FloatArray,
    IndexArray,
    block_features,
    pair_features,
    stage_effects,
    standardised,
    structured,
)
from search.latency.ridge import fit_line, fit_ridge
from space import BLOX, SpaceConfig
from space.costs import all_macs

FEWEST = 10  # networks; CV+ intervals at 90 % need 9
PENALTIES = np.logspace(-3, 4, 22)
PAIR_SCALE = 0.1  # second-order effects are expected to be a tenth of first-order ones
TREES = 120


class Predictor(Protocol):
    """Predict the ratios of networks, shape (n,), from their indices, shape (n,)."""

    def __call__(self, indices: IndexArray, /) -> FloatArray: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What is known of every network of a space before it is measured; arrays have shape (len(config),).

    `parts_sum`: the measured ratios of stem, cells, reductions and head, added up. `prior`: another configuration's prediction.
    """

    config: SpaceConfig = BLOX
    parts_sum: FloatArray | None = None
    prior: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """Measured networks, indices and ratios of shape (n,), and what is known beside them."""

    known: Known
    indices: IndexArray
    ratios: FloatArray
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One predictor: `needs` names the field of `Known` that it cannot do without, `min_networks` how many measured ones."""

    name: str
    meaning: str
    fit: Callable[[Training], Predictor]
    needs: str | None = None
    min_networks: int = FEWEST


def fit_macs(training: Training) -> Predictor:
    """Fit a line through MACs."""
    return _line(training, all_macs(training.known.config).astype(np.float64))


def fit_sum(training: Training) -> Predictor:
    """Take the sum of the measured parts as it is."""
    parts_sum = _present(training.known.parts_sum)
    return lambda indices: parts_sum[indices]


def fit_affine(training: Training) -> Predictor:
    """Fit a line through the sum of the measured parts."""
    return _line(training, _present(training.known.parts_sum))


def fit_structured(training: Training) -> Predictor:
    """Fit ridge regression on op counts and wiring of each stage."""
    config = training.known.config
    table = standardised(block_features(config))
    return fit_ridge(config, table, training.indices, training.ratios, PENALTIES)


def fit_pairs(training: Training) -> Predictor:
    """Fit ridge regression on op counts, wiring and their products within each stage."""
    config = training.known.config
    table = np.hstack(
        [standardised(block_features(config)), PAIR_SCALE * standardised(pair_features(config))]
    )
    return fit_ridge(config, table, training.indices, training.ratios, PENALTIES)


def fit_corrected(training: Training) -> Predictor:
    """Fit a line through the sum of parts, corrected by a shrunk ridge."""
    return _corrected(training, _present(training.known.parts_sum))


def fit_transfer(training: Training) -> Predictor:
    """Fit a line through another configuration's prediction, corrected by a shrunk ridge."""
    return _corrected(training, _present(training.known.prior))


def fit_boosted(training: Training) -> Predictor:
    """Fit boosted trees on what a ridge leaves: what depends on more than one stage. With parts, `corrected` is that ridge.

    Friedman 2002, "Stochastic gradient boosting". Of scikit-learn's two kinds the older one, which predicts the whole space
    about six times as fast.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    known = training.known
    base = (fit_structured if known.parts_sum is None else fit_corrected)(training)

    def columns(indices: IndexArray, before: FloatArray) -> FloatArray:
        extra = [] if known.parts_sum is None else [known.parts_sum[indices] / before]
        return np.column_stack([structured(known.config, indices), *extra])

    before = base(training.indices)
    trees = GradientBoostingRegressor(
        n_estimators=TREES,
        learning_rate=0.08,
        max_depth=3,
        min_samples_leaf=5,
        subsample=0.7,
        random_state=training.seed,
    ).fit(columns(training.indices, before), training.ratios / before - 1)

    def predict(indices: IndexArray) -> FloatArray:
        before = base(indices)
        corrected: FloatArray = before * (1 + trees.predict(columns(indices, before)))
        return corrected

    return predict


RUNGS: tuple[Rung, ...] = (
    Rung(name="macs", meaning="a line through MACs", fit=fit_macs),
    Rung(name="sum", meaning="the sum of the measured parts", fit=fit_sum, needs="parts_sum"),
    Rung(name="affine", meaning="a line through the sum of parts", fit=fit_affine, needs="parts_sum"),
    Rung(name="ridge", meaning="ridge on op counts and wiring of each stage", fit=fit_structured),
    Rung(
        name="corrected", meaning="affine, corrected by a shrunk ridge", fit=fit_corrected, needs="parts_sum"
    ),
    Rung(
        name="transfer",
        meaning="a line through the prior, corrected by a shrunk ridge",
        fit=fit_transfer,
        needs="prior",
    ),
    Rung(name="pairs", meaning="ridge with products within each stage", fit=fit_pairs, min_networks=90),
    Rung(name="boosted", meaning="ridge, its residual by boosted trees", fit=fit_boosted, min_networks=90),
)


def _line(training: Training, x: FloatArray) -> Predictor:
    slope, intercept = fit_line(x[training.indices], training.ratios)
    return lambda indices: intercept + slope * x[indices]


def _corrected(training: Training, guess: FloatArray) -> Predictor:
    """Fit a line through `guess`, shape (len(config),), and what it leaves by ridge, both at once.

    Two configurations differ in what an op costs by some share of the cost. So each feature is as wide as its effect within the
    guess, and a ridge shrinks relative differences; but no narrower than the typical one: a device may find dear what
    costs another nothing.
    """
    config = training.known.config
    table = standardised(block_features(config))
    widths = guess_widths(table, stage_effects(config, guess))
    return fit_ridge(config, table * widths[:, None, :], training.indices, training.ratios, PENALTIES, guess)


def guess_widths(table: FloatArray, effects: FloatArray) -> FloatArray:
    """Return how wide features of blocks (B, columns) are beside a guess of `effects` (stages, B): (stages, columns)."""
    sizes = np.stack(
        [np.linalg.lstsq(table, effect, rcond=None)[0] for effect in effects]
    )  # (stages, columns)
    typical = np.sqrt(np.mean(sizes**2))
    return np.hypot(sizes / typical, 1.0) if typical > 0 else np.ones_like(sizes)


def _present(array: FloatArray | None) -> FloatArray:
    assert array is not None, "a rung was fitted without what it needs"
    return array

"""Predictors that are sums over stages, or sums and products: the sum of losses (LANA), ridges (DONNA).

Every model is made from features and the accuracies of some networks, and predicts those of any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search.blockwise.predictors_features import HIGHER_IS_BETTER, Features
from search.latency.features import rows_of
from search.methods.ridge import fit_ridge_cv
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices

# How wide a product is against a feature, and so how little it is shrunk; 0 leaves the products out. The best is found by
# leave-one-out, as in `search.methods.linear`.
PRODUCT_SCALES = (0.0, 0.1, 0.3, 1.0)


class Model(Protocol):
    """What predicts networks from their blocks."""

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,)."""
        ...

    def additive(self) -> tuple[FloatArray, float] | None:
        """Return what each block adds in each stage, (stages, B), and a constant; None if that is not all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Predict `constant` and what the block of each stage adds, `scores` (stages, B)."""

    config: SpaceConfig
    scores: FloatArray
    constant: float = 0.0

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,)."""
        digits = block_indices(self.config, indices)
        total: FloatArray = self.constant + self.scores[np.arange(self.config.stages), digits].sum(axis=1)
        return total

    def additive(self) -> tuple[FloatArray, float]:
        """Return the scores, (stages, B), and the constant."""
        return self.scores, self.constant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quadratic:
    """Predict by features of blocks, `table` (stages, B, columns), their `slopes` (stages * columns,) and those of `products`.

    `products`, (stages * columns, stages * columns), are upper triangular and may all be 0.
    """

    config: SpaceConfig
    table: FloatArray
    slopes: FloatArray
    products: FloatArray
    constant: float

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,)."""
        rows = _rows(self.table, block_indices(self.config, indices))
        total: FloatArray = self.constant + rows @ self.slopes + ((rows @ self.products) * rows).sum(axis=1)
        return total

    def additive(self) -> tuple[FloatArray, float] | None:
        """Return what each block adds, (stages, B), and the constant; None where products of two stages count.

        Products within a stage are the block's own.
        """
        stages, _, columns = self.table.shape
        products = self.products.reshape(stages, columns, stages, columns)
        own = products[np.arange(stages), :, np.arange(stages)]  # (stages, columns, columns)
        if np.count_nonzero(products) > np.count_nonzero(own):
            return None
        scores = np.einsum("sbc,sc->sb", self.table, self.slopes.reshape(stages, columns))
        return scores + np.einsum("sbc,scd,sbd->sb", self.table, own, self.table), self.constant


def raw_sums(features: Features) -> Sums:
    """Return the sums of one column over the stages, higher being better: LANA's ranking (arXiv:2107.10624), never fitted."""
    sign = 1.0 if features.columns[0] in HIGHER_IS_BETTER else -1.0
    return Sums(config=features.config, scores=sign * features.table[:, :, 0])


def fit_sum(features: Features, indices: IndexArray, accuracies: FloatArray) -> Sums:
    """Bring the sums of one column to percent by the line of least squares through accuracies (n,), its slope 0 or more.

    A slope below 0 would say that the worse blocks make the better networks: then all are predicted to be the mean.
    """
    raw = raw_sums(features)
    sums = raw(indices)
    centre, level = float(sums.mean()), float(accuracies.mean())
    spread = float(((sums - centre) ** 2).sum())
    slope = max(0.0, float(((sums - centre) * (accuracies - level)).sum()) / spread) if spread > 0 else 0.0
    # 0 times an unknown block's NaN stays NaN: it remains unknown.
    return Sums(config=raw.config, scores=slope * raw.scores, constant=level - slope * centre)


def fit_linear(features: Features, indices: IndexArray, accuracies: FloatArray) -> Quadratic:
    """Fit a ridge to the features of each stage, as DONNA does (Moons et al. 2021, arXiv:2012.08859), without products."""
    return _fit(features, indices, accuracies, (0.0,))


def fit_second_order(features: Features, indices: IndexArray, accuracies: FloatArray) -> Quadratic:
    """Fit a ridge to the features of each stage, their squares and their products in pairs, within and between stages."""
    return _fit(features, indices, accuracies, PRODUCT_SCALES)


def _fit(
    features: Features, indices: IndexArray, accuracies: FloatArray, scales: tuple[float, ...]
) -> Quadratic:
    """Fit a ridge for each scale of products, on values and on logarithms, and take that of least leave-one-out error.

    DONNA takes the values. What noise in a stage's output costs grows with its power, but soon less than in proportion,
    and one block that learned nothing has an NSR far from all others', which a line then bends to. Which of the two fits is
    for the networks to say; where they do not, the values are taken.
    """
    config = features.config
    digits = block_indices(config, indices)
    tables = [features.scaled(logarithms=False), features.scaled(logarithms=True)]
    if (tables[0] == tables[1]).all():
        tables = tables[:1]
    width = config.stages * len(features.columns)
    pairs = np.triu_indices(width)
    designs, choices = [], []
    for scale in scales:
        for table in tables:
            rows = _rows(table, digits)
            products = [scale * rows[:, pairs[0]] * rows[:, pairs[1]]] if scale else []
            designs.append(np.hstack([rows, *products]))
            choices.append((table, scale))
    fit = fit_ridge_cv(designs, accuracies)
    table, scale = choices[fit.chosen]
    products_of = np.zeros((width, width))
    if scale:
        products_of[pairs] = scale * fit.slopes[width:]
    return Quadratic(
        config=config, table=table, slopes=fit.slopes[:width], products=products_of, constant=fit.constant
    )


def _rows(table: FloatArray, digits: IndexArray) -> FloatArray:
    """Return networks' features, (n, stages * columns), from each stage's table."""
    return np.hstack([rows_of(table[stage], digits[:, [stage]]) for stage in range(len(table))])

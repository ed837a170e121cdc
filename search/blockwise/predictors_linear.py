"""Predictors that are sums over stages, or sums and products: the sum of losses (LANA), ridges (DONNA).

Every model is fitted to features and accuracies of some networks, and predicts any network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.blockwise.signature_features import HIGHER_IS_BETTER, SignatureFeatures
from search.methods.ridge import PRODUCT_SCALES, Quadratic, fit_quadratic
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Prediction by sums: `constant` and the score of each stage's block, `scores` (stages, B)."""

    config: SpaceConfig
    scores: FloatArray
    constant: float = 0.0

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,)."""
        choices = block_indices(self.config, indices)
        total: FloatArray = self.constant + self.scores[np.arange(self.config.stages), choices].sum(axis=1)
        return total

    def additive(self) -> tuple[FloatArray, float]:
        """Return the additive effect of each block in each stage, (stages, B), and the constant."""
        return self.scores, self.constant


def raw_sums(features: SignatureFeatures) -> Sums:
    """Return the sums of one column over the stages, higher being better: LANA's ranking (arXiv:2107.10624), never fitted."""
    sign = 1.0 if features.columns[0] in HIGHER_IS_BETTER else -1.0
    return Sums(config=features.config, scores=sign * features.table[:, :, 0])


def fit_sum(features: SignatureFeatures, indices: IndexArray, accuracies: FloatArray) -> Sums:
    """Bring the sums of one column to percent by the line of least squares through accuracies (n,), its slope 0 or more.

    A slope below 0 would mean that worse blocks make better networks: then the mean is predicted for all.
    """
    raw = raw_sums(features)
    sums = raw(indices)
    center, level = float(sums.mean()), float(accuracies.mean())
    spread = float(((sums - center) ** 2).sum())
    slope = max(0.0, float(((sums - center) * (accuracies - level)).sum()) / spread) if spread > 0 else 0.0
    # 0 times an unknown block's NaN stays NaN: it remains unknown.
    return Sums(config=raw.config, scores=slope * raw.scores, constant=level - slope * center)


def fit_linear(features: SignatureFeatures, indices: IndexArray, accuracies: FloatArray) -> Quadratic:
    """Fit a ridge to the features of each stage, as DONNA does (Moons et al. 2021, arXiv:2012.08859), without products."""
    return fit_quadratic(features.config, _tables(features), indices, accuracies, scales=(0.0,))


def fit_second_order(features: SignatureFeatures, indices: IndexArray, accuracies: FloatArray) -> Quadratic:
    """Fit a ridge to the features of each stage, their squares and their products in pairs, within and between stages."""
    return fit_quadratic(features.config, _tables(features), indices, accuracies, scales=PRODUCT_SCALES)


def fit_least_squares(features: SignatureFeatures, indices: IndexArray, accuracies: FloatArray) -> Sums:
    """Fit a plane to one column of each stage by least squares, as DONNA's linear model of block NSR; no penalty, no logarithm.

    Slopes that the networks do not determine are the least in sum of squares.
    """
    config = features.config
    table = features.scaled(logarithms=False)[:, :, 0]  # 0 where constant; the plane is the same
    rows = table[np.arange(config.stages), block_indices(config, indices)]  # (n, stages)
    center, level = rows.mean(axis=0), float(accuracies.mean())
    slopes = np.linalg.lstsq(rows - center, accuracies - level, rcond=None)[0]
    return Sums(config=config, scores=slopes[:, None] * table, constant=level - float(slopes @ center))


def _tables(features: SignatureFeatures) -> list[FloatArray]:
    """Return the features as values and, where that differs, as logarithms.

    DONNA takes the values. But accuracy falls less than in proportion to noise in a stage's output, and a block that learned
    nothing has an NSR far from all others', to which a line bends. Cross-validation chooses; in a tie the values are taken.
    """
    tables = [features.scaled(logarithms=False), features.scaled(logarithms=True)]
    return tables[:1] if (tables[0] == tables[1]).all() else tables

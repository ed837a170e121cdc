"""Predict accuracies by a ridge on features of blocks, with second-order terms as in DONNA (arXiv:2012.08859).

The features are the op counts and the wiring of each stage, 27 numbers for Blox, and their products in pairs, within stages
and between them. DONNA's features are the losses of distilled blocks; here no block was trained.
"""

from __future__ import annotations

import numpy as np

from search.latency.features import block_features, rows_of, standardised
from search.methods.ridge import fit_ridge_cv
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices

# How wide a product is against a feature, and so how little it is shrunk; 0 leaves the products out. The best is found by
# leave-one-out: with few networks the 351 products of Blox would drown its 27 features.
PAIR_SCALES = (0.0, 0.1, 0.3, 1.0)


class SecondOrder:
    """A `search.methods.predictor_loop.Predictor` that is quadratic in the features; it must be fitted first."""

    def __init__(self, config: SpaceConfig) -> None:
        self._config = config
        self._table = standardised(block_features(config))
        # Each pair once; a square adds nothing, for a feature of two values is linear in its square.
        self._pairs = np.triu_indices(self._table.shape[1] * config.stages, k=1)
        self._constant = 0.0
        self._slopes = np.zeros(self._table.shape[1] * config.stages)
        self._products = np.zeros((len(self._slopes), len(self._slopes)))

    def fit(self, indices: IndexArray, scores: FloatArray) -> None:
        """Fit to networks (n,) and their accuracies (n,)."""
        rows = self._rows(indices)
        pairs = rows[:, self._pairs[0]] * rows[:, self._pairs[1]]
        fit = fit_ridge_cv([np.hstack([rows, scale * pairs]) for scale in PAIR_SCALES], scores)
        first = rows.shape[1]
        self._constant, self._slopes = fit.constant, fit.slopes[:first]
        self._products = np.zeros((first, first))
        self._products[self._pairs] = PAIR_SCALES[fit.chosen] * fit.slopes[first:]

    def predict(self, indices: IndexArray) -> FloatArray:
        """Return predicted accuracies (n,)."""
        rows = self._rows(indices)  # (n, columns)
        predicted: FloatArray = (
            self._constant + rows @ self._slopes + ((rows @ self._products) * rows).sum(axis=1)
        )
        return predicted

    def _rows(self, indices: IndexArray) -> FloatArray:
        return rows_of(self._table, block_indices(self._config, indices))

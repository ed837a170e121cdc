"""Predict accuracies by a ridge on features of blocks, with second-order terms as in DONNA (arXiv:2012.08859).

The features are the op counts and the wiring of each stage, 27 numbers for Blox, and their products in pairs, within stages
and between them. DONNA's features are the losses of distilled blocks; here no block was trained.
"""

from __future__ import annotations

import numpy as np

from search.latency.block_features import block_features, standardized
from search.methods.ridge import Quadratic, fit_quadratic
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray


class SecondOrder:
    """A `search.methods.predictor_loop.Predictor` that is quadratic in the features; it must be fitted first."""

    def __init__(self, config: SpaceConfig) -> None:
        self._config = config
        table = standardized(block_features(config))
        self._table = np.broadcast_to(table, (config.stages, *table.shape))
        self._model: Quadratic | None = None

    def fit(self, indices: IndexArray, scores: FloatArray) -> None:
        """Fit to networks (n,) and their accuracies (n,)."""
        # A square adds nothing: a feature of two values is linear in its square.
        self._model = fit_quadratic(self._config, [self._table], indices, scores, squares=False)

    def predict(self, indices: IndexArray) -> FloatArray:
        """Return predicted accuracies (n,). Raises: ValueError before the first fit."""
        if self._model is None:
            raise ValueError("predict was called before fit")
        return self._model(indices)

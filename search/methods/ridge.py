"""Ridge regression of accuracies, with second-order terms, too; penalty and features by leave-one-out cross-validation.

`SecondOrder` predicts by a ridge with second-order terms, as in DONNA (arXiv:2012.08859). Its features are the op counts and the
wiring of each stage, 27 numbers for Blox, and their products in pairs, within stages and between them. DONNA's features are the
losses of distilled blocks; here no block was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.latency.block_features import block_features, rows_of, standardized
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices

PENALTIES = np.logspace(-2, 4, 19)
FEWEST = 3  # networks; with fewer, leaving one out leaves nothing to compare
# How wide a product is against a feature, and so how little it is shrunk; 0 leaves the products out. The best is found by
# leave-one-out: with few networks the 351 products of Blox would drown its 27 features.
PRODUCT_SCALES = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """Ridge fit: the index of the `chosen` design, its `slopes` (columns,) and the `constant`."""

    chosen: int
    slopes: FloatArray
    constant: float


def fit_ridge_cv(designs: Sequence[FloatArray], scores: FloatArray) -> Ridge:
    """Fit scores (n,) on each of several tables of features (n, columns) and return the fit of least leave-one-out error.

    Of equal errors the first table is taken. Fewer than `FEWEST` networks are fitted by their mean.
    """
    if len(scores) < FEWEST:
        return Ridge(chosen=0, slopes=np.zeros(designs[0].shape[1]), constant=float(scores.mean()))
    from sklearn.linear_model import RidgeCV

    models = [RidgeCV(alphas=PENALTIES).fit(design, scores) for design in designs]
    chosen = int(np.argmax([model.best_score_ for model in models]))  # minus the mean squared error
    return Ridge(chosen=chosen, slopes=models[chosen].coef_, constant=float(models[chosen].intercept_))


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
        """Return each block's addend, (stages, B), and the constant; None where products of two stages count.

        Products within a stage are the block's own.
        """
        stages, _, columns = self.table.shape
        products = self.products.reshape(stages, columns, stages, columns)
        own = products[np.arange(stages), :, np.arange(stages)]  # (stages, columns, columns)
        if np.count_nonzero(products) > np.count_nonzero(own):
            return None
        scores = np.einsum("sbc,sc->sb", self.table, self.slopes.reshape(stages, columns))
        return scores + np.einsum("sbc,scd,sbd->sb", self.table, own, self.table), self.constant


def fit_quadratic(
    config: SpaceConfig,
    tables: Sequence[FloatArray],
    indices: IndexArray,
    scores: FloatArray,
    *,
    scales: Sequence[float] = PRODUCT_SCALES,
    squares: bool = True,
) -> Quadratic:
    """Fit networks (n,) and their scores (n,) for each scale of products and table of features; take the best as `fit_ridge_cv`.

    `tables`, (stages, B, columns) each, are tried with each scale; without `squares` products are of two different features.
    """
    blocks = block_indices(config, indices)
    width = tables[0].shape[0] * tables[0].shape[2]
    pairs = np.triu_indices(width, k=0 if squares else 1)
    designs, choices = [], []
    for scale in scales:
        for table in tables:
            rows = _rows(table, blocks)
            products = [scale * rows[:, pairs[0]] * rows[:, pairs[1]]] if scale else []
            designs.append(np.hstack([rows, *products]))
            choices.append((table, scale))
    fit = fit_ridge_cv(designs, scores)
    table, scale = choices[fit.chosen]
    slopes_of_pairs = np.zeros((width, width))
    if scale:
        slopes_of_pairs[pairs] = scale * fit.slopes[width:]
    return Quadratic(
        config=config,
        table=table,
        slopes=fit.slopes[:width],
        products=slopes_of_pairs,
        constant=fit.constant,
    )


def _rows(table: FloatArray, blocks: IndexArray) -> FloatArray:
    """Return networks' features, (n, stages * columns), from each stage's table."""
    return np.hstack([rows_of(table[stage], blocks[:, [stage]]) for stage in range(len(table))])


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

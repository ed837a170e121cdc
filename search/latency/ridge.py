"""Linear predictors over stages and blocks, fitted so that relative errors are small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.latency.features import FloatArray, IndexArray, block_digits, rows_of
from space import SpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contributions:
    """Predict a ratio as `constant` plus what the block of each stage adds; `blocks` has shape (stages, B)."""

    config: SpaceConfig
    constant: float
    blocks: FloatArray

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return the prediction for each network, shape (n,)."""
        total: FloatArray = np.full(np.shape(indices), self.constant)
        for stage, digit in enumerate(block_digits(self.config, indices).T):
            total += self.blocks[stage, digit]
        return total


def fit_ridge(
    config: SpaceConfig,
    tables: FloatArray,
    indices: IndexArray,
    targets: FloatArray,
    scale: FloatArray,
    penalties: FloatArray,
) -> Contributions:
    """Fit `targets` (n,) by ridge regression; the penalty is the one with the best leave-one-out error.

    `tables`: features of each block, (B, columns) for all stages or (stages, B, columns); wider columns are shrunk less.
    `scale` (n,): errors are minimised in units of it; the measured ratio makes them relative errors.
    `penalties` are for weights of mean 1, so they do not depend on the unit.
    """
    from sklearn.linear_model import RidgeCV

    tables = np.broadcast_to(tables, (config.stages, *tables.shape[-2:]))
    digits = block_digits(config, indices)
    rows = np.hstack([rows_of(tables[stage], digits[:, [stage]]) for stage in range(config.stages)])
    weights = scale**-2.0
    model = RidgeCV(alphas=penalties).fit(rows, targets, sample_weight=weights / weights.mean())
    slopes = model.coef_.reshape(config.stages, -1, 1)  # (stages, columns, 1)
    return Contributions(config=config, constant=float(model.intercept_), blocks=(tables @ slopes)[..., 0])


def fit_line(x: FloatArray, ratios: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of the line through (x, ratios) with the least squared relative errors.

    Where x is constant the slope is 0.
    """
    weights = ratios**-2.0
    centre = np.average(x, weights=weights)
    spread = np.sum(weights * (x - centre) ** 2)
    level = np.average(ratios, weights=weights)
    slope = np.sum(weights * (x - centre) * (ratios - level)) / spread if np.ptp(x) > 0 else 0.0
    return float(slope), float(level - slope * centre)

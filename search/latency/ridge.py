"""Linear predictors over stages and blocks, fitted so that relative errors are small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.latency.features import FloatArray, IndexArray, block_digits, rows_of
from space import SpaceConfig

FREE = 100.0  # a column this many deviations wide is, for the penalties tried, as good as not shrunk


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """Predict a ratio as `constant`, what the block of each stage adds, and `slope` times a guess.

    `blocks` has shape (stages, B), `guess` (len(config),); without a guess it is None.
    """

    config: SpaceConfig
    constant: float
    blocks: FloatArray
    slope: float = 0.0
    guess: FloatArray | None = None

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return the prediction for each network, shape (n,)."""
        total: FloatArray = np.full(np.shape(indices), self.constant)
        for stage, digit in enumerate(block_digits(self.config, indices).T):
            total += self.blocks[stage, digit]
        return total if self.guess is None else total + self.slope * self.guess[indices]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guess:
    """A guess of each network's ratio: its `values` (n,) at the measured ones, and its moments over the whole space.

    `spread` is the standard deviation, 0 where the guess is the same of all networks.
    """

    values: FloatArray
    mean: float
    spread: float


def fit_ridge(
    config: SpaceConfig,
    tables: FloatArray,
    indices: IndexArray,
    ratios: FloatArray,
    penalties: FloatArray,
    guess: FloatArray | None = None,
) -> Linear:
    """Fit ratios (n,) by ridge regression on relative errors; the penalty is that of least leave-one-out error.

    `tables`: features of each block, (B, columns) for all stages or (stages, B, columns); wider columns are shrunk less.
    `guess` (len(config),): a column that is not shrunk, so that the rest explains what a line through it leaves.
    """
    known = None
    if guess is not None:
        spread = 0.0 if np.ptp(guess) == 0 else float(guess.std())
        known = Guess(values=guess[indices], mean=float(guess.mean()), spread=spread)
    constant, blocks, slope = fit_blocks(config, tables, indices, ratios, penalties, known)
    return Linear(config=config, constant=constant, blocks=blocks, slope=slope, guess=guess)


def fit_blocks(
    config: SpaceConfig,
    tables: FloatArray,
    indices: IndexArray,
    ratios: FloatArray,
    penalties: FloatArray,
    guess: Guess | None,
) -> tuple[float, FloatArray, float]:
    """Return what `fit_ridge` fits, of a space of any size: a constant, what blocks add (stages, B), the guess's slope."""
    from sklearn.linear_model import RidgeCV

    tables = np.broadcast_to(tables, (config.stages, *tables.shape[-2:]))
    digits = block_digits(config, indices)
    columns = [rows_of(tables[stage], digits[:, [stage]]) for stage in range(config.stages)]
    width = 0.0 if guess is None or guess.spread == 0 else FREE / guess.spread
    if guess is not None:
        columns.append(width * (guess.values[:, None] - guess.mean))
    weights = ratios**-2.0
    # Penalties are for weights of mean 1: then they do not depend on the ratios' level.
    model = RidgeCV(alphas=penalties).fit(np.hstack(columns), ratios, sample_weight=weights / weights.mean())
    slopes = model.coef_[: config.stages * tables.shape[-1]].reshape(config.stages, -1, 1)
    slope = 0.0 if guess is None else width * float(model.coef_[-1])
    constant = float(model.intercept_) - (0.0 if guess is None else slope * guess.mean)
    return constant, (tables @ slopes)[..., 0], slope


def fit_line(x: FloatArray, ratios: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of the line through (x, ratios), each (n,), with the least squared relative errors.

    Where x is constant the slope is 0.
    """
    weights = ratios**-2.0
    centre = np.average(x, weights=weights)
    level = np.average(ratios, weights=weights)
    spread = np.sum(weights * (x - centre) ** 2)
    slope = np.sum(weights * (x - centre) * (ratios - level)) / spread if np.ptp(x) > 0 else 0.0
    return float(slope), float(level - slope * centre)

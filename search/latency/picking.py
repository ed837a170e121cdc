"""Which networks to measure next: those of which the ladder knows least, and no two for the same reason."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from harness.errors import ConfigError
from search.latency.features import (
    FloatArray,
    IndexArray,
    block_digits,
    block_features,
    rows_of,
    standardised,
)
from search.latency.ladder import Ladder, check_indices
from space import BLOX, SpaceConfig, check_enumerable

CANDIDATES = 30_000  # networks looked at; of a larger space a sample, for the fold predictors may be slow
PENALTY = 1.0  # keeps the leverage finite while fewer networks are measured than there are features


def next_networks(
    ladder: Ladder,
    measured_indices: ArrayLike,
    count: int,
    rng: Generator,
    config: SpaceConfig = BLOX,
) -> IndexArray:
    """Return `count` networks to measure, indices of shape (count,), the most uncertain first.

    CV+ intervals of a linear predictor are almost equally wide everywhere, so what counts here is the variance of the
    prediction itself: of the fold predictors among each other (the jackknife's estimate) and, by the residual variance times the
    leverage x' (X'X + k I)^-1 x, of a linear fit. Picked greedily; each pick lowers the leverage of its like (a D-optimal
    design: Fedorov 1972, Theory of Optimal Experiments) and by the squared correlation what the folds disagree on.

    Raises:
        ConfigError: the count is below 1 or more than there are networks left, or an index is not in the space.
    """
    measured = check_indices(measured_indices, config)
    if ladder.known.config != config:
        raise ConfigError(
            f"the ladder is of space {ladder.known.config.name!r} and not of {config.name!r}; give its space"
        )
    check_enumerable(config, "networks to measure next", "measure a design, e.g. --models design:1")
    candidates = np.setdiff1d(np.arange(len(config)), measured)
    if not 1 <= count <= len(candidates):
        raise ConfigError(
            f"{count} networks to pick; give 1 to {len(candidates)}, the networks of space {config.name!r} "
            "that are not measured"
        )
    size = max(CANDIDATES, count) if len(candidates) > CANDIDATES else len(candidates)
    candidates = rng.permutation(candidates)[:size]  # a random order breaks ties
    rows, known = design_rows(config, candidates), design_rows(config, measured)
    inverse = np.linalg.inv(known.T @ known + PENALTY * np.eye(rows.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows, optimize=True)  # (candidates,)
    noise, disagreement = np.mean(ladder.scores**2), fold_variance(ladder, candidates)
    picks: list[int] = []
    for _ in range(count):
        width = noise * leverage + disagreement
        width[picks] = -1.0
        pick = int(np.argmax(width))
        shared = rows @ (
            inverse @ rows[pick]
        )  # (candidates,): covariance with the pick, in units of the noise
        disagreement *= np.clip(1 - shared**2 / (leverage * leverage[pick]), 0, 1)
        inverse -= np.outer(inverse @ rows[pick], inverse @ rows[pick]) / (1 + leverage[pick])
        leverage = leverage - shared**2 / (1 + leverage[pick])  # Sherman & Morrison 1950
        picks.append(pick)
    return candidates[picks]


def design_rows(config: SpaceConfig, indices: IndexArray) -> FloatArray:
    """Return a constant and the standardised features of each network, shape (n, 1 + stages * columns)."""
    rows = rows_of(standardised(block_features(config)), block_digits(config, indices))
    return np.hstack([np.ones((len(rows), 1)), rows])


def fold_variance(ladder: Ladder, indices: IndexArray) -> FloatArray:
    """Return the relative variance of each prediction, shape (n,), by the delete-a-group jackknife.

    (K - 1) / K times the sum of squares of the K fold predictors about their mean (Kott 2001).
    """
    predicted = ladder.fold_predictions(indices)  # (folds, n)
    mean, count = predicted.mean(axis=0), len(predicted)
    variance: FloatArray = (count - 1) * predicted.var(axis=0) / mean**2
    return variance

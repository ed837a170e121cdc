"""Acquisition: choose networks to measure next, not yet measured, that minimize the variance of all predictions."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from search.latency.design import Variance, candidates_of
from search.latency.model_selection import SelectedPredictor, check_indices
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import IndexArray


def next_networks(
    predictor: SelectedPredictor,
    measured_indices: ArrayLike,
    count: int,
    rng: Generator,
    config: SpaceConfig,
) -> IndexArray:
    """Return `count` networks that are not measured yet, indices of shape (count,), the most useful first.

    Each lowers the mean variance of all predictions most, given those before it: see `search.latency.design`.

    Raises:
        ConfigError: the count is below 1 or more than there are networks left, or an index is not in the space.
    """
    measured = check_indices(measured_indices, config)
    _check_space(predictor, config)
    left = len(config) - len(np.unique(measured))
    if not 1 <= count <= left:
        raise ConfigError(
            f"{count} networks to pick; give 1 to {left}, the networks of space {config.name!r} "
            "that are not measured"
        )
    variance = Variance(config, candidates_of(config, measured, count, int(rng.integers(2**32))))
    for index in measured.tolist():
        variance.measure(index)
    return variance.pick(count)


def _check_space(predictor: SelectedPredictor, config: SpaceConfig) -> None:
    if predictor.known.config != config:
        raise ConfigError(
            f"the predictor is of space {predictor.known.config.name!r} and not of {config.name!r}; give its space"
        )

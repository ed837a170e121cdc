"""Acquisition: choose networks to measure next, new or again, that minimize the variance of all predictions."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from search.latency.design import Variance, candidates_of
from search.latency.model_selection import SelectedPredictor, check_indices
from search.latency.noise import check_sds
from space import BLOX, SpaceConfig
from space.errors import ConfigError
from space.indexing import IndexArray


def next_networks(
    predictor: SelectedPredictor,
    measured_indices: ArrayLike,
    count: int,
    rng: Generator,
    config: SpaceConfig = BLOX,
) -> IndexArray:
    """Return `count` networks that are not measured yet, indices of shape (count,), the most useful first.

    Each is the one that lowers the mean variance of all predictions most, those before it taken as measured: see
    `search.latency.design`.

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
    return variance.pick(np.ones(len(variance.candidates)), count)


def allocate(
    predictor: SelectedPredictor,
    sds: ArrayLike,
    count: int,
    rng: Generator,
    *,
    new_sd: float,
    again_only: bool = False,
) -> IndexArray:
    """Return which `count` networks to measure next, shape (count,): ones of the predictor again, or new ones; the most useful
    first.

    `sds` (n,): the relative standard deviation of each ratio that the predictor was fitted on; `new_sd`: what one more
    measurement of any network has. Measuring again only helps as far as the measurement and not the model is what is uncertain,
    whose own part is taken from the predictor's scores. `again_only`: no new ones. No network comes twice.

    Raises:
        ConfigError: deviations are not one for each network or not above 0, or there are fewer networks than the count.
    """
    config, known = predictor.known.config, check_sds(sds, len(predictor.indices))
    if not new_sd > 0 or not np.all(known > 0):
        raise ConfigError("a standard deviation of 0: nothing is measured exactly; give the ratio's own")
    usual = float(np.median(known))
    spread = (
        float(np.median(predictor.scores)) / 0.6745
    )  # of a measurement of usual precision about the model
    model = max(spread**2 - usual**2, 0.0)
    again = 1 / known**2 + 1 / new_sd**2  # precisions of the measurement alone add up
    gained = 1 / (model + 1 / again) - 1 / (model + known**2)
    candidates = predictor.indices
    weights = gained
    if not again_only:
        new = candidates_of(config, predictor.indices, count, int(rng.integers(2**32)))
        candidates = np.concatenate([candidates, new])
        weights = np.concatenate([gained, np.full(len(new), 1 / (model + new_sd**2))])
    if not 1 <= count <= len(candidates):
        raise ConfigError(f"{count} networks to measure; give 1 to {len(candidates)}")
    unit = model + usual**2
    variance = Variance(config, candidates)
    for index, sd in zip(predictor.indices.tolist(), known.tolist(), strict=True):
        variance.measure(index, unit / (model + sd**2))
    return variance.pick(unit * weights, count)


def _check_space(predictor: SelectedPredictor, config: SpaceConfig) -> None:
    if predictor.known.config != config:
        raise ConfigError(
            f"the predictor is of space {predictor.known.config.name!r} and not of {config.name!r}; give its space"
        )

"""Optimal designs: networks to measure so that predictions of the whole space have the least variance.

The criterion is the mean variance of all predictions (I-optimality: Fedorov 1972, Theory of Optimal Experiments; Jones & Goos
2012, "I-optimal versus D-optimal split-plot designs") by the linear model of `search.latency.ridge` with products of features
within each block, and with the model's prior on a device.
"""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import ArrayLike

from search.latency.block_features import block_features, pair_features, stage_means, standardized
from search.latency.model_selection import check_indices
from search.latency.ridge import PAIRS, op_penalty
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray, block_indices

CANDIDATES = 100_000  # networks looked at; of a larger space a sample
ALIKE = 1e-9  # networks whose gains differ by less are alike, so that rounding does not decide between them
EXPECTED = 0.1  # the penalty that designs are made for: of 20 to 90 networks on a CPU it is 1 to 3, elsewhere ops differ more
CONSTANT = 1e-3  # of the constant, which has hardly any prior


class Variance:
    """Variance of predictions of candidate networks after measurements, in units of one measurement's variance.

    `leverage` (n,): variance of each candidate's own prediction. `gain` (n,): decrease of the mean variance over the whole space
    by measuring it once, times 1 + leverage.
    """

    def __init__(self, config: SpaceConfig, candidates: IndexArray) -> None:
        table = np.hstack([block_features(config), PAIRS * standardized(pair_features(config))])
        self.config, self.candidates = config, candidates
        self._table, self._digits = table, np.ascontiguousarray(block_indices(config, candidates).T)
        self._covariance = _prior_covariance(config, table.shape[1])
        self._moments = _moments(config, table)
        self.leverage = self._squares(self._covariance)
        self.gain = self._squares(self._covariance @ self._moments @ self._covariance)

    @property
    def mean(self) -> float:
        """The mean variance of all predictions of the space."""
        return float(np.sum(self._covariance * self._moments))

    def measure(self, index: int) -> None:
        """Take a network as measured once more."""
        (choices,) = block_indices(self.config, np.array([index]))
        row = np.concatenate([[1.0], *(self._table[choice] for choice in choices)])
        reach = self._covariance @ row
        carried = self._covariance @ (self._moments @ reach)
        share = 1 / (1 + float(row @ reach))
        shared, lowered = self._sums(reach), self._sums(carried)  # (n,)
        mean = float(reach @ self._moments @ reach)
        self._covariance -= share * np.outer(reach, reach)  # Sherman & Morrison 1950
        self.leverage = self.leverage - share * shared**2
        self.gain = self.gain - 2 * share * shared * lowered + share**2 * mean * shared**2

    def pick(self, count: int) -> IndexArray:
        """Return `count` candidates, indices of shape (count,), each the best when those before it are measured, none twice."""
        is_left, places = np.ones(len(self.candidates), dtype=np.bool_), []
        for _ in range(count):
            gain = np.where(is_left, self.gain / (1 + self.leverage), 0.0)
            place = int(np.argmax(gain >= (1 - ALIKE) * gain.max()))
            self.measure(int(self.candidates[place]))
            is_left[place] = False
            places.append(place)
        return self.candidates[places]

    def _sums(self, vector: FloatArray) -> FloatArray:
        """Return vector @ row of each candidate, (n,)."""
        total: FloatArray = np.full(len(self.candidates), vector[0])
        for digits, part in zip(self._digits, vector[1:].reshape(self.config.stages, -1), strict=True):
            total += (self._table @ part).take(digits)
        return total

    def _squares(self, matrix: FloatArray) -> FloatArray:
        """Return row @ matrix @ row of each candidate, (n,): a sum over pairs of stages."""
        stages, width = self.config.stages, self._table.shape[1]
        total = self._sums(np.concatenate([[matrix[0, 0]], 2 * matrix[0, 1:]]))
        for one in range(stages):
            rows = self._digits[one] * len(self._table)
            for other in range(stages):
                part = matrix[1 + one * width :, 1 + other * width :][:width, :width]
                by_blocks = self._table @ part @ self._table.T  # (B, B)
                total += by_blocks.take(rows + self._digits[other])
        return total


def least_variance_design(config: SpaceConfig, count: int, seed: int = 0) -> IndexArray:
    """Return `count` networks to measure, indices of shape (count,), so that predictions of the whole space vary least.

    They are chosen one after the other, each the one that lowers the mean variance most: so any first part is a design as well.
    The seed decides between networks that are alike.

    Raises:
        ConfigError: the count is below 1 or more than the space has networks.
    """
    if not 1 <= count <= len(config):
        raise ConfigError(
            f"{count} networks to measure; give 1 to {len(config)}, the networks of space {config.name!r}"
        )
    variance = Variance(config, candidates_of(config, np.zeros(0, dtype=np.int64), count, seed))
    return variance.pick(count)


def next_networks(measured_indices: ArrayLike, count: int, rng: Generator, config: SpaceConfig) -> IndexArray:
    """Return `count` networks that are not measured yet, indices of shape (count,), the most useful first.

    Each lowers the mean variance of all predictions most, given those before it.

    Raises:
        ConfigError: the count is below 1 or more than there are networks left, or an index is not in the space.
    """
    measured = check_indices(measured_indices, config)
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


def candidates_of(config: SpaceConfig, without: IndexArray, count: int, seed: int) -> IndexArray:
    """Return networks to choose from, in an order drawn by the seed: all but `without`, or of a large space at least `count`."""
    generator = Generator(PCG64(seed))
    if len(config) <= CANDIDATES:
        return generator.permutation(np.setdiff1d(np.arange(len(config)), without))
    drawn = np.unique(generator.integers(len(config), size=CANDIDATES + count + len(without)))
    return generator.permutation(np.setdiff1d(drawn, without))


def _prior_covariance(config: SpaceConfig, width: int) -> FloatArray:
    """Return the prior covariance of the coefficients, (1 + stages * width,) squared."""
    square = op_penalty(config).T @ op_penalty(config)
    columns = block_features(config).shape[1]
    main = 1 + config.stages * columns
    known, shared = square[:main, :main], square[:main, main:]
    # The mean costs integrated out.
    precision = known - shared @ np.linalg.solve(square[main:, main:], shared.T)
    precision[0, 0] = CONSTANT / EXPECTED
    covariance = np.eye(1 + config.stages * width) / EXPECTED
    stages = np.arange(config.stages)[:, None] * width
    place = np.concatenate([[0], (1 + stages + np.arange(columns)).ravel()])
    covariance[np.ix_(place, place)] = np.linalg.inv(precision) / EXPECTED
    return covariance


def _moments(config: SpaceConfig, table: FloatArray) -> FloatArray:
    """Return the mean over the space of row times row, (1 + stages * F,) squared: stages are independent of each other."""
    mean = np.concatenate([[1.0], stage_means(config, table).ravel()])
    moments = np.outer(mean, mean)
    width = table.shape[1]
    for stage, places in enumerate(config.choices):
        part, rows = slice(1 + stage * width, 1 + (stage + 1) * width), table[list(places)]
        moments[part, part] = rows.T @ rows / len(rows)
    return moments

"""Latencies made by a rule, to be found again by the predictors; never stored as results."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.latency.block_features import block_features
from search.latency.design import Variance
from search.latency.ridge import Linear
from space import BLOX, SpaceConfig
from space.indexing import block_indices
from space.segments import all_segments
from space.selection import select_models

NOISE = 0.007  # of one measured ratio, relative

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def costs(seed: int, config: SpaceConfig = BLOX) -> Array:
    """Return what each feature of a block costs in each stage, shape (stages, columns), as a share of the reference."""
    rng = np.random.default_rng(seed)
    ops = len(config.ops)
    op = rng.uniform(0.1, 0.6, (config.stages, ops))
    return np.hstack([op, op * rng.normal(1, 0.05, op.shape), rng.uniform(0, 0.03, (config.stages, 3))])


def cells(cost: Array, config: SpaceConfig = BLOX) -> Array:
    """Return the latency of each cell, shape (stages, B)."""
    return cost @ block_features(config).T


def additive(cell: Array, fixed: float = 0.4, config: SpaceConfig = BLOX) -> Array:
    """Return the ratio of each network, shape (len(config),), when a network is the sum of its parts."""
    digits = block_indices(config, np.arange(len(config)))
    return fixed + sum(cell[stage, digits[:, stage]] for stage in range(config.stages))


def fused(size: float, config: SpaceConfig = BLOX) -> Array:
    """Return what a device saves or loses where the same op ends one stage and begins the next, shape (len(config),)."""
    blocks, digits = config.blocks, block_indices(config, np.arange(len(config)))
    ends = np.array([config.ops.index(b.op1) for b in blocks])[digits]
    begins = np.array([config.ops.index(b.op0 or b.op1) for b in blocks])[digits]
    return size * sum((ends[:, s] == begins[:, s + 1]) * 2.0 - 1 for s in range(config.stages - 1))


def design(rounds: int, seed: int = 0, config: SpaceConfig = BLOX) -> Indices:
    """Return the networks of a design: every block in every stage `rounds` times."""
    return np.array([a.index for a in select_models(f"design:{rounds}@{seed}", config)])


def mean_variance(config: SpaceConfig, indices: Indices) -> float:
    """Return the mean variance of all predictions of a space after networks (n,) were measured, each once."""
    variance = Variance(config, indices[:0])
    for index in indices.tolist():
        variance.measure(index)
    return variance.mean


def measured(truth: Array, indices: Indices, seed: int, noise: float = NOISE) -> Array:
    """Return the ratios of some networks as a round of measurement would give them."""
    return truth[indices] * np.exp(np.random.default_rng(seed).normal(0, noise, len(indices)))


def parts_of(cell: Array, fixed: float = 0.4, config: SpaceConfig = BLOX) -> dict[str, float]:
    """Return the ratio of each segment of the space by its text; stem, reductions and head share `fixed`."""
    index, others = {block: i for i, block in enumerate(config.blocks)}, config.stages + 2
    return {
        str(s): fixed / others if s.block is None else float(cell[s.stage or 0, index[s.block]])
        for s in all_segments(config)
    }


def sum_of(cell: Array, fixed: float = 0.4, config: SpaceConfig = BLOX) -> Linear:
    """Return the sum of a network's parts, by its indices."""
    return Linear(config=config, constant=fixed, blocks=cell)

"""Accuracies made by a rule whose best network is known, to be found by search methods; never stored as results."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.latency.block_features import block_features
from search.methods.method import Problem, Proxy
from space import MINI, SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices


def block_scores(seed: int, config: SpaceConfig = MINI) -> FloatArray:
    """Return what each block adds in each stage, (stages, B): its ops, its wiring, and a little of its own."""
    rng = np.random.default_rng((seed, 1))
    features = block_features(config)
    worth = rng.normal(0, 1, (config.stages, features.shape[1]))
    return worth @ features.T + rng.normal(0, 0.01, (config.stages, len(config.blocks)))


def additive(seed: int, config: SpaceConfig = MINI) -> FloatArray:
    """Return accuracies, (len(config),), that are sums over the stages."""
    digits = block_indices(config, np.arange(len(config)))
    return 70 + block_scores(seed, config)[np.arange(config.stages), digits].sum(axis=1)


def coupled(seed: int, config: SpaceConfig = MINI) -> FloatArray:
    """Return accuracies, (len(config),), where what an op is worth in one stage hangs on the ops of the next."""
    rng = np.random.default_rng((seed, 2))
    # (networks, stages, columns).
    columns = block_features(config)[block_indices(config, np.arange(len(config)))]
    total = additive(seed, config)
    for stage in range(config.stages - 1):
        worth = rng.normal(0, 1, (columns.shape[2], columns.shape[2]))
        total = total + ((columns[:, stage] @ worth) * columns[:, stage + 1]).sum(axis=1)
    return total


def problem(
    budget: int,
    seed: int = 0,
    config: SpaceConfig = MINI,
    allowed: NDArray[np.bool_] | None = None,
    warm_up: Proxy | None = None,
) -> Problem:
    """Return a problem without limits in which all networks are allowed, unless told otherwise."""
    if allowed is None:
        allowed = np.ones(len(config), dtype=np.bool_)
    return Problem(config=config, allowed=allowed, budget=budget, seed=seed, warm_up=warm_up)


def noisy(truth: FloatArray, noise: float = 1.0) -> Proxy:
    """Return a made-up proxy: the truth with noise, of which it knows only the order."""
    promised = truth + np.random.default_rng(99).normal(0, noise, len(truth))

    def proxy(indices: IndexArray) -> FloatArray:
        return np.exp(promised[indices] / 10)

    return proxy

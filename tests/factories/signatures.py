"""Synthetic signatures with accuracies that follow from them by a known rule; never stored or shown as results."""

from __future__ import annotations

import numpy as np

from search.distillation.signatures import Signatures
from space import MINI, SpaceConfig
from space.indexing import FloatArray, block_indices


def made_signatures(seed: int = 0, config: SpaceConfig = MINI) -> Signatures:
    """Return signatures with a column of each sort, all known."""
    rng = np.random.default_rng((seed, 1))
    shape = config.stages, len(config.blocks)
    quality = rng.random(shape)
    return Signatures(
        config=config,
        teacher="synthetic",
        task="synthetic:0:20/5/20",
        columns={
            "nsr": np.exp(3 * quality - 3),
            "loss_change": quality**2 + 0.05 * rng.normal(size=shape),
            "accuracy_change": -10 * quality,
            "macs": np.exp(rng.normal(10, 1, shape)),
            "train_loss_change": quality**2 + 0.05 * rng.normal(size=shape),
        },
    )


def by_rule(signatures: Signatures, weights: FloatArray, *, coupling: float = 0.0) -> FloatArray:
    """Return accuracies, (len(config),): 60, less `weights` (stages,) times the blocks' log NSR, and products of neighbors."""
    config = signatures.config
    digits = block_indices(config, np.arange(len(config)))
    # (networks, stages), around 0.
    logs = np.log(signatures.column("nsr"))[np.arange(config.stages), digits] + 1.5
    total: FloatArray = 60 - logs @ weights - coupling * (logs[:, :-1] * logs[:, 1:]).sum(axis=1)
    return total


def drawn(seed: int, count: int, config: SpaceConfig = MINI) -> np.ndarray:
    """Return different networks at random, (count,)."""
    return np.random.default_rng((seed, 2)).choice(len(config), count, replace=False)

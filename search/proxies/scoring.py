"""Proxy scores by network index, each network scored once."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from search.methods.method import Proxy
from search.proxies.batches import Batch
from space import Architecture, SpaceConfig
from space.errors import ConfigError, HarnessError, did_you_mean
from space.indexing import FloatArray, IndexArray
from space.text import reason_of


def proxy_scorer(name: str, config: SpaceConfig, batch: Batch, seed: int) -> Proxy:
    """Return a function from indices (n,) to scores (n,), higher promising more, that scores each network once.

    A network's initial weights are drawn by `seed` and its index alone; torch's own generator is left unchanged.

    Raises:
        ConfigError: there is no such proxy.
        HarnessError: when called, where a score is not finite, or a network has no such score.
    """
    from search.proxies.measures import PROXIES

    if name not in PROXIES:
        raise ConfigError(f"no proxy {name!r}{did_you_mean(name, PROXIES)} (there are: {', '.join(PROXIES)})")

    @cache
    def score(index: int) -> float:
        return _score(name, Architecture.from_index(index, config), batch, seed)

    def scores(indices: IndexArray) -> FloatArray:
        return np.array([score(int(index)) for index in indices], dtype=np.float64)

    return scores


def _score(name: str, architecture: Architecture, batch: Batch, seed: int) -> float:
    import torch

    from search.proxies.measures import PROXIES
    from space.networks import build_network

    weights_seed = int(np.random.SeedSequence((seed, architecture.index)).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed)
        network = build_network(architecture)
    images, labels = torch.from_numpy(batch.images), torch.from_numpy(batch.labels)
    try:
        with torch.enable_grad():
            score = PROXIES[name](network, images, labels)
    except Exception as error:  # a user's own modules may raise anything, in double precision or in training
        raise HarnessError(
            f"proxy {name} cannot score network {architecture}: {reason_of(error)}; take another proxy"
        ) from error
    if not math.isfinite(score):
        raise HarnessError(
            f"proxy {name} of network {architecture} with the weights of seed {seed} is {score}; "
            "try another seed, another batch or another proxy"
        )
    return score

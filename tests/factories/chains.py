"""A chain of 16.8 million networks, more than anything lists, and stores of made-up latencies that add up over candidates."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from rigs.made_files import new_folder, once_a_run

from factories.stores import MANY, add_sessions, calibrate, new_store
from harness.records import Configuration
from space import Architecture, Space, SpaceConfig, find_space
from space.indexing import FloatArray, IndexArray, block_indices
from space.selection import select_models

DEFINITION = """
name = "long"
image_size = 8
classes = 5

[candidates]
k1 = { module = "conv", kernel = 1 }
k3 = { module = "conv", kernel = 3 }
k5 = { module = "conv", kernel = 5 }
skip = "identity"

[stem]
module = "conv"
channels = 4

[[sites]]
candidates = ["k1", "k3", "k5", "skip"]
repeat = 12

[head]
module = "linear"
"""
NOISE = 0.01  # of a session, relative
FIXED = 0.1  # of the reference


@cache
def long_chain() -> Space:
    """Return the space of twelve sites with four candidates each."""
    path = new_folder() / "long.toml"
    path.write_text(DEFINITION)
    return find_space(path)


@cache
def block_ratios(config: SpaceConfig) -> FloatArray:
    """Return what each block adds in each stage to the ratio to the reference, (stages, B), beside `FIXED`."""
    rng = np.random.default_rng(5)
    mean = rng.uniform(0.02, 0.09, len(config.blocks)) * rng.uniform(0.6, 1.4, (config.stages, 1))
    found: FloatArray = mean * rng.normal(1, 0.1, mean.shape)
    return found


def additive_ratios(config: SpaceConfig, indices: IndexArray) -> FloatArray:
    """Return the true ratios of networks (n,): sums over stages."""
    picked = block_ratios(config)[np.arange(config.stages), block_indices(config, indices)]
    found: FloatArray = FIXED + picked.sum(axis=1)
    return found


def additive_ratio(network: Architecture, configuration: Configuration) -> float:
    """Return a network's true ratio: the rule of `add_sessions`."""
    return float(additive_ratios(network.config, np.array([network.index]))[0])


@once_a_run
def additive_store(selection: str, config: SpaceConfig) -> bytes:
    """Return the file of a store: the networks of a selection on a made-up device, latencies that add up plus noise."""
    device = replace(MANY, space=config.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with new_store(path) as store:
            calibrate(store, device)
            networks = select_models(selection, config)
            add_sessions(store, networks, device, sessions=2, scatter=NOISE, seed=1, rule=additive_ratio)
        return path.read_bytes()

"""The example chain of 21 sites, which nothing lists, and a store of made-up latencies that add up over its candidates."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from rigs.made_files import once_a_run

from factories.stores import MANY, add_sessions, calibrate, new_store
from harness.records import Configuration
from space import Architecture, Space, SpaceConfig, find_space
from space.indexing import FloatArray, blocks_of
from space.selection import select_models

FILE = Path(__file__).parents[2] / "examples" / "mobile_chain.toml"
NOISE = 0.01  # of a session, relative


@cache
def mobile_chain() -> Space:
    """Return the space of 2.2e17 networks."""
    return find_space(FILE)


@cache
def block_ratios(config: SpaceConfig) -> FloatArray:
    """Return what each candidate adds at each site to the ratio to the reference, (stages, B), beside `FIXED`."""
    rng = np.random.default_rng(5)
    macs = rng.uniform(0.02, 0.09, (1, len(config.blocks))) * rng.uniform(0.6, 1.4, (config.stages, 1))
    found: FloatArray = macs * rng.normal(1, 0.1, macs.shape)
    return found


FIXED = 0.1


def additive_ratio(network: Architecture, configuration: Configuration = MANY) -> float:
    """Return a network's ratio to the reference: a sum over sites."""
    costs = block_ratios(network.config)
    return FIXED + sum(
        float(costs[stage, block]) for stage, block in enumerate(blocks_of(network.config, network.index))
    )


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

"""Exact parameters and multiply-accumulates (MACs) of networks, from layer shapes alone: no network is built.

How Blox's are counted is in `space.cells`. Of the modules of a space of one's own, MACs are what torch's flop counter says of
convolutions and matrix products, halved (`space.tracing`); norms and activations count nothing there. Compare figures of two
spaces of one kind only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from space.config import SpaceConfig, check_enumerable
from space.indexing import blocks_of, of_all_networks
from space.layout import SiteModule
from space.stages import stage_sites

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """Parameters of a part and its MACs for one image."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: ModelCost) -> ModelCost:
        return ModelCost(params=self.params + other.params, macs=self.macs + other.macs)


@lru_cache(maxsize=64)
def fixed_cost(config: SpaceConfig) -> ModelCost:
    """Count what all networks of a space share: stem, reductions, head."""
    return sum(map(_cost, config.layout.fixed()), ModelCost())


@lru_cache(maxsize=64)
def block_costs(config: SpaceConfig) -> tuple[tuple[ModelCost, ...], ...]:
    """Return the cost of each block in canonical order, for each stage; wiring costs nothing, nor does what no choice has."""
    found = []
    for choice in range(config.stages):
        totals = [ModelCost()] * len(config.blocks)
        for place, module in config.layout.chosen(choice):
            totals[place] += _cost(module)
        found.append(tuple(totals))
    return tuple(found)


@lru_cache(maxsize=64)
def stage_costs(config: SpaceConfig) -> tuple[tuple[ModelCost, ...], ...]:
    """Return the cost of each block with what follows it in its stage, for each stage; nothing for a block that it lacks."""
    behind = [_behind(config, stage) for stage in range(config.stages)]
    return tuple(
        tuple(cost + fixed if place in places else ModelCost() for place, cost in enumerate(row))
        for row, fixed, places in zip(block_costs(config), behind, config.choices, strict=True)
    )


def stem_cost(config: SpaceConfig) -> ModelCost:
    """Count the stem."""
    return _cost(config.layout.stem)


def _behind(config: SpaceConfig, stage: int) -> ModelCost:
    """Count what all blocks of a stage have with them: a reduction, or fixed sites."""
    sites = (config.layout.sites[place] for place in stage_sites(config)[stage])
    return sum((_cost(site.candidates[0]) for site in sites if site.choice is None), ModelCost())


def _cost(module: SiteModule) -> ModelCost:
    return ModelCost(params=module.traced.params, macs=module.traced.macs)


def network_cost(config: SpaceConfig, index: int) -> ModelCost:
    """Count the network at this place of the canonical order."""
    total = fixed_cost(config)
    for costs, block in zip(block_costs(config), blocks_of(config, index), strict=True):
        total += costs[block]
    return total


def all_params(config: SpaceConfig) -> NDArray[np.int64]:
    """Return the parameters of all networks in canonical order, shape (len(config),), int64.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    return _all(config, "params")


def all_macs(config: SpaceConfig) -> NDArray[np.int64]:
    """Return the MACs for one image of all networks in canonical order, shape (len(config),), int64.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    return _all(config, "macs")


def _all(config: SpaceConfig, name: str) -> NDArray[np.int64]:
    check_enumerable(
        config, "costs of all networks", "sum `fixed_cost` and `block_costs`, or ask one network"
    )
    blocks = [[getattr(cost, name) for cost in row] for row in block_costs(config)]
    return of_all_networks(config, getattr(fixed_cost(config), name), blocks)

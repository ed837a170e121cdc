"""Exact parameters and multiply-accumulates (MACs) of networks, from layer shapes alone: no network is built.

MACs follow ptflops 0.6.9, which made the figures that Blox publishes as "flops". For one image it counts

    convolution   kernel height * kernel width * channels in / groups * channels out * output pixels,
                  and 1 for the bias of each output element
    BatchNorm     2 for each element (scale and shift)
    ReLU          1 for each element
    pooling       1 for each input element
    linear        inputs * outputs + outputs

and nothing for sigmoids, sums and products of feature maps. With this the range of Blox comes out exactly:
108,811,364 to 305,711,460. Because every unit holds one convolution, one BatchNorm and one ReLU, the published
range alone fixes only their total of 4 an output element, not how it is split. Later versions of ptflops count
more; do not mix the figures.

Of the modules of a space of one's own, MACs are what torch's flop counter says of convolutions and matrix products, halved
(`space.tracing`); norms and activations count nothing there. Compare figures of two spaces of one kind only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from space.chain import Chain, Module
from space.config import SpaceConfig, check_enumerable
from space.errors import ArchitectureError, did_you_mean
from space.indexing import blocks_of
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

    def __mul__(self, times: int) -> ModelCost:
        return ModelCost(params=self.params * times, macs=self.macs * times)


def unit_cost(channels_in: int, channels_out: int, kernel: int, size: int, groups: int = 1) -> ModelCost:
    """Count a convolution with bias, its BatchNorm and its ReLU, for an output of size * size pixels."""
    weights = kernel * kernel * (channels_in // groups) * channels_out
    return ModelCost(params=weights + 3 * channels_out, macs=size * size * (weights + 4 * channels_out))


def _conv_cost(width: int, size: int) -> ModelCost:
    return unit_cost(width, width, 3, size) * 4


def _mbconv_cost(width: int, size: int) -> ModelCost:
    wide = 2 * width
    gate = ModelCost(
        params=2 * (wide * wide + wide), macs=size * size * wide + 2 * (wide * wide + wide) + wide
    )
    return (unit_cost(width, wide, 3, size) + gate + unit_cost(wide, width, 1, size)) * 2


def _bconv_cost(width: int, size: int) -> ModelCost:
    total = ModelCost()
    for b in (width // 2, width, 2 * width):
        total += (
            unit_cost(width, b, 1, size) + unit_cost(b, b, 5, size, groups=b) + unit_cost(b, width, 1, size)
        )
    return total * 2


OP_COSTS: Mapping[str, Callable[[int, int], ModelCost]] = {
    "conv": _conv_cost,
    "mbconv": _mbconv_cost,
    "bconv": _bconv_cost,
}


def op_cost(op: str, width: int, size: int) -> ModelCost:
    """Count one op on `width` channels of size * size pixels.

    Raises:
        ArchitectureError: no costs are defined for an op of this name.
    """
    if op not in OP_COSTS:
        raise ArchitectureError(f"op {op!r} has no costs{did_you_mean(op, OP_COSTS, 'ops with costs:')}")
    return OP_COSTS[op](width, size)


def reduction_cost(width: int, size: int) -> ModelCost:
    """Count the reduction that follows a stage of `width` channels and size * size pixels."""
    wide, half = 2 * width, size // 2
    return unit_cost(width, wide, 3, half) + unit_cost(wide, wide, 3, half) + unit_cost(width, wide, 2, half)


@lru_cache(maxsize=64)
def fixed_cost(config: SpaceConfig) -> ModelCost:
    """Count what all networks of a space share: stem, reductions, head."""
    if config.chain is not None:
        fixed = (site.candidates[0] for site in config.chain.sites if site.choice is None)
        return sum(map(_traced_cost, (config.chain.stem, *fixed, config.chain.head)), ModelCost())
    total = sum((_behind(config, stage) for stage in range(config.stages)), stem_cost(config))
    features, end_size = 2 * config.widths[-1], config.image_size >> config.stages
    linear = (features + 1) * config.classes
    return total + ModelCost(params=linear, macs=features * end_size * end_size + linear)


@lru_cache(maxsize=64)
def block_costs(config: SpaceConfig) -> tuple[tuple[ModelCost, ...], ...]:
    """Return the cost of each block in canonical order, for each stage; wiring costs nothing, nor does what no choice has."""
    if config.chain is not None:
        return tuple(_choice_costs(config, config.chain, choice) for choice in range(config.stages))
    return tuple(
        tuple(
            sum((op_cost(op, width, config.image_size >> stage) for op in block.ops), ModelCost())
            for block in config.blocks
        )
        for stage, width in enumerate(config.widths)
    )


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
    if config.chain is not None:
        return _traced_cost(config.chain.stem)
    return unit_cost(config.in_channels, config.widths[0], 3, config.image_size)


def _behind(config: SpaceConfig, stage: int) -> ModelCost:
    """Count what all blocks of a stage have with them: a reduction, or fixed sites."""
    if config.chain is None:
        return reduction_cost(config.widths[stage], config.image_size >> stage)
    sites = (config.chain.sites[place] for place in stage_sites(config)[stage])
    fixed = (_traced_cost(site.candidates[0]) for site in sites if site.choice is None)
    return sum(fixed, ModelCost())


def _choice_costs(config: SpaceConfig, chain: Chain, choice: int) -> tuple[ModelCost, ...]:
    totals = [ModelCost()] * len(config.blocks)
    for _, site in chain.followers(choice):
        for place, module in zip(config.choices[choice], site.candidates, strict=True):
            totals[place] += _traced_cost(module)
    return tuple(totals)


def _traced_cost(module: Module) -> ModelCost:
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
    return _all(config, lambda cost: cost.params)


def all_macs(config: SpaceConfig) -> NDArray[np.int64]:
    """Return the MACs for one image of all networks in canonical order, shape (len(config),), int64.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    return _all(config, lambda cost: cost.macs)


def _all(config: SpaceConfig, of: Callable[[ModelCost], int]) -> NDArray[np.int64]:
    import numpy as np

    check_enumerable(
        config, "costs of all networks", "sum `fixed_cost` and `block_costs`, or ask one network"
    )
    total = np.array([of(fixed_cost(config))], dtype=np.int64)
    # Later stages change more slowly: they go before the earlier ones.
    for costs, places in zip(block_costs(config), config.choices, strict=True):
        stage = np.array([of(costs[place]) for place in places], dtype=np.int64)
        total = (stage[:, None] + total[None, :]).ravel()  # (blocks, networks so far) -> flat
    return total

"""The networks of a space in PyTorch, to be read top to bottom.

    from space import Architecture
    from space.networks import build_network
    network = build_network(Architecture.parse("conv-mbconv+in/bconv/conv+mbconv"))

Source of every layer: Blox, arXiv:2210.07271, as released for CIFAR-100; the ops and the head are in `space.layers`. Shapes at
the line ends are (batch, channels, height, width); C is the width of the stage, H and W its size in pixels. A space of one's own
is a chain of what its definition names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor, nn

from space.architecture import Architecture
from space.block import Block
from space.chain import Chain, Module
from space.config import SpaceConfig
from space.layers import Head, build_op, unit
from space.module_functions import build_module
from space.stages import SpaceStage, stage_sites

# --- the stage: a cell, then a reduction ----------------------------------------------------------


class Cell(nn.Module):
    """Wire the one or two ops of a block; only ops that reach the output are built, by `op`, so op0 may be None."""

    def __init__(self, block: Block, width: int, op: Callable[[str, int], nn.Module] = build_op) -> None:
        super().__init__()
        self.block = block
        self.op0 = None if block.op0 is None else op(block.op0, width)
        self.op1 = op(block.op1, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if self.op0 is None:
            only: Tensor = self.op1(x)
            return only
        node1 = self.op0(x)
        match self.block.prev, self.block.inp:
            case True, True:
                node2 = self.op1(node1 + x)
            case True, False:
                node2 = self.op1(node1)
            case _:
                node2 = self.op1(x)
        y: Tensor = node2 + node1 if self.block.sc else node2
        return y


class Reduction(nn.Module):
    """Halve the image and double the channels: two 3x3 units in parallel with one 2x2 unit; no ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            unit(width, 2 * width, 3, stride=2, padding=1),  # (B, 2C, H/2, W/2)
            unit(2 * width, 2 * width, 3, padding=1),  # (B, 2C, H/2, W/2)
        )
        self.shallow = unit(width, 2 * width, 2, stride=2)  # (B, 2C, H/2, W/2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2C, H/2, W/2)."""
        y: Tensor = self.deep(x) + self.shallow(x)
        return y


class Stage(nn.Module):
    """One searchable cell, then one fixed reduction, made by `op` and `reduction`."""

    def __init__(
        self,
        block: Block,
        width: int,
        op: Callable[[str, int], nn.Module] = build_op,
        reduction: Callable[[int], nn.Module] = Reduction,
    ) -> None:
        super().__init__()
        self.cell = Cell(block, width, op)
        self.reduction = reduction(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2C, H/2, W/2)."""
        y: Tensor = self.reduction(self.cell(x))
        return y


# --- the whole network ----------------------------------------------------------------------------


class Network(nn.Module):
    """A network in parts: `stem`, `stages[s].cell`, `stages[s].reduction`, `head`; `stage` makes its stages."""

    def __init__(self, architecture: Architecture, stage: Callable[[Block, int], Stage] = Stage) -> None:
        super().__init__()
        config = architecture.config
        self.stem = build_stem(config)
        self.stages = nn.ModuleList(map(stage, architecture.blocks, config.widths))
        self.head = build_head(config)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, image_size, image_size) to logits (B, classes)."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        y: Tensor = self.head(x)
        return y


class ChainStage(nn.Module):
    """Sites of a chain that follow one another, by their places: weights are called as in the whole network."""

    def __init__(self, sites: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.sites = nn.ModuleDict({str(place): module for place, module in sites.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Map what the first site reads to what the last one gives."""
        for site in self.sites.values():
            x = site(x)
        return x


class ChainNetwork(nn.Module):
    """A network of a chain of sites in parts: `stem`, `sites[i]`, `head`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        config, chain = architecture.config, architecture.config.chain
        assert chain is not None
        self.runs = stage_sites(config)
        self.stem = build_stem(config)
        self.sites = nn.ModuleList(
            build_chain_module(module, chain) for _, _, module in chain.modules(architecture.blocks)
        )
        self.head = build_head(config)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, image_size, image_size) to logits (B, classes)."""
        x = self.stem(images)
        for site in self.sites:
            x = site(x)
        y: Tensor = self.head(x)
        return y

    @property
    def stages(self) -> list[ChainStage]:
        """The stages, which are the same modules once more."""
        return [ChainStage({place: self.sites[place] for place in run}) for run in self.runs]


def build_stem(config: SpaceConfig) -> nn.Module:
    """Build the stem with fresh weights: (B, in_channels, H, W) to what the first stage reads."""
    if config.chain is not None:
        return build_chain_module(config.chain.stem, config.chain)
    return unit(config.in_channels, config.widths[0], 3, padding=1)


def build_head(config: SpaceConfig) -> nn.Module:
    """Build the head with fresh weights: what the last stage gives to logits (B, classes)."""
    if config.chain is not None:
        return build_chain_module(config.chain.head, config.chain)
    return Head(2 * config.widths[-1], config.classes)


def build_chain_module(module: Module, chain: Chain) -> nn.Module:
    """Build a module of a chain with fresh weights.

    Raises:
        ArchitectureError: the function that its definition names is gone, or fails.
    """
    return build_module(module.function, module.options, chain.folder, module.given)


AnyNetwork: TypeAlias = Network | ChainNetwork
AnyStage: TypeAlias = Stage | ChainStage


def build_stage(stage: SpaceStage, block: Block) -> AnyStage:
    """Build a block of a stage, and what follows it there, with fresh weights.

    Raises:
        ArchitectureError: as `build_network`.
    """
    chain = stage.config.chain
    if chain is None:
        return Stage(block, stage.config.widths[stage.number])
    sites = ((place, chain.sites[place]) for place in stage.sites)
    modules = {place: site.runs(block) for place, site in sites}
    return ChainStage({place: build_chain_module(module, chain) for place, module in modules.items()})


def build_network(architecture: Architecture) -> AnyNetwork:
    """Build an architecture's network with fresh weights, drawn from torch's global generator.

    Raises:
        ArchitectureError: an op of the architecture has no layers, or a function of its definition is gone.
    """
    return Network(architecture) if architecture.config.chain is None else ChainNetwork(architecture)


# --- shapes alone: of modules whose weights are of no use -----------------------------------------
#
# Nothing is drawn, and torch's generator is left as it was. Blox's tensors have no values, and layers of one shape are one
# module: read them, or put others in their place. One's own modules are real and nobody else's: what they keep beside their
# weights is of use, and their code may read numbers.


def stage_shapes(stage: SpaceStage, block: Block) -> AnyStage:
    """Return the shapes alone of `build_stage`. Raises: as `build_stage`."""
    if stage.config.chain is None:
        return _blox_stage(block, stage.config.widths[stage.number])
    with torch.random.fork_rng(devices=[]):
        return build_stage(stage, block)


def network_shapes(architecture: Architecture) -> AnyNetwork:
    """Return the shapes alone of `build_network`. Raises: as `build_network`."""
    if architecture.config.chain is None:
        with torch.device("meta"):
            return Network(architecture, _blox_stage)
    with torch.random.fork_rng(devices=[]):
        return ChainNetwork(architecture)


@lru_cache(maxsize=64)
def op_shapes(op: str, width: int) -> nn.Module:
    """Return the shapes alone of `build_op`. Raises: as `build_op`."""
    with torch.device("meta"):
        return build_op(op, width)


@lru_cache(maxsize=64)
def reduction_shapes(width: int) -> nn.Module:
    """Return the shapes alone of `Reduction`."""
    with torch.device("meta"):
        return Reduction(width)


def _blox_stage(block: Block, width: int) -> Stage:
    return Stage(block, width, op_shapes, reduction_shapes)

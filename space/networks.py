"""The networks of a space in PyTorch, to be read top to bottom.

    from space import Architecture
    from space.networks import build_network
    network = build_network(Architecture.parse("conv-mbconv+in/bconv/conv+mbconv"))

Source of every layer: Blox, arXiv:2210.07271, as released for CIFAR-100. Every convolution has a bias and is
followed by BatchNorm and ReLU: a *unit*. Shapes at the line ends are (batch, channels, height, width); C is
the width of the stage, H and W its size in pixels. This is the only module of the package that imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from space.architecture import Architecture
from space.block import Block
from space.config import SpaceConfig
from space.errors import ArchitectureError, did_you_mean


def unit(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Build convolution with bias, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=padding, groups=groups),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


# --- the ops: each keeps (B, C, H, W) -------------------------------------------------------------


class Conv(nn.Module):
    """Four plain 3x3 units in a row, as in VGG; no residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.units = nn.Sequential(*(unit(width, width, 3, padding=1) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.units(x)
        return y


class SqueezeExcite(nn.Module):
    """Weigh each channel by a gate computed from all channel means, without reducing the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU()
        self.excite = nn.Conv2d(channels, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gate = self.relu(self.squeeze(self.pool(x)))  # (B, C, 1, 1)
        gate = self.sigmoid(self.excite(gate))  # (B, C, 1, 1)
        y: Tensor = x * gate  # (B, C, H, W)
        return y


class MBConv(nn.Module):
    """Two fused inverted residuals: full 3x3 unit to 2C, squeeze-excite, 1x1 unit back, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                unit(width, 2 * width, 3, padding=1),  # (B, 2C, H, W)
                SqueezeExcite(2 * width),  # (B, 2C, H, W)
                unit(2 * width, width, 1),  # (B, C, H, W)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        for layer in self.layers:
            x = layer(x) + x
        return x


class BConv(nn.Module):
    """Six depthwise bottlenecks of C/2, C, 2C, C/2, C, 2C channels, each plus its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                unit(width, b, 1),  # (B, b, H, W)
                unit(b, b, 5, padding=2, groups=b),  # (B, b, H, W)
                unit(b, width, 1),  # (B, C, H, W)
            )
            for b in (width // 2, width, 2 * width) * 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        for layer in self.layers:
            x = layer(x) + x
        return x


OPS: Mapping[str, Callable[[int], nn.Module]] = {"conv": Conv, "mbconv": MBConv, "bconv": BConv}


def build_op(op: str, width: int) -> nn.Module:
    """Build one op with fresh weights; it maps (B, width, H, W) to the same shape.

    Raises:
        ArchitectureError: no layers are defined for an op of this name.
    """
    if op not in OPS:
        raise ArchitectureError(
            f"op {op!r} has no layers" + (did_you_mean(op, OPS) or f"; ops with layers are {', '.join(OPS)}")
        )
    return OPS[op](width)


# --- the stage: a cell, then a reduction ----------------------------------------------------------


class Cell(nn.Module):
    """Wire the one or two ops of a block; only ops that reach the output are built, so op0 may be None."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.block = block
        self.op0 = None if block.op0 is None else build_op(block.op0, width)
        self.op1 = build_op(block.op1, width)

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
    """One searchable cell, then one fixed reduction."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.cell = Cell(block, width)
        self.reduction = Reduction(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2C, H/2, W/2)."""
        y: Tensor = self.reduction(self.cell(x))
        return y


# --- the whole network ----------------------------------------------------------------------------


class Head(nn.Module):
    """Global average pooling and one linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, classes)."""
        y: Tensor = self.linear(torch.flatten(self.pool(x), 1))
        return y


class Network(nn.Module):
    """A network in parts: `stem`, `stages[s].cell`, `stages[s].reduction`, `head`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        config = architecture.config
        self.stem = build_stem(config)
        self.stages = nn.ModuleList(
            Stage(block, width) for block, width in zip(architecture.blocks, config.widths, strict=True)
        )
        self.head = build_head(config)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, image_size, image_size) to logits (B, classes)."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        y: Tensor = self.head(x)
        return y


def build_stem(config: SpaceConfig) -> nn.Module:
    """Build the stem with fresh weights: (B, in_channels, H, W) to (B, widths[0], H, W)."""
    return unit(config.in_channels, config.widths[0], 3, padding=1)


def build_reduction(width: int) -> nn.Module:
    """Build the reduction after a stage with fresh weights: (B, width, H, W) to (B, 2 width, H/2, W/2)."""
    return Reduction(width)


def build_head(config: SpaceConfig) -> nn.Module:
    """Build the head with fresh weights: (B, 2 widths[-1], H, W) to logits (B, classes)."""
    return Head(2 * config.widths[-1], config.classes)


def build_network(architecture: Architecture) -> Network:
    """Build an architecture's network with fresh weights, drawn from torch's global generator.

    Raises:
        ArchitectureError: an op of the architecture has no layers.
    """
    return Network(architecture)

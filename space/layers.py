"""The layers of Blox in PyTorch: the unit, the three ops, the head. Imports torch.

Source of every layer: Blox, arXiv:2210.07271, as released for CIFAR-100. Every convolution has a bias and is followed by
BatchNorm and ReLU: a *unit*. Shapes at the line ends are (batch, channels, height, width); C is the width of the stage, H and W
its size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

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
        raise ArchitectureError(f"op {op!r} has no layers{did_you_mean(op, OPS, 'ops with layers are')}")
    return OPS[op](width)


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

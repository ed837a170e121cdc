"""Torch modules that a user's own space may have as candidates, shipped ones too, with seeded weights, BatchNorm folded.

Imports torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.networks import fold_batch_norm
from space.candidates import SHIPPED

Shape = tuple[int, int, int, int]
HEADS = {"linear", "conv_linear"}
WITHOUT_STRIDE = HEADS | {name for name in SHIPPED if name.startswith("blox_")}


class Residual(nn.Module):
    """Add a branch to its input."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.branch(x)


class Excite(nn.Module):
    """Squeeze-and-excite by linear layers, with views between two and four axes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gate = self.up(functional.relu(self.down(x.mean((2, 3)))))
        return x * functional.hardsigmoid(gate)[:, :, None, None]


class ConvNeXt(nn.Module):
    """ConvNeXt's block as published: permuted to channels last for LayerNorm, Linear, GELU and the layer scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand, self.project = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(functional.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    """ShuffleNet's unit: half of the channels convolved in groups, then all of them shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(*unit(half, half, 1), *unit(half, half, 3, groups=half))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        first, second = x.chunk(2, dim=1)
        y = torch.cat([first, self.convs(second)], dim=1)
        b, c, h, w = y.shape
        return y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class Inception(nn.Module):
    """Two convolutions and two poolings side by side, joined by their channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.five = nn.Conv2d(channels, 8, 1), nn.Conv2d(channels, 8, 5, padding=2)
        self.maximum, self.mean = nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 16 + 2 C, H, W)."""
        return torch.cat([self.one(x), self.five(x), self.maximum(x), self.mean(x)], dim=1)


class Attention(nn.Module):
    """Self-attention of all pixels, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        weights = (query @ key.transpose(-2, -1) * x.shape[1] ** -0.5).softmax(-1)
        return x + self.project(weights @ value).transpose(1, 2).reshape(x.shape)


def unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> list[nn.Module]:
    """Return a convolution, with BatchNorm folded, and its activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
    return [conv, nn.ReLU() if act is None else act]


def mbconv(channels: int, kernel: int, expansion: int, stride: int = 1) -> nn.Module:
    """Return MobileNetV2's inverted residual, of twice the channels where it has a stride."""
    wide = channels * expansion
    layers = [
        *unit(channels, wide, 1, act=nn.ReLU6()),
        *unit(wide, wide, kernel, stride, wide, nn.ReLU6()),
        nn.Conv2d(wide, channels if stride == 1 else 2 * channels, 1),
    ]
    return Residual(*layers) if stride == 1 else nn.Sequential(*layers)


def resnet(channels: int) -> nn.Module:
    """Return ResNet's basic block."""
    branch = (*unit(channels, channels, 3), nn.Conv2d(channels, channels, 3, padding=1))
    return nn.Sequential(Residual(*branch), nn.ReLU())


def bottleneck(channels: int) -> nn.Module:
    """Return ResNet's bottleneck."""
    narrow = channels // 4
    branch = (*unit(channels, narrow, 1), *unit(narrow, narrow, 3), nn.Conv2d(narrow, channels, 1))
    return nn.Sequential(Residual(*branch), nn.ReLU())


def mobilenet_v3(channels: int) -> nn.Module:
    """Return MobileNetV3's block: hardswish and squeeze-and-excite."""
    wide = 4 * channels
    return Residual(
        *unit(channels, wide, 1, act=nn.Hardswish()),
        *unit(wide, wide, 5, groups=wide, act=nn.Hardswish()),
        Excite(wide),
        nn.Conv2d(wide, channels, 1),
    )


def efficientnet(channels: int) -> nn.Module:
    """Return an inverted residual with SiLU."""
    wide = 4 * channels
    return Residual(
        *unit(channels, wide, 1, act=nn.SiLU()),
        *unit(wide, wide, 3, groups=wide, act=nn.SiLU()),
        nn.Conv2d(wide, channels, 1),
    )


def group_norm(channels: int) -> nn.Module:
    """Return a residual branch that is normalized by groups, before its activation."""
    return Residual(nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(4, channels), nn.ReLU())


def resnet_stem(channels: int) -> nn.Module:
    """Return a 7 x 7 convolution and a pooling, both with stride 2."""
    return nn.Sequential(*unit(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1))


def head(channels: int) -> nn.Module:
    """Return a classifier by global average pooling."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 10))


def shipped(name: str, stride: int) -> tuple[Callable[[], nn.Module], Shape]:
    """Return a shipped module of 32 channels, which a stride of 2 doubles, and what it reads; heads have 10 classes."""
    outputs = 10 if name in HEADS else 32 * stride
    return lambda: SHIPPED[name](32, outputs, stride), (1, 32, 28, 28)


CANDIDATES: Mapping[str, tuple[Callable[[], nn.Module], Shape]] = {
    "separable": (lambda: nn.Sequential(*unit(32, 32, 3, groups=32), *unit(32, 48, 1)), (1, 32, 28, 28)),
    "mbconv 3x3 e6": (lambda: mbconv(32, 3, 6), (1, 32, 28, 28)),
    "mbconv 7x7 e3": (lambda: mbconv(32, 7, 3), (1, 32, 28, 28)),
    "mbconv 5x5 e6 /2": (lambda: mbconv(32, 5, 6, 2), (1, 32, 28, 28)),
    "mbconv 5x5 e6 /2 odd": (lambda: mbconv(32, 5, 6, 2), (1, 32, 27, 27)),
    "mobilenet v3": (lambda: mobilenet_v3(32), (1, 32, 28, 28)),
    "efficientnet silu": (lambda: efficientnet(32), (1, 32, 28, 28)),
    "resnet basic": (lambda: resnet(32), (1, 32, 28, 28)),
    "resnet bottleneck": (lambda: bottleneck(64), (1, 64, 28, 28)),
    "resnet stem": (lambda: resnet_stem(32), (1, 3, 64, 64)),
    "convnext": (lambda: ConvNeXt(32), (1, 32, 28, 28)),
    "group norm": (lambda: group_norm(32), (1, 32, 28, 28)),
    "shufflenet": (lambda: Shuffle(32), (1, 32, 28, 28)),
    "inception": (lambda: Inception(32), (1, 32, 28, 28)),
    "attention": (lambda: Attention(32), (1, 32, 14, 14)),
    "head": (lambda: head(32), (1, 32, 14, 14)),
    # Without a stride identity has nothing to convert.
    **{f"shipped {name}": shipped(name, 1) for name in SHIPPED if name != "identity"},
    **{f"shipped {name} /2": shipped(name, 2) for name in SHIPPED if name not in WITHOUT_STRIDE},
}


def candidate(name: str) -> tuple[nn.Module, Shape]:
    """Return a candidate in eval mode with the same weights each time, and the shape of its input."""
    build, shape = CANDIDATES[name]
    torch.manual_seed(0)
    module = build().eval().requires_grad_(False)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.bias.uniform_(-0.1, 0.1)  # a converter may leave out a bias of zeros
    return fold_batch_norm(module), shape


def operator_counts(model: bytes) -> Counter[str]:
    """Count a TFLite model's operators by name."""
    from exporters.tflite_graph import operator_name, read_graph

    return Counter(operator_name(op.code[0]) for op in read_graph(model).operators)

"""Torch modules to make spaces of one's own from. Imports torch.

Each function takes (channels_in, channels_out, stride) and options by name, and returns a module that maps (B, channels_in, H, W)
to (B, channels_out, ceil(H / stride), ceil(W / stride)); heads return logits (B, channels_out). Kernels are odd, and images are
padded by half of them. A module's input is added to its output where both have one shape (`residual`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional

from space.errors import ArchitectureError, did_you_mean, shown
from space.layers import OPS, Head

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


class Residual(nn.Module):
    """Add what a module's branch and its short way give, and activate the sum."""

    def __init__(self, branch: nn.Module, short: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.branch, self.short, self.activation = branch, short, activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the shape of the branch."""
        y: Tensor = self.activation(self.short(x) + self.branch(x))
        return y


def conv(
    channels_in: int, channels_out: int, stride: int, *, kernel: int = 3, activation: str = "relu"
) -> nn.Module:
    """Build a convolution without bias, BatchNorm, activation."""
    return nn.Sequential(*_unit(channels_in, channels_out, kernel, stride, 1, activation))


def mbconv(
    channels_in: int,
    channels_out: int,
    stride: int,
    *,
    kernel: int = 3,
    expansion: int = 6,
    activation: str = "relu6",
    residual: bool = True,
) -> nn.Module:
    """Build MobileNetV2's inverted residual (arXiv:1801.04381): 1x1 expand, depthwise, 1x1 project without activation.

    Without the first of them where `expansion` is 1.
    """
    wide = channels_in * _positive("expansion", expansion)
    expand = _unit(channels_in, wide, 1, 1, 1, activation) if expansion > 1 else ()
    branch = nn.Sequential(
        *expand,
        *_unit(wide, wide, kernel, stride, wide, activation),
        *_unit(wide, channels_out, 1, 1, 1, "none"),
    )
    if not isinstance(residual, bool):
        raise ArchitectureError(f"residual = {shown(residual)}: give true or false")
    if residual and stride == 1 and channels_in == channels_out:
        return Residual(branch, nn.Identity(), nn.Identity())
    return branch


def separable(
    channels_in: int, channels_out: int, stride: int, *, kernel: int = 3, activation: str = "relu"
) -> nn.Module:
    """Build a depthwise and a 1x1 convolution, each with BatchNorm and activation, as MobileNet has (arXiv:1704.04861)."""
    return nn.Sequential(
        *_unit(channels_in, channels_in, kernel, stride, channels_in, activation),
        *_unit(channels_in, channels_out, 1, 1, 1, activation),
    )


def resnet_basic(
    channels_in: int, channels_out: int, stride: int, *, kernel: int = 3, activation: str = "relu"
) -> nn.Module:
    """Build ResNet's basic block (arXiv:1512.03385): two convolutions; a 1x1 one as the short way where shapes differ."""
    branch = nn.Sequential(
        *_unit(channels_in, channels_out, kernel, stride, 1, activation),
        *_unit(channels_out, channels_out, kernel, 1, 1, "none"),
    )
    return Residual(branch, _short(channels_in, channels_out, stride), _activation(activation))


def resnet_bottleneck(
    channels_in: int,
    channels_out: int,
    stride: int,
    *,
    kernel: int = 3,
    reduction: int = 4,
    activation: str = "relu",
) -> nn.Module:
    """Build ResNet's bottleneck: 1x1 to a `reduction`-th of the channels, a convolution with the stride, 1x1 back."""
    narrow = max(1, channels_out // _positive("reduction", reduction))
    branch = nn.Sequential(
        *_unit(channels_in, narrow, 1, 1, 1, activation),
        *_unit(narrow, narrow, kernel, stride, 1, activation),
        *_unit(narrow, channels_out, 1, 1, 1, "none"),
    )
    return Residual(branch, _short(channels_in, channels_out, stride), _activation(activation))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y


class Patches(nn.Conv2d):
    """Convolution of windows side by side, the last of which may reach beyond the image, where there are zeros."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__(channels_in, channels_out, size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, ceil(H / size), ceil(W / size))."""
        size, (height, width) = self.kernel_size[0], x.shape[2:]
        if height % size or width % size:
            x = functional.pad(x, (0, -width % size, 0, -height % size))
        return super().forward(x)


def convnext(
    channels_in: int, channels_out: int, stride: int, *, kernel: int = 7, expansion: int = 4
) -> nn.Module:
    """Build ConvNeXt's block (arXiv:2201.03545), without its layer scale: depthwise, LayerNorm, 1x1 expand, GELU, 1x1 project.

    Where the shape changes, a LayerNorm and a convolution of the stride's size come first; zeros make the image a multiple of it.
    """
    wide = channels_out * _positive("expansion", expansion)
    block = Residual(
        nn.Sequential(
            nn.Conv2d(channels_out, channels_out, kernel, padding=_padding(kernel), groups=channels_out),
            ChannelNorm(channels_out),
            nn.Conv2d(channels_out, wide, 1),
            nn.GELU(),
            nn.Conv2d(wide, channels_out, 1),
        ),
        nn.Identity(),
        nn.Identity(),
    )
    if stride == 1 and channels_in == channels_out:
        return block
    return nn.Sequential(ChannelNorm(channels_in), Patches(channels_in, channels_out, stride), block)


def identity(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Build what changes nothing, for depth; where the shape changes, a 1x1 convolution with the stride and BatchNorm."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(*_unit(channels_in, channels_out, 1, stride, 1, "none"))


def blox_op(op: str) -> Callable[[int, int, int], nn.Module]:
    """Return the function of one of Blox's ops, which change no shape."""

    def build(channels_in: int, channels_out: int, stride: int) -> nn.Module:
        if stride != 1 or channels_in != channels_out:
            raise ArchitectureError(
                f"blox_{op} changes no shape, and is to map {channels_in} channels to {channels_out} with stride {stride}; put a "
                "site of another module before it"
            )
        return OPS[op](channels_in)

    return build


def linear(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Build the head of global average pooling and one linear layer."""
    return Head(channels_in, channels_out)


def conv_linear(
    channels_in: int, channels_out: int, stride: int, *, channels: int = 1280, activation: str = "relu"
) -> nn.Module:
    """Build the head of MobileNetV2: 1x1 convolution to `channels`, BatchNorm, activation, pooling, linear."""
    return nn.Sequential(
        *_unit(channels_in, _positive("channels", channels), 1, 1, 1, activation),
        Head(channels, channels_out),
    )


SHIPPED: Mapping[str, Callable[..., nn.Module]] = {
    "conv": conv,
    "mbconv": mbconv,
    "separable": separable,
    "resnet_basic": resnet_basic,
    "resnet_bottleneck": resnet_bottleneck,
    "convnext": convnext,
    "identity": identity,
    "linear": linear,
    "conv_linear": conv_linear,
    **{f"blox_{op}": blox_op(op) for op in OPS},
}


def _unit(
    channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, activation: str
) -> tuple[nn.Module, ...]:
    layers = (
        nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=_padding(kernel),
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(channels_out),
    )
    return layers if activation == "none" else (*layers, _activation(activation))


def _short(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(*_unit(channels_in, channels_out, 1, stride, 1, "none"))


def _padding(kernel: int) -> int:
    if type(kernel) is not int or kernel < 1 or kernel % 2 == 0:
        raise ArchitectureError(f"kernel = {shown(kernel)}: give an odd whole number, such as 3")
    return kernel // 2


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ArchitectureError(
            f"activation = {shown(name)} is unknown{did_you_mean(str(name), ACTIVATIONS, 'choose from')}"
        )
    return ACTIVATIONS[name]()


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ArchitectureError(f"{name} = {shown(value)}: give a whole number of at least 1")
    return value

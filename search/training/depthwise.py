"""Depthwise convolutions of small images as one matrix product a channel: on a CPU the faster way to train them.

torch computes the gradients of a depthwise convolution on a CPU slowly, above all for few pixels. A convolution is linear
in its image, so each channel is a matrix of pixels by pixels (a Toeplitz matrix of Toeplitz blocks; its entries are the
kernel's weights, or 0 where a pixel is out of the kernel's reach), and a batch is one batched product over channels. It
does more multiplications than the convolution, and pays only while the image is small. The sums have another order, so
results differ in their last bits.

Measured on one core of an Intel Xeon, forward and backward, batch 64: of a whole bconv op of 8 x 8 or 4 x 4 pixels 0.5 to 0.75
of the time; channels last alone gives 0.6 to 0.75 of it, and both together no more than one. The convolution alone at
8 x 8 pixels takes a fifth to a half; at 16 x 16 it is even, and worse than channels last.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

MOST_PIXELS = 64  # 8 x 8: from 12 x 12 on torch's own with channels last is as fast or faster


def depthwise_toeplitz(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve each channel of x (N, C, H, W) with its kernel, weight (C, 1, k, k), k odd, borders padded with 0.

    Returns (N, C, H, W), what `conv2d(x, weight, bias, padding=k // 2, groups=C)` does, to rounding; `bias` is (C,).

    Raises:
        ValueError: the weights are not those of a depthwise convolution of an odd, square kernel for these channels.
    """
    count, channels, height, width = x.shape
    kernel = weight.shape[-1]
    if weight.shape != (channels, 1, kernel, kernel) or kernel % 2 == 0:
        raise ValueError(
            f"weight is of shape {tuple(weight.shape)}; give ({channels}, 1, k, k) of an odd k for x of {tuple(x.shape)}"
        )
    pixels = height * width
    spread = _spread(kernel, height, width, weight.dtype, weight.device)
    matrices = (weight.reshape(channels, -1) @ spread).view(channels, pixels, pixels)  # (C, in, out)
    rows = x.reshape(count, channels, pixels).transpose(0, 1)  # (C, N, HW)
    y = torch.bmm(rows, matrices) if bias is None else torch.baddbmm(bias[:, None, None], rows, matrices)
    return y.transpose(0, 1).reshape(count, channels, height, width).contiguous()


class Depthwise(nn.Module):
    """Stand in for a depthwise `nn.Conv2d`, with its own parameters under their own names."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        if x.device.type == "cpu" and x.shape[2] * x.shape[3] <= MOST_PIXELS:
            return depthwise_toeplitz(x, self.weight, self.bias)
        return conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2, groups=len(self.weight))


def use_fast_depthwise(network: nn.Module) -> int:
    """Let a network compute its depthwise convolutions that keep the image's size in this way; return how many.

    It happens in place. Parameters, their order and the names of the state dict stay as they are.
    """
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Conv2d) and _is_depthwise(child)
    ]
    for parent, name, child in found:
        setattr(parent, name, Depthwise(child))
    return len(found)


def _is_depthwise(convolution: nn.Conv2d) -> bool:
    height, width = convolution.kernel_size
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels
        and height == width
        and height % 2 == 1
        and convolution.padding == (height // 2, height // 2)
        and convolution.padding_mode == "zeros"
        and convolution.stride == (1, 1)
        and convolution.dilation == (1, 1)
    )


@functools.lru_cache(maxsize=16)
def _spread(kernel: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what spreads a kernel's weights over its matrix: ones and zeros, (k k, H W H W).

    The row of a weight has a 1 where that weight leads from an input pixel to an output pixel.
    """
    with torch.inference_mode(False):  # it is kept for later calls, which may want gradients
        ups, leads = (_reach(kernel, size) for size in (height, width))  # (k, H, H), (k, W, W)
        both = torch.einsum("aio,bjp->abijop", ups, leads)  # input pixel (i, j), output pixel (o, p)
        return both.reshape(kernel**2, (height * width) ** 2).to(device=device, dtype=dtype)


def _reach(kernel: int, size: int) -> Tensor:
    """Return (k, in, out): 1 where a place of the kernel leads from an input to an output along one axis."""
    places = torch.arange(size)
    offsets = torch.arange(kernel)[:, None, None] - kernel // 2
    return (places[:, None] == places + offsets).float()

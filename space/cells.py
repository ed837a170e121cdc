"""Blox's kind of space: stages of a searchable cell and a reduction, with costs by arithmetic: no network is built.

    image -> stem -> cell 0 -> reduction 0 -> cell 1 -> ... -> head -> logits

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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice

from space.block import Block, block_table
from space.errors import ArchitectureError, did_you_mean
from space.layout import FLOAT_BYTES, MapSizes, NetworkLayout, Site, Traced

# Of Blox, a network of middling cost that holds all three ops and both kinds of sum; other stages have as many of its blocks.
REFERENCE = ("conv", "mbconv-bconv+out", "conv+conv")


class Layers:
    """Parameters, MACs and feature maps of layers for one image, counted in the order in which they run; `pixels` of each map."""

    def __init__(self) -> None:
        self.params = self.macs = 0
        self.maps = MapSizes()

    def unit(
        self, x: int, channels_in: int, channels_out: int, kernel: int, pixels: int, groups: int = 1
    ) -> int:
        """Add a convolution with bias, its BatchNorm and its ReLU, for an output of so many pixels; return its map."""
        weights = kernel * kernel * (channels_in // groups) * channels_out
        self.params += weights + 3 * channels_out
        self.macs += pixels * (weights + 4 * channels_out)
        return self.maps.write(channels_out * pixels, x)

    def pool(self, x: int, channels: int, pixels: int) -> int:
        """Add a global average pooling."""
        self.macs += channels * pixels
        return self.maps.write(channels, x)

    def linear(self, x: int, inputs: int, outputs: int) -> int:
        """Add a linear layer, or a 1x1 convolution of one pixel."""
        self.params += (inputs + 1) * outputs
        self.macs += (inputs + 1) * outputs
        return self.maps.write(outputs, x)


def _conv(layers: Layers, x: int, width: int, pixels: int) -> int:
    for _ in range(4):
        x = layers.unit(x, width, width, 3, pixels)
    return x


def _mbconv(layers: Layers, x: int, width: int, pixels: int) -> int:
    wide, maps = 2 * width, layers.maps
    for _ in range(2):
        y = layers.unit(x, width, wide, 3, pixels)
        squeezed = layers.linear(layers.pool(y, wide, pixels), wide, wide)
        layers.macs += wide  # its ReLU
        gate = maps.write(wide, layers.linear(squeezed, wide, wide))  # of the sigmoid
        y = layers.unit(maps.write(wide * pixels, y, gate), wide, width, 1, pixels)
        x = maps.write(width * pixels, y, x)
    return x


def _bconv(layers: Layers, x: int, width: int, pixels: int) -> int:
    for b in (width // 2, width, 2 * width) * 2:
        y = layers.unit(x, width, b, 1, pixels)
        y = layers.unit(y, b, b, 5, pixels, groups=b)
        y = layers.unit(y, b, width, 1, pixels)
        x = layers.maps.write(width * pixels, y, x)
    return x


OPS: Mapping[str, Callable[[Layers, int, int, int], int]] = {
    "conv": _conv,
    "mbconv": _mbconv,
    "bconv": _bconv,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPart:
    """A part of networks of cells: stem, head, a reduction, which has no name, or a cell, called by its block.

    It reads `channels_in` maps of `size` * `size` pixels, and writes `channels_out` values a pixel, or those of the head.
    """

    name: str
    block: Block | None = None
    channels_in: int
    channels_out: int
    size: int

    @property
    def traced(self) -> Traced:
        """Its facts, without a digest. Raises: ArchitectureError for an op without layers to count."""
        return _counted(self)


@lru_cache(maxsize=4096)
def _counted(part: CountedPart) -> Traced:
    layers, width, wide, size = Layers(), part.channels_in, part.channels_out, part.size
    x = layers.maps.write(width * size * size)
    output: tuple[int, ...] = (1, wide, size, size)
    if part.block is not None:
        _cell(layers, x, part.block, width, size * size)
    elif part.name == "stem":
        layers.unit(x, width, wide, 3, size * size)
    elif part.name == "head":
        layers.linear(layers.pool(x, width, size * size), width, wide)
        output = (1, wide)
    else:
        half = size // 2
        deep = layers.unit(layers.unit(x, width, wide, 3, half * half), wide, wide, 3, half * half)
        layers.maps.write(wide * half * half, deep, layers.unit(x, width, wide, 2, half * half))
        output = (1, wide, half, half)
    peak_bytes = FLOAT_BYTES * layers.maps.peak()
    return Traced(digest="", params=layers.params, macs=layers.macs, peak_bytes=peak_bytes, output=output)


def _cell(layers: Layers, x: int, block: Block, width: int, pixels: int) -> None:
    for op in block.ops:
        if op not in OPS:
            raise ArchitectureError(f"op {op!r} has no costs{did_you_mean(op, OPS, 'ops with costs:')}")
    if block.op0 is None:
        OPS[block.op1](layers, x, width, pixels)
        return
    node1 = OPS[block.op0](layers, x, width, pixels)
    if block.prev and block.inp:
        x = layers.maps.write(width * pixels, node1, x)
    node2 = OPS[block.op1](layers, node1 if block.prev and not block.inp else x, width, pixels)
    if block.sc:
        layers.maps.write(width * pixels, node2, node1)


@lru_cache(maxsize=64)
def cells(
    ops: tuple[str, ...], widths: tuple[int, ...], image_size: int, classes: int, in_channels: int
) -> NetworkLayout[CountedPart]:
    """Return the layout of a space of cells; arguments are those of `SpaceConfig`."""
    table, sites = block_table(ops), list[Site[CountedPart]]()
    for stage, width in enumerate(widths):
        size = image_size >> stage
        blocks = (
            CountedPart(name=str(block), block=block, channels_in=width, channels_out=width, size=size)
            for block in table.blocks
        )
        reduction = CountedPart(name="", channels_in=width, channels_out=2 * width, size=size)
        sites += [_site(f"cell{stage}", stage, *blocks), _site(f"reduction{stage}", None, reduction)]
    features, size = 2 * widths[-1], image_size >> len(widths)
    return NetworkLayout(
        stem=CountedPart(name="stem", channels_in=in_channels, channels_out=widths[0], size=image_size),
        sites=tuple(sites),
        head=CountedPart(name="head", channels_in=features, channels_out=classes, size=size),
        reference=tuple(islice(cycle(REFERENCE), len(widths))),
        kinds=("cell", "reduction"),
        table=table,
    )


def _site(name: str, choice: int | None, *candidates: CountedPart) -> Site[CountedPart]:
    first = candidates[0]
    return Site(
        name=name,
        choice=choice,
        channels_in=first.channels_in,
        channels_out=first.channels_out,
        stride=first.channels_out // first.channels_in,
        size=first.size,
        candidates=candidates,
    )

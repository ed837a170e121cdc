"""Peak memory of an inference by arithmetic: no network is built and nothing is measured.

The bytes of all float32 parameters, and of the feature maps of one image that must exist at the same moment when each map is kept
from the step that writes it to the last step that reads it. A step is a convolution with its BatchNorm and ReLU, a
pooling, a product, a sum or the linear layer; none works in place. Runtimes add workspaces, packed copies of weights and
themselves, or save by working in place: this ranks networks and does not replace a measurement.

Between two cells one map is alive, so a network's peak is the largest of its parts' peaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

from space.architecture import BLOX
from space.block import Block
from space.chain import Chain
from space.config import SpaceConfig
from space.costs import all_params
from space.errors import ArchitectureError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOAT_BYTES = 4


@dataclass(slots=True)
class MapSizes:
    """The feature maps of a part in the order they are written: how many values each has, and what each step reads."""

    values: list[int] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)

    def write(self, values: int, *reads: int) -> int:
        """Add a step that reads some maps and writes one of `values` values; return the new map."""
        self.values.append(values)
        self.reads.append(reads)
        return len(self.values) - 1

    def peak(self) -> int:
        """Return the largest number of values alive during a step; the last map is the part's output."""
        last_read = {read: step for step, reads in enumerate(self.reads) for read in reads}
        return max(
            sum(self.values[one] for one in range(step + 1) if last_read.get(one, one) >= step)
            for step in range(len(self.values))
        )


def _conv(steps: MapSizes, x: int, width: int, pixels: int) -> int:
    for _ in range(4):
        x = steps.write(width * pixels, x)
    return x


def _mbconv(steps: MapSizes, x: int, width: int, pixels: int) -> int:
    wide = 2 * width
    for _ in range(2):
        y = steps.write(wide * pixels, x)
        gate = y
        for _ in range(4):  # pool, squeeze, excite, sigmoid
            gate = steps.write(wide, gate)
        y = steps.write(wide * pixels, y, gate)
        y = steps.write(width * pixels, y)
        x = steps.write(width * pixels, y, x)
    return x


def _bconv(steps: MapSizes, x: int, width: int, pixels: int) -> int:
    for b in (width // 2, width, 2 * width) * 2:
        y = steps.write(b * pixels, x)
        y = steps.write(b * pixels, y)
        y = steps.write(width * pixels, y)
        x = steps.write(width * pixels, y, x)
    return x


OP_STEPS: Mapping[str, Callable[[MapSizes, int, int, int], int]] = {
    "conv": _conv,
    "mbconv": _mbconv,
    "bconv": _bconv,
}


@lru_cache(maxsize=64)
def block_peaks(config: SpaceConfig) -> tuple[tuple[int, ...], ...]:
    """Return the peak of feature maps of each block in canonical order, for each stage, in bytes.

    Raises:
        ArchitectureError: an op of the space has no steps defined.
    """
    if config.chain is not None:
        return tuple(_choice_peaks(config, config.chain, choice) for choice in range(config.stages))
    for op in config.ops:
        if op not in OP_STEPS:
            known = did_you_mean(op, OP_STEPS, "ops with steps:")
            raise ArchitectureError(f"op {op!r} has no steps to count memory by{known}")
    return tuple(
        tuple(
            FLOAT_BYTES * _cell(block, width, (config.image_size >> stage) ** 2).peak()
            for block in config.blocks
        )
        for stage, width in enumerate(config.widths)
    )


@lru_cache(maxsize=64)
def fixed_peak(config: SpaceConfig) -> int:
    """Return the peak of feature maps of what all networks share: stem, reductions, head; in bytes."""
    if config.chain is not None:
        fixed = (site.candidates[0] for site in config.chain.sites if site.choice is None)
        return max(module.traced.peak_bytes for module in (config.chain.stem, *fixed, config.chain.head))
    stem = MapSizes()
    image = stem.write(config.in_channels * config.image_size**2)
    stem.write(config.widths[0] * config.image_size**2, image)
    parts = [stem]
    for stage, width in enumerate(config.widths):
        parts.append(reduction := MapSizes())
        pixels = (config.image_size >> stage) ** 2
        small = 2 * width * (pixels // 4)
        x = reduction.write(width * pixels)
        deep = reduction.write(small, reduction.write(small, x))
        shallow = reduction.write(small, x)
        reduction.write(small, deep, shallow)
    parts.append(head := MapSizes())
    features = 2 * config.widths[-1]
    last = head.write(features * (config.image_size >> config.stages) ** 2)
    head.write(config.classes, head.write(features, last))
    return FLOAT_BYTES * max(part.peak() for part in parts)


def all_memory(config: SpaceConfig = BLOX) -> NDArray[np.int64]:
    """Return parameters and peak of feature maps of all networks in canonical order, in bytes: (len(config),), int64.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    import numpy as np

    params = all_params(config)
    peaks = reduce(
        lambda total, stage: np.maximum(stage[:, None], total[None, :]).ravel(),
        (
            np.array([peaks[place] for place in places], dtype=np.int64)
            for peaks, places in zip(block_peaks(config), config.choices, strict=True)
        ),
        np.array([fixed_peak(config)], dtype=np.int64),
    )
    return FLOAT_BYTES * params + peaks


def _choice_peaks(config: SpaceConfig, chain: Chain, choice: int) -> tuple[int, ...]:
    peaks = [0] * len(config.blocks)
    for _, site in chain.followers(choice):
        for place, module in zip(config.choices[choice], site.candidates, strict=True):
            peaks[place] = max(peaks[place], module.traced.peak_bytes)
    return tuple(peaks)


def _cell(block: Block, width: int, pixels: int) -> MapSizes:
    steps = MapSizes()
    x = steps.write(width * pixels)
    if block.op0 is None:
        OP_STEPS[block.op1](steps, x, width, pixels)
        return steps
    node1 = OP_STEPS[block.op0](steps, x, width, pixels)
    if block.prev and block.inp:
        source = steps.write(width * pixels, node1, x)
    else:
        source = node1 if block.prev else x
    node2 = OP_STEPS[block.op1](steps, source, width, pixels)
    if block.sc:
        steps.write(width * pixels, node2, node1)
    return steps

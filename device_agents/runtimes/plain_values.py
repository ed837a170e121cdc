"""The agent's fixed input without numpy, the same values to the last bit as `loaded.fixed_values` and `fixed_input` give.

For runtimes that a device can have without numpy. A value costs about a microsecond, so the last inputs made are kept: a worker
loads models of one shape again and again.
"""

from __future__ import annotations

import struct
from array import array
from functools import lru_cache
from math import prod
from typing import Iterable, Sequence

MASK = 0xFFFFFFFF
INTEGER_LIMITS = {
    code: (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    for code, bits in (("b", 8), ("h", 16), ("i", 32), ("q", 64), ("B", 8), ("H", 16), ("I", 32), ("Q", 64))
}


@lru_cache(maxsize=8)
def fixed_bytes(
    shape: tuple[int, ...], code: str, layout: str, scale: float = 0.0, zero_point: int = 0
) -> bytes:
    """Return the fixed input of a model in its own type, as `loaded.fixed_input` has it.

    code: the type's letter in `struct`, `f` for float32. layout: NCHW or NHWC, of a rank of 4.
    """
    values = fixed_values(shape, layout)
    if code == "?":
        return bytes(value > 0 for value in values)
    if code not in INTEGER_LIMITS:
        return struct.pack("=%d%s" % (len(values), code), *values)
    if scale:  # in single precision at each step, as numpy computes
        scaled = single(value + zero_point for value in single(value / scale for value in values))
    else:
        scaled = single((value + 1) * 64 for value in values)
    low, high = INTEGER_LIMITS[code]
    return struct.pack(
        "=%d%s" % (len(values), code), *(min(max(round(value), low), high) for value in scaled)
    )


@lru_cache(maxsize=2)
def fixed_values(shape: tuple[int, ...], layout: str) -> array[float]:
    """Return float32 values in [-1, 1) that depend only on (n, channel, row, column), in the order of the shape."""
    places: Iterable[int] = range(prod(shape))
    if len(shape) == 4 and layout == "NHWC":
        places = channels_last(shape)
    return single(map(mixed, places))


def channels_last(shape: Sequence[int]) -> Iterable[int]:
    """Yield the place that each element of (N, H, W, C) has in (N, C, H, W)."""
    batch, rows, columns, channels = shape
    for image in range(batch):
        for pixel in range(rows * columns):
            for channel in range(channels):
                yield (image * channels + channel) * rows * columns + pixel


def mixed(place: int) -> float:
    """Return the value at a place: Knuth's multiplicative hash, then a round of xxHash32's finish."""
    word = place * 2654435761 & MASK
    word = (word ^ word >> 15) * 2246822519 & MASK
    word ^= word >> 13
    return (word >> 8) / (1 << 23) - 1


def single(values: Iterable[float]) -> array[float]:
    """Return values rounded to single precision."""
    return array("f", values)

"""The agent's fixed input without numpy, the same values to the last bit as `loaded.fixed_input` gives.

For runtimes that a device can have without numpy. The last inputs made are kept: a worker loads models of one shape again and
again.
"""

from __future__ import annotations

import struct
import sys
from array import array
from functools import lru_cache
from math import prod
from typing import Iterable

MASK = 0xFFFFFFFF
INTEGER_LIMITS = {
    code: (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    for code, bits in (("b", 8), ("h", 16), ("i", 32), ("q", 64), ("B", 8), ("H", 16), ("I", 32), ("Q", 64))
}
# Values are made so many at once, each in a lane of 64 bits of one large integer.
LANES = 1 << 12
PLACES, ONES, LOW_HALVES = (
    int.from_bytes(array("Q", lanes).tobytes(), sys.byteorder)
    for lanes in (range(LANES), [1] * LANES, [MASK] * LANES)
)


@lru_cache(maxsize=8)
def fixed_bytes(
    shape: tuple[int, ...], code: str, layout: str, scale: float = 0.0, zero_point: int = 0
) -> bytes:
    """Return the fixed input of a model in its own type, as `loaded.fixed_input` has it.

    code: the type's letter in `struct`, `f` for float32. layout: NCHW or NHWC, of a rank of 4.
    """
    values = fixed_values(shape, layout)
    pieces = (values[begin : begin + LANES] for begin in range(0, len(values), LANES))
    return b"".join(converted(piece, code, scale, zero_point) for piece in pieces)


def converted(values: array[float], code: str, scale: float, zero_point: int) -> bytes:
    """Return float32 values in another type."""
    if code == "f":
        return values.tobytes()
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


def fixed_values(shape: tuple[int, ...], layout: str) -> array[float]:
    """Return float32 values in [-1, 1) that depend only on (n, channel, row, column), in the order of the shape."""
    if len(shape) != 4 or layout != "NHWC":
        return mixed(0, prod(shape))
    batch, rows, columns, channels = shape
    plane, image = rows * columns, rows * columns * channels
    values = array("f", bytes(4 * batch * image))
    for begin in range(0, batch * image, image or 1):
        planes = mixed(begin, image)
        for channel in range(channels):
            of_channel = planes[channel * plane : (channel + 1) * plane]
            values[begin + channel : begin + image : channels] = of_channel
    return values


def mixed(begin: int, count: int) -> array[float]:
    """Return the values at places in a row: Knuth's multiplicative hash, then a round of xxHash32's finish."""
    values = array("f")
    for place in range(begin, begin + count, LANES):
        words = (PLACES + place * ONES) * 2654435761 & LOW_HALVES
        words = (words ^ words >> 15 & LOW_HALVES) * 2246822519 & LOW_HALVES
        words = (words ^ words >> 13) >> 8 & LOW_HALVES
        lanes = array("Q", words.to_bytes(8 * LANES, sys.byteorder))
        values.extend(single([word / (1 << 23) - 1 for word in lanes[: begin + count - place]]))
    return values


def single(values: Iterable[float]) -> array[float]:
    """Return values rounded to single precision."""
    return array("f", values)

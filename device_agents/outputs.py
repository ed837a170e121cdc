"""Checks of a model's outputs: finite, moved by its input, and the same from its first run to its last.

What is not finite tells of broken weights, or of an arithmetic that is too narrow. An accelerator may leave out what it is asked
for and say that all went well, as LiteRT's GPUs do that lack memory: the output is then that of an earlier run, which on one and
the same input nobody could tell. So it is given other inputs, too.
"""

from __future__ import annotations

import struct
from array import array
from itertools import repeat
from math import isfinite
from typing import Sequence

from device_agents.refusal import Refusal
from device_agents.runtimes.loaded import OUTPUT_VALUES, Loaded

NEAR = 0.05  # of the largest value: what sums in another order, or rounds to other integers, stays far below
TOO_LARGE = "fp16 has no numbers beyond 65504, which its values may be: take a provider of fp32, or its weights are broken"


class OutputChanged(RuntimeError):
    """A model computes something else than it did."""


class OutputUnmoved(RuntimeError):
    """A model gives one and the same output whatever its input is."""


class Outputs:
    """Outputs of a model before it is timed: `first`, of its last run, and on an accelerator that of another input."""

    def __init__(self, model: Loaded, which: str = "network") -> None:
        """Read them. Raises: Refusal for what is not finite, OutputUnmoved, and what the runtime raises."""
        self.model = model
        self.first = finite_output(model, which)
        self._reversed = model.other_output(reversed_values) if model.other_output else []
        if model.other_output and self._reversed == self.first == model.other_output(constant_values):
            message = (
                "the %s gives one and the same output for its input, for that in reverse and for one value everywhere: it "
                "computes nothing, or the model heeds no input of that kind; for other inputs give --inputs FILE.npz"
            )
            raise OutputUnmoved(message % model.runtime["provider"])

    def check(self) -> None:
        """Compare with them what an accelerator computes now. Raises: OutputChanged, and what the runtime raises."""
        last = self.model.output()
        if self.model.other_output is None:
            return
        self._compare("its input", self.first, last)
        self._compare("its input in reverse", self._reversed, self.model.other_output(reversed_values))

    def _compare(self, of: str, then: list[float], now: list[float]) -> None:
        provider = self.model.runtime["provider"]
        refuse_change("%s gave %%s of %s" % (provider, of), then, now, (self.first, self._reversed))


def finite_output(model: Loaded, which: str = "network") -> list[float]:
    """Return the output of a model's last run. Raises: Refusal for what is not finite, and what the runtime raises."""
    output = model.output()
    if not all(map(isfinite, output)):
        why = TOO_LARGE if model.arithmetic == "fp16" else "its weights are broken"
        message = "the %s's output on the fixed input is not finite: %s; %s"
        raise Refusal("worker-error", message % (which, output, why))
    return output


def refuse_change(
    gave: str, then: Sequence[float], now: Sequence[float], sizes: Sequence[Sequence[float]]
) -> None:
    """Compare outputs of one model and input; those in `sizes` tell how large its values are. Raises: OutputChanged."""
    for begin in range(0, len(then), OUTPUT_VALUES):  # each output by its own size
        one = slice(begin, begin + OUTPUT_VALUES)
        known = filter(isfinite, [value for values in sizes for value in values[one]])
        limit = NEAR * max(map(abs, known), default=0)
        if not all(map(is_near, then[one], now[one], repeat(limit))):
            message = "the " + gave + " at first and %s after the last run: what was timed does not count"
            raise OutputChanged(message % (then[one], now[one]))


def is_near(x: float, y: float, limit: float) -> bool:
    """Return whether two values differ by a limit at most; all that are not finite are alike."""
    return abs(x - y) <= limit if isfinite(x) and isfinite(y) else isfinite(x) == isfinite(y)


def reversed_values(data: bytes, code: str) -> bytes:
    """Return values of a type (its letter in `struct`) in reverse order."""
    values = array({1: "B", 2: "H", 4: "I", 8: "Q"}[struct.calcsize("=" + code)], data)
    values.reverse()
    return values.tobytes()


def constant_values(data: bytes, code: str) -> bytes:
    """Return as many zeros of a type, or ones in place of zeros."""
    if data.count(0) < len(data):
        return bytes(len(data))
    return struct.pack("=" + code, 1) * (len(data) // struct.calcsize("=" + code))

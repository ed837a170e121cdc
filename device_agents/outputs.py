"""Whether an accelerator computes after a model's last run what it did at first.

One may leave out what it is asked for and say that all went well, as LiteRT's GPUs do that lack memory: the output is then that
of an earlier run, which on one and the same input nobody could tell. So it is given another input, too.
"""

from __future__ import annotations

from itertools import repeat
from math import isfinite
from typing import Sequence

from device_agents.runtimes.loaded import Loaded

NEAR = 0.05  # of the largest value: what sums in another order, or rounds to other integers, stays far below


class OutputChanged(RuntimeError):
    """A model computes something else than it did."""


class Outputs:
    """Outputs of a model before it is timed: `first`, of its last run, and on an accelerator that of another input."""

    def __init__(self, model: Loaded) -> None:
        """Read them. Raises: what the runtime raises."""
        self._model = model
        self.first = model.output()
        self._reversed = model.reversed_output() if model.reversed_output else []

    def check(self) -> None:
        """Compare with them what an accelerator computes now. Raises: OutputChanged, and what the runtime raises."""
        last = self._model.output()
        if self._model.reversed_output is None:
            return
        self._compare("its input", self.first, last)
        self._compare("its input in reverse", self._reversed, self._model.reversed_output())

    def _compare(self, of: str, then: Sequence[float], now: Sequence[float]) -> None:
        limit = NEAR * max(map(abs, filter(isfinite, (*self.first, *self._reversed))), default=0)
        if not all(map(is_near, then, now, repeat(limit))):
            message = "the %s gave %s of %s at first and %s after the last run: what was timed does not count"
            raise OutputChanged(message % (self._model.runtime["provider"], list(then), of, list(now)))


def is_near(x: float, y: float, limit: float) -> bool:
    """Return whether two values differ by a limit at most; all that are not finite are alike."""
    return abs(x - y) <= limit if isfinite(x) and isfinite(y) else isfinite(x) == isfinite(y)

"""Progress events of a connection to a device: plain values, of which `str` makes text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from space.text import clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A device that is in use, or away, is waited for; `limit_s` is infinite where that has no end."""

    reason: str
    waited_s: float
    limit_s: float

    def __str__(self) -> str:
        most = "" if self.limit_s == math.inf else f" of {clock(self.limit_s)}"
        return f"waiting: {self.reason}; {clock(self.waited_s)}{most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt to reconnect failed; the next is in `next_s`, None after the last."""

    number: int
    attempts: int
    reason: str
    next_s: float | None

    def __str__(self) -> str:
        then = "" if self.next_s is None else f"; next in {self.next_s:g} s"
        return f"attempt {self.number} of {self.attempts}: {self.reason}{then}"


OnConnecting = Callable[[Waiting | Attempt], None]

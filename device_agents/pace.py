"""Pace of a core as measured, not as the system tells it: the time of a fixed piece of work, in ns.

A guest is told neither of the programs that other virtual machines run on the other hardware thread of its core, nor of a lower
clock: no file shows either. But they show in the interpreter's own speed: beside a busy sibling a loop of Python takes 1.6 to 2
times as long, and launches of a GPU's kernels as much longer.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from time import perf_counter_ns

TURNS = 2000  # some 60 us
TRIES = 3  # the fastest counts: an interrupt disturbs one of them
EVERY_NS = 250_000_000
MOST = 256  # paces of a session that are told, the last ones

NAME_CHARACTERS = 200


def interpreter_name() -> str:
    """Return an identifier of this build of Python: each build takes another time for the same work.

    A version has builds with and without profiles, checks and the global lock; they differ in compiler, date of build and flags.
    """
    name, version = platform.python_implementation(), platform.python_version()
    build = hashlib.sha256(
        ("%s %s" % (sys.version, getattr(sys, "abiflags", ""))).encode("utf-8")
    ).hexdigest()
    told = "%s %s, %s" % (name, version, platform.python_compiler())
    return "%s, build %s" % (told[:NAME_CHARACTERS], build[:12])


PACED_BY = interpreter_name()


def pace_ns() -> int:
    """Return how long the fixed piece of work takes on this core now, the fastest of three times, in ns."""
    return min(_work_ns() for _ in range(TRIES))


class Paces:
    """The paces of a session, taken four times a second."""

    def __init__(self) -> None:
        self.taken_ns: list[int] = []
        self._next_ns = 0

    def take(self, now_ns: int) -> bool:
        """Take one if it is time; return whether it was."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + EVERY_NS
        self.taken_ns.append(pace_ns())
        del self.taken_ns[:-MOST]
        return True


def _work_ns() -> int:
    begin_ns, total = perf_counter_ns(), 0
    for number in range(TURNS):
        total += number
    return perf_counter_ns() - begin_ns

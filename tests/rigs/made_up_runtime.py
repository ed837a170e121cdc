"""A runtime whose times are told beforehand: run number k of a model takes what its bytes, the session's number and k say.

It travels to the device as any runtime of another package does, and turns the worker's clock by hand, so that whoever knows a
model's digest and the session's number, the first value of its output, knows every raw time that its session may hold.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
from typing import Any

from device_agents.runtimes.loaded import Loaded

NAME = "made-up"
FORMATS = ("onnx",)
PACKAGES = ("json",)  # what every Python has
OPTIONS: dict[str, type] = {}
RUN_NS = 2000000  # a run takes so much and up to a tenth more
REAL_S = 0.0005  # and so much in truth, so that a session lasts a while
REFERENCE = b"reference"  # how the bytes of the reference begin; its times are the same in each session


def find() -> Any:
    """Return a package that is there."""
    import json

    return NAME, "1.0", json


def providers() -> list[str]:
    """Return no choice."""
    return []


def load(model: bytes, threads: int, options: Any) -> Loaded:
    """Load a model whose runs move the clock."""
    digest, session = hashlib.sha256(model).hexdigest(), int.from_bytes(os.urandom(6), "big")
    clock = take_over_the_clock()
    clock[0] += RUN_NS  # loading takes time, too
    seed = 0 if model.startswith(REFERENCE) else session
    numbers = itertools.count()

    def run() -> None:
        time.sleep(REAL_S)
        clock[0] += run_ns(digest, seed, next(numbers))

    runtime = {"name": NAME, "package": NAME, "version": "1.0", "provider": "cpu"}
    return Loaded(run, lambda: output_of(digest, session), runtime)


def run_ns(digest: str, seed: int, number: int) -> int:
    """Return the time of a run in ns."""
    text = f"{digest} {seed} {number}".encode()
    return RUN_NS + int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % (RUN_NS // 10)


def output_of(digest: str, session: int) -> list[float]:
    """Return a session's output: its number, and the beginning of the digest of the model that was run."""
    return [float(session), float(int(digest[:12], 16))]


_clock: list[int] = []


def take_over_the_clock() -> list[int]:
    """Put a clock that runs move in the place of the worker's; nobody waits for a core on it."""
    if not _clock:
        _clock.append(time.perf_counter_ns())
        for name in ("device_agents.worker", "device_agents.sampling"):
            sys.modules[name].perf_counter_ns = lambda: _clock[0]  # type: ignore[attr-defined]
        sys.modules["device_agents.run_delay"].RunDelay.read = lambda self: (0, 0)  # type: ignore[attr-defined]
    return _clock

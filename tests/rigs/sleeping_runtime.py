"""A runtime that needs no package and hardly the processor: a model is the microseconds that a run of it sleeps, and any text.

For tests of what the agent does about a worker, whatever that runs: it imports neither numpy nor a runtime, which takes a worker
longer than all else.
"""

from __future__ import annotations

import time
from typing import Any

from device_agents.runtimes.loaded import OUTPUT_VALUES, Loaded

NAME = "sleeping"
FORMATS = ("onnx",)
PACKAGES = ("json",)  # what every Python has
OPTIONS = {"provider": str}


def find() -> Any:
    """Return a package that is there."""
    import json

    return NAME, "1.0", json


def providers() -> list[str]:
    """Return no choice."""
    return []


def load(model: bytes, threads: int, options: Any) -> Loaded:
    """Load a model; its output is its microseconds, or no number where its text has `nan`. Raises: ValueError for another."""
    sleep_us = int(model.split(maxsplit=1)[0])
    value = float("nan") if b"nan" in model else float(sleep_us)
    runtime = {"name": NAME, "package": NAME, "version": "1.0", "provider": "cpu"}
    return Loaded(lambda: time.sleep(sleep_us / 1e6), lambda: [value] * OUTPUT_VALUES, runtime)

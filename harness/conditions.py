"""What a device's probed conditions say: its clock tier and its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def clock_tier(conditions: Mapping[str, Any], cores: Sequence[int]) -> str:
    """Return how far the clocks of the measured cores are fixed: A locked, B performance governor, C free or unknown."""
    frequencies = conditions.get("freq_khz", {})
    governors = conditions.get("governors", {})
    keys = [str(core) for core in cores]
    locked = [frequencies.get(key, {}) for key in keys]
    if keys and all("min" in f and f.get("min") == f.get("max") for f in locked):
        return "A"
    if keys and all(governors.get(key) == "performance" for key in keys):
        return "B"
    return "C"


def hardware_name(hello: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """Return machine and CPU model as the device tells them, e.g. `x86_64 Intel(R) Xeon(R) Processor @ 2.50GHz`."""
    machine = str(hello.get("platform", {}).get("machine", "unknown machine"))
    return f"{machine} {conditions.get('cpu_model', 'unknown CPU')}"

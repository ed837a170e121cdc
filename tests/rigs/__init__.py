"""Servers, links, disks, clients and scripted devices that tests are run with."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def with_tests(**changes: str) -> dict[str, str]:
    """Return an environment in which a process of its own imports this repository's packages, factories and rigs."""
    return {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", **changes}

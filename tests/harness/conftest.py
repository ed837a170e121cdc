"""Let every test of the harness find the fragments that are exported once in a test session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def shared_fragments(harness_cache: Path) -> Iterator[None]:
    """Point $HARNESS_CACHE at the session's folder."""
    before = os.environ.get("HARNESS_CACHE")
    os.environ["HARNESS_CACHE"] = str(harness_cache)
    yield
    if before is None:
        del os.environ["HARNESS_CACHE"]
    else:
        os.environ["HARNESS_CACHE"] = before

"""Let every test of the harness find the fragments that are exported once in a test session, and leave the user's home alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_folders(harness_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point $HARNESS_CACHE at the session's folder, and $HOME, where agents without a root live, at one of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(harness_cache))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def folds_dealt_once() -> Iterator[None]:
    """Judge predictors on folds that are dealt once: how they are chosen is what tests/search/latency is about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.latency.model_selection.REPEATS", 1)
        yield

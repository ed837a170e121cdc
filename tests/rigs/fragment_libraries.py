"""Fragment libraries of the whole default space, exported once in a run of the tests."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporters import FragmentLibrary


@contextmanager
def exported_once(folder: Path) -> Iterator[None]:
    """Let one process of the run at a time open libraries in a folder: the others find there what the first exported."""
    open_library = FragmentLibrary.open

    def open_alone(*arguments: Any, cache_dir: Path, **named: Any) -> FragmentLibrary:
        with (folder / "lock").open("w") as lock:
            if Path(cache_dir).resolve() == folder:
                fcntl.flock(lock, fcntl.LOCK_EX)
            return open_library(*arguments, cache_dir=cache_dir, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FragmentLibrary, "open", open_alone)
        yield


@pytest.fixture(scope="session")
def onnx_library(harness_cache: Path) -> FragmentLibrary:
    """The ONNX library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("onnx", cache_dir=harness_cache / "fragments")


@pytest.fixture(scope="session")
def tflite_library(harness_cache: Path) -> FragmentLibrary:
    """The TFLite library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("tflite", cache_dir=harness_cache / "fragments")


@pytest.fixture(params=["onnx", "tflite"])
def library(request: pytest.FixtureRequest) -> FragmentLibrary:
    """Each format's library in turn: what asks for it is the contract of both."""
    found = request.getfixturevalue(f"{request.param}_library")
    assert isinstance(found, FragmentLibrary)
    return found

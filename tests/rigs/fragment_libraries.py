"""Fragment libraries of the whole default space, exported once in a run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters import FragmentLibrary


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

"""Fragment libraries of the whole default space, exported once in a test session.

They are kept in the folder that HARNESS_TEST_CACHE names, if it is set, and are then warm in the next session.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporters import FragmentLibrary


def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that caches the session's libraries."""
    named = os.environ.get("HARNESS_TEST_CACHE")
    return Path(named) if named else tmp_path_factory.getbasetemp() / "fragments"


@pytest.fixture(scope="session")
def onnx_library(tmp_path_factory: pytest.TempPathFactory) -> FragmentLibrary:
    """The ONNX library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("onnx", cache_dir=cache_dir(tmp_path_factory))


@pytest.fixture(scope="session")
def tflite_library(tmp_path_factory: pytest.TempPathFactory) -> FragmentLibrary:
    """The TFLite library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("tflite", cache_dir=cache_dir(tmp_path_factory))


@pytest.fixture(params=["onnx", "tflite"])
def library(request: pytest.FixtureRequest) -> FragmentLibrary:
    """Each format's library in turn: what asks for it is the contract of both."""
    found = request.getfixturevalue(f"{request.param}_library")
    assert isinstance(found, FragmentLibrary)
    return found

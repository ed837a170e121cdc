"""Fixtures of the exporters' tests."""

import os
from collections.abc import Iterator

import pytest
from rigs.converters_here import converted_here
from rigs.fragment_libraries import library, onnx_library, tflite_library

from exporters.processes import kept_processes

__all__ = ["library", "onnx_library", "tflite_library"]

# As in the converter's process: TensorFlow then loads no Keras, nearly half of its time.
os.environ["TF_USE_LEGACY_KERAS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def processes_kept() -> Iterator[None]:
    """Keep processes that import torch or TensorFlow for the next test."""
    with kept_processes():
        yield


@pytest.fixture(scope="module", autouse=True)
def converter(request: pytest.FixtureRequest) -> Iterator[None]:
    """Convert within this process, in one thread, but for a file with `APART = True`: on the process itself."""
    import torch  # late: it takes a second

    if getattr(request.module, "APART", False):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with converted_here("onnx", "tflite"):
        yield
    torch.set_num_threads(threads)

"""Fixtures of the exporters' tests."""

import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from rigs.fragment_libraries import library, onnx_library, tflite_library

from exporters import worker
from exporters.processes import kept_processes

__all__ = ["library", "onnx_library", "tflite_library"]

# As in the converter's process: TensorFlow then loads no Keras, nearly half of its time.
os.environ["TF_USE_LEGACY_KERAS"] = "1"


class Here:
    """The converter within this process, which imports torch and TensorFlow for other tests anyway."""

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the answers to a request."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn of themselves
            return [dict(answer) for answer in worker.answers(json.loads(json.dumps(request)))]


@pytest.fixture(scope="session", autouse=True)
def processes_kept() -> Iterator[None]:
    """Keep processes that import torch or TensorFlow for the next test."""
    with kept_processes():
        yield


@pytest.fixture(scope="module", autouse=True)
def converter(request: pytest.FixtureRequest) -> Iterator[None]:
    """Convert within this process, in one thread, but for a file with `APART = True`: on the process itself."""
    import torch  # late: it takes a second

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "APART", False):
            torch.set_num_threads(1)
            patch.setattr("exporters.conversion.take", lambda module: Here())
            patch.setattr("exporters.conversion.give_back", lambda process: None)
        yield
    torch.set_num_threads(threads)

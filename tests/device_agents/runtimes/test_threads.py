"""Threads that a runtime is given are those that compute, by the CPU time of each: not one more, not one less."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rigs import with_tests

pytestmark = pytest.mark.slow

# The last is in a package of its own, the one before it in no wheel.
ONNX_PROVIDERS = ("CPUExecutionProvider", "XnnpackExecutionProvider", "OpenVINOExecutionProvider")


def busy_threads(runtime: str, provider: str, threads: int) -> int:
    """Return how many threads compute, in a process of its own: ONNX Runtime's pool is one for all that a process loads."""
    command = [sys.executable, "-m", "rigs.thread_use", runtime, provider, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=with_tests(), timeout=120)
    return int(json.loads(done.stdout))


@pytest.mark.parametrize("threads", [1, 2])
def test_onnxruntime_computes_on_the_threads_that_it_is_given_in_each_provider_that_is_there(
    threads: int,
) -> None:
    import onnxruntime

    there = [one for one in ONNX_PROVIDERS if one in onnxruntime.get_available_providers()]
    assert {one: busy_threads("onnxruntime", one, threads) for one in there} == dict.fromkeys(there, threads)


@pytest.mark.parametrize(("runtime", "provider"), [("tflite", "XNNPACK"), ("litert", "CPU")])
def test_tflite_and_litert_compute_on_the_threads_that_they_are_given(runtime: str, provider: str) -> None:
    assert [busy_threads(runtime, provider, threads) for threads in (1, 2)] == [1, 2]

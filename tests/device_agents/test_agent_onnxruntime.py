"""ONNX Runtime's other providers, over a stand-in of its package: no test machine has a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from device_agents.refusal import Refusal
from device_agents.runtimes import onnxruntime_cpu
from device_agents.runtimes.onnxruntime_cpu import ALL_NODES, open_session

CUDA = "CUDAExecutionProvider"


class Options:
    """Session options: what was set, whatever it is called."""

    def __init__(self):
        self.entries = {}

    def add_session_config_entry(self, key, value):
        self.entries[key] = value


@pytest.fixture
def package(monkeypatch):
    """Put a package of CUDA in onnxruntime's place; `started` and `runs_all` say what its provider does here."""
    calls = []
    made = SimpleNamespace(calls=calls, started=True, runs_all=True)

    def session(model, options, providers):
        calls.append(("session", options.entries.get(ALL_NODES)))
        if options.entries.get(ALL_NODES) == "1" and not (made.started and made.runs_all):
            raise RuntimeError("this session contains graph nodes that are assigned to the CPU")
        found = [*providers, "CPUExecutionProvider"] if made.started else ["CPUExecutionProvider"]
        return SimpleNamespace(get_providers=lambda: found)

    module = SimpleNamespace(
        SessionOptions=Options,
        ExecutionMode=SimpleNamespace(ORT_SEQUENTIAL=0),
        InferenceSession=session,
        get_available_providers=lambda: [CUDA, "CPUExecutionProvider"],
        preload_dlls=lambda: calls.append(("preload", None)),
    )
    monkeypatch.setattr(onnxruntime_cpu, "find", lambda: ("onnxruntime", "1.29.0", module))
    made.module = module
    return made


def test_cuda_is_loaded_from_its_packages_and_has_every_node_or_none(package):
    _, runtime = open_session(b"", 1, {"provider": CUDA})
    assert package.calls == [("preload", None), ("session", "1")]
    assert runtime["provider"] == CUDA


def test_a_package_that_cannot_load_cuda_from_packages_is_used_all_the_same(package):
    del package.module.preload_dlls
    open_session(b"", 1, {"provider": CUDA})
    assert package.calls == [("session", "1")]


def test_the_cpu_needs_no_library_and_promises_nothing(package):
    open_session(b"", 1, {"provider": "CPUExecutionProvider"})
    assert package.calls == [("session", None)]


def test_a_provider_that_does_not_start_is_told_from_one_that_leaves_nodes_out(package):
    package.runs_all = False
    with pytest.raises(Refusal, match="CUDAExecutionProvider does not run all nodes") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "worker-error", "another network may run whole"
    package.started = False
    with pytest.raises(Refusal, match=r"could not start CUDA.*'onnxruntime-gpu\[cuda,cudnn\]'") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "runtime-missing", "no network will run"

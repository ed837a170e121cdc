"""ONNX Runtime's other providers, over a stand-in of its package, for no test machine has a GPU; and its pools of threads."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from factories.agent_models import onnx_parts

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


def test_a_version_that_cannot_promise_every_node_is_refused_for_all_but_the_cpu(package, monkeypatch):
    for version, is_refused in (("1.15.1", True), ("1.16.0", False), ("2.0.0", False)):
        monkeypatch.setattr(
            onnxruntime_cpu, "find", lambda version=version: ("onnxruntime", version, package.module)
        )
        open_session(b"", 1, {"provider": "CPUExecutionProvider"})
        if is_refused:
            with pytest.raises(
                Refusal, match=r"onnxruntime 1\.15\.1 may run nodes on the CPU that CUDA.* 1\.16 or newer"
            ):
                open_session(b"", 1, {"provider": CUDA})
        else:
            open_session(b"", 1, {"provider": CUDA})


def test_a_provider_that_does_not_start_is_told_from_one_that_leaves_nodes_out(package):
    package.runs_all = False
    with pytest.raises(Refusal, match="CUDAExecutionProvider does not run all nodes") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "worker-error", "another network may run whole"
    package.started = False
    with pytest.raises(Refusal, match=r"could not start CUDA.*'onnxruntime-gpu\[cuda,cudnn\]'") as refused:
        open_session(b"", 1, {"provider": CUDA})
    assert refused.value.kind == "runtime-missing", "no network will run"


COUNT_THREADS = """
import os, sys
from device_agents.runtimes.onnxruntime_cpu import load
options = {"allow_spinning": False} if sys.argv[1] == "quiet" else {}
model, counts = sys.stdin.buffer.read(), []
load(model, 1, options).run()
for _ in range(3):
    loaded = load(model, 3, options)
    loaded.run()
    counts.append(len(os.listdir("/proc/self/task")))
    globals().setdefault("kept", []).append(loaded)
print(*counts)
"""


def threads_of(how):
    """Return how many threads a process has after each of three models is loaded on 3 threads."""
    model = b"".join(onnx_parts(4))
    told = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, how], input=model, capture_output=True, check=True
    )
    assert b"ignored" not in told.stderr, "onnxruntime warns of nothing"
    return [int(count) for count in told.stdout.split()]


@pytest.mark.skipif(
    not hasattr(onnxruntime_cpu.find()[2], "set_global_thread_pool_sizes"), reason="an old onnxruntime"
)
def test_models_that_take_turns_compute_on_the_same_threads():
    assert len(set(threads_of("spinning"))) == 1
    first, second, third = threads_of("quiet")
    assert third - second == second - first == 2, "threads that do not spin disturb nobody"


def test_a_version_without_a_common_pool_ends_the_spinning_with_each_run(package):
    onnxruntime_cpu.share_pool.cache_clear()
    made = []
    package.module.SessionOptions = lambda: made.append(Options()) or made[-1]
    open_session(b"", 2, {"provider": "CPUExecutionProvider"})
    onnxruntime_cpu.share_pool.cache_clear()
    assert made[0].entries["session.force_spinning_stop"] == "1"
    assert made[0].intra_op_num_threads == 2


def test_what_a_run_writes_into_lives_as_long_as_the_model():
    from harness.devices.trial import trial_model

    loaded = onnxruntime_cpu.load(trial_model("onnx").skeleton, 1, {})
    # Seen in 1.29: a binding alone does not keep the output's memory, and a run writes where it was.
    assert len(loaded.buffers) == 2
    loaded.run()
    assert loaded.buffers[1].numpy().any()

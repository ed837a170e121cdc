"""Other tools that time a model file: MLPerf LoadGen over ONNX Runtime, and the benchmark that ai-edge-litert ships.

Each runs in a fresh process on one core with one thread, and stops itself (SIGSTOP) when its imports are done: whoever
started it continues it when its turn has come. What is returned is the median that the tool itself reports.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from turns import state

from exporters import Format

WARM_UP_RUNS = 50

ON_CORE = """
import contextlib, os, signal, sys
os.sched_setaffinity(0, {int(sys.argv.pop(1))})
with contextlib.suppress(PermissionError):
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
"""  # as the agent asks for the core

SINGLE_STREAM = """
import numpy, onnxruntime, mlperf_loadgen as loadgen
model, folder = sys.argv[1:3]
seconds, expected_ns, warm_up = map(float, sys.argv[3:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
binding, image, logits = session.io_binding(), session.get_inputs()[0], session.get_outputs()[0]
binding.bind_cpu_input(image.name, numpy.random.default_rng(0).uniform(-1, 1, image.shape).astype("float32"))
output = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros(logits.shape, "float32"))
binding.bind_ortvalue_output(logits.name, output)

def issue(queries):
    for query in queries:
        session.run_with_iobinding(binding)
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

settings = loadgen.TestSettings()
settings.scenario, settings.mode = loadgen.TestScenario.SingleStream, loadgen.TestMode.PerformanceOnly
settings.min_duration_ms, settings.min_query_count = int(1000 * seconds), 20
settings.single_stream_expected_latency_ns = int(expected_ns)
log = loadgen.LogSettings()
log.log_output.outdir, log.enable_trace = folder, False
sut = loadgen.ConstructSUT(issue, lambda: None)
library = loadgen.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
os.kill(os.getpid(), signal.SIGSTOP)
for _ in range(int(warm_up)):
    session.run_with_iobinding(binding)
loadgen.StartTestWithLogSettings(sut, library, settings, log)
"""

LITERT_BENCHMARK = """
import runpy
import ai_edge_litert.compiled_model, ml_dtypes, numpy
os.kill(os.getpid(), signal.SIGSTOP)
runpy.run_module("ai_edge_litert.tools.benchmark_litert_model", run_name="__main__")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a peer is to time: a model on a core, for `running_s` of its own, which take `clock_s` by the clock."""

    model: Path
    folder: Path
    core: int
    running_s: float
    clock_s: float
    expected_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another tool: the package that it is in, the agent's runtime that it is beside, its program and how to read its median.

    `arguments` are the program's, after the core; `read_median_ns` reads what the tool wrote into the folder.
    """

    name: str
    package: str
    runtime: str
    program: str
    arguments: Callable[[Task], list[str]]
    read_median_ns: Callable[[Path], float]

    def start(self, task: Task) -> subprocess.Popen[str]:
        """Start the tool and return when it has stopped itself, ready, or has ended."""
        process = subprocess.Popen(
            [sys.executable, "-c", ON_CORE + self.program, str(task.core), *self.arguments(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # as the agent starts its workers
        )
        while state(process.pid) not in "TZ":
            time.sleep(0.02)
        return process

    def finish(self, process: subprocess.Popen[str], task: Task) -> float:
        """Wait for the tool's end and return its median in ns; exit when it failed."""
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{self.name} ended with status {process.returncode}:\n{output[-2000:]}")
        return self.read_median_ns(task.folder)


def single_stream_arguments(task: Task) -> list[str]:
    """Return LoadGen's; its duration is by the clock, time in which it is stopped included."""
    numbers = (task.clock_s, task.expected_ns, WARM_UP_RUNS)
    return [str(task.model), str(task.folder), *map(str, numbers)]


def single_stream_median_ns(folder: Path) -> float:
    """Read the median that LoadGen reports. Raises: ValueError when its summary has none."""
    summary = (folder / "mlperf_log_summary.txt").read_text()
    found = re.search(r"^50\.00 percentile latency \(ns\)\s*:\s*(\d+)$", summary, re.MULTILINE)
    if not found:
        raise ValueError(f"LoadGen's summary names no median: {summary[:300]!r}; see {folder}")
    return float(found[1])


def litert_arguments(task: Task) -> list[str]:
    """Return those of ai-edge-litert's benchmark; it counts runs."""
    options = {
        "model": task.model,
        "num_runs": max(20, round(task.running_s * 1e9 / task.expected_ns)),
        "warmup_runs": WARM_UP_RUNS,
        "num_threads": 1,
        "result_json": task.folder / "litert.json",
    }
    return [f"--{key}={value}" for key, value in options.items()]


def litert_median_ns(folder: Path) -> float:
    """Read the median that ai-edge-litert's benchmark reports, to 0.01 ms."""
    return float(json.loads((folder / "litert.json").read_text())["latency"]["median_ms"]) * 1e6


PEERS: dict[Format, Peer] = {
    "onnx": Peer(
        name="LoadGen",
        package="mlperf_loadgen",
        runtime="onnxruntime",
        program=SINGLE_STREAM,
        arguments=single_stream_arguments,
        read_median_ns=single_stream_median_ns,
    ),
    "tflite": Peer(
        name="ai-edge-litert",
        package="ai_edge_litert",
        runtime="tflite",
        program=LITERT_BENCHMARK,
        arguments=litert_arguments,
        read_median_ns=litert_median_ns,
    ),
}

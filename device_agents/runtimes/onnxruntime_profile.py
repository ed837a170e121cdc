"""ONNX Runtime's own profiler: the time of each node of each run.

What it writes is Chrome's trace format, one event a line: `{"cat": "Node", "name": "<node>_kernel_time", "dur": <us>,
"args": {"op_name": ..., "provider": ...}}`; the event `model_run` comes after those of its nodes. Seen in 1.16 to
1.31. A provider that computes elsewhere than on the processor has the time until its kernel was launched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Iterator

from device_agents.refusal import Refusal
from device_agents.runtimes.loaded import Inputs, Loaded, NodeTime
from device_agents.runtimes.onnxruntime_cpu import bind, open_session
from device_agents.runtimes.onnxruntime_providers import Chosen

SUFFIX = "_kernel_time"
NS_PER_US = 1000


def load_profiled(
    model: bytes, threads: int, options: dict[str, Any], folder: Path, inputs: Inputs
) -> tuple[Loaded, Callable[[], Iterator[list[NodeTime]]]]:
    """Load a model whose runs are profiled; return it, and what ends the profile and yields each run's nodes.

    folder: where the profile is written. Raises: what `onnxruntime_cpu.load` raises.
    """
    if Chosen.of(options.get("provider", "")).is_graph:
        message = "a CUDA graph is one launch, of which no profiler tells the nodes; profile the provider without +graph"
        raise Refusal("no-profiler", message)
    session, runtime = open_session(model, threads, options, str(folder / "profile"))

    def end() -> Iterator[list[NodeTime]]:
        return read_runs(Path(session.end_profiling()))

    return bind(session, runtime, inputs), end


def read_runs(path: Path) -> Iterator[list[NodeTime]]:
    """Yield the nodes of each run, in the order in which they ran; what is cut off at the end is no run."""
    nodes: list[NodeTime] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            event = parse_event(line)
            name = str(event.get("name"))
            if event.get("cat") == "Node" and name.endswith(SUFFIX):
                told = event.get("args", {})
                node = (name[: -len(SUFFIX)], str(told.get("op_name", "")), str(told.get("provider", "")))
                nodes.append((*node, int(event["dur"]) * NS_PER_US))
            elif event.get("cat") == "Session" and name == "model_run":
                yield nodes
                nodes = []


def parse_event(line: str) -> dict[str, Any]:
    """Return a line's event, empty when it holds none: the list's brackets, or a line that was cut off."""
    try:
        event = json.loads(line.strip().rstrip(","))
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}

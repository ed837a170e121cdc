"""ONNX Runtime's providers: what their names here stand for, what each is told, and which nodes it runs.

A name is ONNX Runtime's own, with `+graph` behind it for a run that is captured once as a CUDA graph and replayed, or `+CPU` for
nodes that the provider leaves out and the CPU runs. Names of options are those of the runtime's documentation
(https://onnxruntime.ai/docs/execution-providers/).
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from device_agents.refusal import Refusal

CPU = "CPUExecutionProvider"
REMOTE = "AzureExecutionProvider"  # in every wheel; it calls a service and runs nothing here
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
GRAPH, ALSO_CPU = "+graph", "+CPU"
GRAPH_OPTIONS = {CUDA: "enable_cuda_graph", TENSORRT: "trt_cuda_graph_enable"}
# Providers with threads of their own: the option that sets how many. The session's would only take the cores from them.
THREADS_OPTIONS = {
    "XnnpackExecutionProvider": "intra_op_num_threads",
    "OpenVINOExecutionProvider": "num_of_threads",
}
# onnxruntime_session_options_config_keys.h, from 1.24 on.
ASSIGNMENT = "session.record_ep_graph_assignment_info"
TELLS_NODES = "get_provider_graph_assignment_info"  # of a session, from the same version on
ENGINES_LIMIT_BYTES = 1 << 30
ENGINE_FOLDER = "engines"  # beside the parts, in the agent's folder


@dataclass(frozen=True)
class Chosen:
    """A provider by its name here: ONNX Runtime's `name`, whether runs are replayed as a CUDA graph, whether the CPU may help."""

    name: str
    is_graph: bool = False
    also_cpu: bool = False

    @classmethod
    def of(cls, text: str) -> Chosen:
        """Return the provider of a name."""
        for suffix, known in ((GRAPH, {"is_graph": True}), (ALSO_CPU, {"also_cpu": True})):
            if text.endswith(suffix):
                return cls(text[: -len(suffix)], **known)
        return cls(text)


def offered(available: Iterable[str]) -> list[str]:
    """Return the names here of the providers that a package has, those that run a network alone first."""
    alone = list(available)
    others = [name for name in alone if name not in (CPU, REMOTE)]
    graphs = [name + GRAPH for name in others if name in GRAPH_OPTIONS]
    return alone + graphs + [name + ALSO_CPU for name in others]


def provider_settings(
    chosen: Chosen, threads: int, given: Mapping[str, Any], engines: Path | None
) -> dict[str, str]:
    """Return a provider's options: the `given` ones, and those that follow from its name, the threads and the folder.

    engines: where TensorRT keeps what it compiled, None for nowhere.
    """
    told = {str(key): str(value) for key, value in given.items()}
    if chosen.is_graph:
        told[GRAPH_OPTIONS[chosen.name]] = "1"
    if chosen.name in THREADS_OPTIONS:
        told[THREADS_OPTIONS[chosen.name]] = str(threads)
    if chosen.name == TENSORRT and engines is not None:
        told.update(trt_engine_cache_enable="1", trt_engine_cache_path=str(engines))
    return told


def engine_folder(root: Path, names: Iterable[str]) -> Path | None:
    """Return a folder for compiled engines in the agent's own, another for each of the `names` together; None where none is had.

    All are removed once they take a gibibyte: an engine is compiled anew in seconds to minutes.
    """
    whole = root / ENGINE_FOLDER
    folder = whole / hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    try:
        if sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) > ENGINES_LIMIT_BYTES:
            shutil.rmtree(str(whole))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def shares(session: Any, chosen: Chosen) -> dict[str, float]:
    """Return the share of the model's nodes that each provider runs, as the session assigned them.

    Raises: Refusal where the CPU may help and this version does not tell how much.
    """
    ask = getattr(session, TELLS_NODES, None)
    if ask is None:
        if chosen.also_cpu:
            message = (
                "this onnxruntime does not tell which nodes %s runs and which the CPU; install 1.24 or newer"
            )
            raise Refusal("runtime-missing", message % chosen.name)
        return {chosen.name: 1.0}  # the session was made on that condition
    counts: dict[str, int] = {}
    for piece in ask():
        counts[piece.ep_name] = counts.get(piece.ep_name, 0) + len(piece.get_nodes())
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {chosen.name: 1.0}

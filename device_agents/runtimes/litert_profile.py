"""LiteRT's own profiler: the time of each operator of each run, as the delegate that runs it tells.

Events of a run stand between two that begin a run. XNNPACK fuses operators, so that what it runs is not one to one what the model
holds; its times are whole microseconds. Seen in 2.1.6 and 2.3.0 on the CPU; LiteRT's WebGPU delegate wants timers that a GPU in
software does not have, and refuses to run with the profiler.
"""

from __future__ import annotations

from ctypes import c_int
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Tuple

from device_agents.names import may_use_gpu
from device_agents.refusal import Refusal
from device_agents.runtimes.litert import open_compiled
from device_agents.runtimes.litert_api import LiteRtError, ProfilerEvent
from device_agents.runtimes.loaded import Inputs, Loaded, NodeTime

BEGIN = "LiteRT::Run[buffer registration]"
# LiteRtProfilerEventType: an operator of the interpreter, one that a delegate tells of in its place.
OPERATORS = (2, 8)
NS_PER_US = 1000
Event = Tuple[str, int, int]
"""An event: its tag, type, and time in us."""


def load_profiled(
    model: bytes, threads: int, options: dict[str, Any], folder: Path, inputs: Inputs
) -> tuple[Loaded, Callable[[], Iterator[list[NodeTime]]]]:
    """Load a model whose runs are profiled; return it, and what ends the profile and yields each run's operators.

    folder: not needed. Raises: what `litert.load` raises.
    """
    compiled, runtime = open_compiled(model, threads, options, is_profiled=True)
    run, output, _ = compiled.bind(inputs)
    library = compiled.library
    profiler = library.make("LiteRtCompiledModelGetProfiler", compiled.handle)
    library.call("LiteRtStartProfiler", profiler)

    def end() -> Iterator[list[NodeTime]]:
        library.call("LiteRtStopProfiler", profiler)
        count = library.ask(c_int, "LiteRtGetNumProfilerEvents", profiler)
        events = (ProfilerEvent * count)()
        library.call("LiteRtGetProfilerEvents", profiler, count, events)
        return read_runs(
            (
                ((event.tag or b"").decode("utf-8", "replace"), event.type, event.elapsed_us)
                for event in events
            ),
            runtime["provider"],
        )

    def run_timed() -> None:
        try:
            run()
        except LiteRtError as error:
            if not may_use_gpu(runtime["provider"]):
                raise
            message = "LiteRT's profiler does not run on this %s (%s), which may lack timers; profile the CPU: --runtime litert"
            raise Refusal("no-profiler", message % (runtime["provider"], error)) from error

    return Loaded(run_timed, output, runtime, (compiled,), compiled.shares), end


def read_runs(events: Iterable[Event], provider: str) -> Iterator[list[NodeTime]]:
    """Yield the operators of each run, in the order in which they ran; each is named by its place and its tag."""
    nodes: list[NodeTime] | None = None
    for tag, kind, elapsed_us in events:
        if tag == BEGIN:
            if nodes is not None:
                yield nodes
            nodes = []
        elif kind in OPERATORS and nodes is not None:
            name = "%d %s" % (len(nodes), tag)
            nodes.append((name, tag.partition(" (")[0], provider, elapsed_us * NS_PER_US))
    if nodes is not None:
        yield nodes

"""Which threads compute: the CPU time of each while a model runs. `python -m rigs.thread_use RUNTIME PROVIDER THREADS`."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from factories.agent_models import onnx_parts, tflite_parts

from device_agents.runtimes import RUNTIMES

COMPUTED_S = 0.2  # of CPU time, of all threads together: OpenVINO's share the first runs unevenly
WIDTH, DEPTH = 48, 5
BUSY_SHARE = 0.2  # of the busiest thread's CPU time: what starts or ends a run takes less


def busy_threads(runtime: str, provider: str, threads: int) -> int:
    """Return how many threads of this process compute a model that is loaded on so many: by what each ran on a core.

    They ask for their cores as sessions do: beside other programs, a thread that waits leaves its work to the others.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    module: Any = RUNTIMES[runtime]
    parts = (tflite_parts if module.FORMATS == ("tflite",) else onnx_parts)(WIDTH, DEPTH)
    model = b""
    for part in parts:
        model += bytes(-len(model) % 16 if module.FORMATS == ("tflite",) else 0) + part
    loaded = module.load(model, threads, {"provider": provider})
    loaded.run()
    before, until_s = _ran_ns(), time.process_time() + COMPUTED_S
    while time.process_time() < until_s:
        loaded.run()
    took = [ns - before.get(thread, 0) for thread, ns in _ran_ns().items()]
    return sum(ns >= BUSY_SHARE * max(took) for ns in took)


def _ran_ns() -> dict[str, int]:
    """Return how long each thread of this process was on a core, by its id."""
    found = {}
    for path in Path("/proc/self/task").iterdir():
        found[path.name] = int((path / "schedstat").read_text().split()[0])
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(busy_threads(sys.argv[1], sys.argv[2], int(sys.argv[3]))))

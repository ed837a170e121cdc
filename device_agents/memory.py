"""Memory of one model in a fresh worker that holds no other: the peak from loading on, and what the runtime takes alone.

The peak is Linux's VmHWM, not `ru_maxrss`, which a process inherits from the one that forked it. It is reset once the model's
bytes are there: putting them together does not count, which nobody does whose model is a file.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from device_agents.jobs import ModelRecipe
from device_agents.models import assemble, given_inputs
from device_agents.outputs import Outputs
from device_agents.refusal import Refusal
from device_agents.runtimes import load, start_or_refuse
from device_agents.sampling import sample_ns

RUNS = 10  # a runtime's arenas grow with the first few
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
M_MMAP_THRESHOLD = -3  # malloc.h
MMAP_THRESHOLD_BYTES = 1 << 17  # glibc's own, to begin with
RESET_PEAK = "5"  # proc(5), since Linux 4.0


def weigh_model(message: dict[str, Any], reporter: Any) -> dict[str, Any]:
    """Do one memory job; return what the worker knows of it. Raises: Refusal, and what the runtime raises.

    reporter: takes phases and signs of life, as worker.Reporter does.
    """
    job = message["job"]
    fix_mmap_threshold()
    reporter.enter("start the runtime")
    start_or_refuse(job["runtime"])
    gc.collect()
    empty_bytes = read_status("VmRSS")
    reporter.enter("load")
    recipe, parts_dir = ModelRecipe(**job["network"]), Path(message["parts_dir"])
    model, inputs = assemble(recipe, parts_dir), given_inputs(recipe, parts_dir)
    is_reset = reset_peak()
    before_bytes = read_status("VmHWM")
    start_ns = perf_counter_ns()
    loaded = load(job["runtime"], model, job["threads"], job["options"], inputs)
    load_ns = perf_counter_ns() - start_ns
    reporter.enter("run")
    first_run_ns = sample_ns(loaded.run, 1)
    for _ in range(RUNS - 1):
        loaded.run()
        reporter.pulse(perf_counter_ns())
    peak_bytes = read_status("VmHWM")
    if not is_reset and peak_bytes <= before_bytes:
        raise Refusal(
            "no-memory",
            "the system does not let a peak begin anew, and putting the model together took more than loading it",
        )
    swapped_bytes = read_swapped()
    if swapped_bytes:
        raise Refusal(
            "swapped",
            "the system moved %.1f MB of the worker out of memory meanwhile, which its peak does not hold: free memory on the "
            "device, or turn swapping off" % (swapped_bytes / 1e6),
        )
    return {
        "runtime": loaded.runtime,
        "output": Outputs(loaded).first,  # now that the peak is read
        "threads": job["threads"],
        "cores": message["cores"],
        "empty_bytes": empty_bytes,
        "peak_bytes": peak_bytes,
        "model_bytes": len(model),
        "is_reset": is_reset,
        "load_ns": load_ns,
        "first_run_ns": first_run_ns,
    }


def fix_mmap_threshold() -> None:
    """Keep glibc's malloc from raising the size from which on blocks are given back to the system when they are freed.

    Left alone it does, and where it puts large blocks then depends on the process's random addresses: one network's peaks in ONNX
    Runtime were 59.3 or 62.8 MB, by chance, and are 53.7 MB within 0.5 % so.
    """
    with suppress(ImportError, OSError, AttributeError):  # another C library
        import ctypes

        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def read_status(name: str) -> int:
    """Return a size in bytes of this process's status. Raises: Refusal where the system does not tell it."""
    try:
        for line in STATUS.read_text("ascii", "replace").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    raise Refusal(
        "no-memory", "the system does not tell a process's memory (%s in %s): Linux does" % (name, STATUS)
    )


def read_swapped() -> int:
    """Return how many bytes of this process the system has moved out of memory; 0 where it tells none: it knows no swapping."""
    try:
        return read_status("VmSwap")
    except Refusal:
        return 0


def reset_peak() -> bool:
    """Reset the peak to the memory that the process holds now; return whether the system did."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return False
    return True

"""One session in a process of its own: load reference and network, warm up, time slices, answer, exit."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from math import isfinite
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from device_agents.facts import parse_waited_ns
from device_agents.frames import FrameReader, FrameWriter
from device_agents.jobs import Plan, Recipe
from device_agents.models import assemble
from device_agents.refusal import Refusal
from device_agents.runtimes import RUNTIMES
from device_agents.runtimes.loaded import Loaded
from device_agents.sampling import sample_ns, sample_slice, slice_ratio
from device_agents.stopping import StopRule
from device_agents.warmup import warm_up

MESSAGE_CHARACTERS = 2000
PULSE_NS = 1000000000
FLUSH_NS = 500000000
NS_PER_S = 1000000000
PR_SET_PDEATHSIG = 1


def serve_job(frames_fd: int) -> None:
    """Read one job from standard input, do it, answer it, and leave the process."""
    reader = FrameReader(0)
    frame = reader.read()
    if frame is None:
        return
    message = frame[0]
    pinned = pin(message["cores"])
    end_with_parent(message["parent"])
    reporter = Reporter(FrameWriter(frames_fd))
    try:
        answer = do_task(message, reporter)
    except Refusal as refusal:
        reporter.send({"failure": refusal.header()})
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises becomes the session's failure
        text = ("%s: %s" % (type(error).__name__, error))[:MESSAGE_CHARACTERS]
        reporter.send({"failure": Refusal("worker-error", text).header()})
    else:
        reporter.send({"answer": dict(answer, pinned=pinned)})
    sys.stderr.flush()
    os._exit(0)  # taking a runtime down costs time and can crash; the answer is out


class Reporter:
    """Send events to the supervisor, slices in bursts so that reading them does not disturb the timing."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._slices: list[dict[str, Any]] = []
        self._sent_ns = perf_counter_ns()

    def send(self, header: dict[str, Any]) -> None:
        """Send now, after what waits."""
        for waiting in self._slices:
            self._writer.write(waiting)
        self._slices.clear()
        self._writer.write(header)
        self._sent_ns = perf_counter_ns()

    def enter(self, phase: str) -> None:
        """Say what comes next."""
        self.send({"event": "phase", "phase": phase})

    def add_slice(self, header: dict[str, Any]) -> None:
        """Send with the others, at most half a second from now."""
        self._slices.append(header)
        if perf_counter_ns() - self._sent_ns >= FLUSH_NS:
            self.send(self._slices.pop())

    def pulse(self, now_ns: int) -> None:
        """Give a sign of life if the last is a second old."""
        if now_ns - self._sent_ns >= PULSE_NS:
            self.send({"event": "pulse"})


def do_task(message: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Do what the message says: a session, or a profile."""
    if message["task"] == "profile":
        from device_agents.profiling import profile_network  # a session's start does not pay for it

        return profile_network(message, reporter)
    return do_job(message, reporter)


def do_job(message: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Do one job; return what the worker knows of the session."""
    job = message["job"]
    plan = Plan(**job["plan"])
    reporter.enter("load")
    shared: dict[str, bytes] = {}  # read and verified once, some 60 % of either model
    reference = load("reference", message, reporter, shared)
    network = load("network", message, reporter, shared)
    shared.clear()
    output = network.output()
    if not all(map(isfinite, output)):
        raise Refusal(
            "worker-error",
            "the network's output on the fixed input is not finite: %s; its weights are broken" % output,
        )

    reporter.enter("warm-up")
    gc.collect()
    gc.disable()
    waited_before_ns = read_waited_ns()
    loop_start_ns = perf_counter_ns()
    warm_reference, warm_network = warm_up(reference.run, network.run, plan, perf_counter_ns, reporter.pulse)
    reporter.send(
        {
            "event": "warm",
            "network_ns": warm_network.samples_ns,
            "reference_ns": warm_reference.samples_ns,
            "network_loops": warm_network.loops,
            "reference_loops": warm_reference.loops,
        }
    )
    reporter.enter("slices")
    count, stop = time_slices(network, reference, plan, warm_network.loops, warm_reference.loops, reporter)
    loop_s = (perf_counter_ns() - loop_start_ns) / NS_PER_S
    waited_ns = read_waited_ns()
    session = {
        "runtime": network.runtime,
        "threads": job["threads"],
        "cores": message["cores"],
        "slices": count,
        "stop": stop,
        "loop_s": loop_s,
        "output": output,
    }
    if waited_ns is not None and waited_before_ns is not None:
        session["waited_s"] = max(0, waited_ns - waited_before_ns) / NS_PER_S
    return session


def time_slices(
    network: Loaded,
    reference: Loaded,
    plan: Plan,
    network_loops: int,
    reference_loops: int,
    reporter: Reporter,
) -> tuple[int, str]:
    """Time slices until the stop rule is met; return how many and why it stopped."""
    rule = StopRule(plan)
    start_ns = perf_counter_ns()
    index = 0
    while True:
        times = sample_slice(network.run, reference.run, plan, network_loops, reference_loops, reporter.pulse)
        reporter.add_slice(dict(times, event="slice", index=index))
        index += 1
        ratio = slice_ratio(times, network_loops, reference_loops)
        stop = rule.add(ratio, (perf_counter_ns() - start_ns) / NS_PER_S)
        if stop is not None:
            return index, stop


def load(which: str, message: dict[str, Any], reporter: Reporter, shared: dict[str, bytes]) -> Loaded:
    """Assemble and load a model and run it once. Raises: Refusal, and what the runtime raises.

    shared: takes in, for the models that are loaded after, the parts that they have in common with this one.
    """
    job = message["job"]
    runtime = RUNTIMES[job["runtime"]]
    common = set(job["reference"]["parts"]) & set(job["network"]["parts"])
    model = assemble(Recipe(**job[which]), Path(message["parts_dir"]), shared, common)
    try:
        runtime.find()
    except ModuleNotFoundError as error:
        raise Refusal("runtime-missing", "%s is not installed here: %s" % (job["runtime"], error)) from error
    start_ns = perf_counter_ns()
    loaded: Loaded = runtime.load(model, job["threads"], job["options"])
    load_ns = perf_counter_ns() - start_ns
    first_run_ns = sample_ns(loaded.run, 1)
    reporter.send({"event": "loaded", "which": which, "load_ns": load_ns, "first_run_ns": first_run_ns})
    return loaded


def read_waited_ns() -> int | None:
    """Return how long this process's threads were ready but had no core; None where the system does not tell."""
    try:
        tasks = [
            parse_waited_ns((task / "schedstat").read_text()) for task in Path("/proc/self/task").iterdir()
        ]
    except (OSError, ValueError):
        return None
    told = [waited_ns for waited_ns in tasks if waited_ns is not None]
    return sum(told) if told else None


def pin(cores: list[int]) -> bool:
    """Keep this process, and the threads it will start, on some cores; return whether the system did."""
    try:
        os.sched_setaffinity(0, cores)
        return os.sched_getaffinity(0) == set(cores)
    except (AttributeError, OSError):  # not on macOS; refused in some containers and on some phones
        return False


def end_with_parent(parent_pid: int) -> None:
    """Make this process end when the supervisor does, in whatever way that ends.

    A thread sees the end of standard input; the kernel's signal (Linux only) also reaches a worker that hangs
    inside a runtime which holds the interpreter.
    """
    threading.Thread(target=exit_at_end_of_input, daemon=True).start()
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        return
    if os.getppid() != parent_pid:
        os._exit(1)


def exit_at_end_of_input() -> None:
    """Wait for the end of standard input, then leave at once."""
    while os.read(0, 1 << 16):
        pass
    os._exit(1)

"""One worker process: of each network, load the reference and it, warm up, time slices, tell; answer, exit."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from device_agents.clean_runs import LONG_RUN_NS, CleanRuns, baseline_ns
from device_agents.core_request import ask
from device_agents.core_to_core import CoreToCore
from device_agents.frames import FrameReader, FrameWriter
from device_agents.memory_guard import offer_to_kernel
from device_agents.models import load_model
from device_agents.outputs import Outputs
from device_agents.pace import PACED_BY, Paces
from device_agents.pacing import Plan
from device_agents.quota import ThrottledTime, read_quota
from device_agents.refusal import Refusal
from device_agents.run_delay import CoreTimes, RunDelay
from device_agents.runtimes import is_one_thread, uses_accelerator
from device_agents.runtimes.loaded import Loaded
from device_agents.runtimes.onnxruntime_cpu import AGENT_FOLDER
from device_agents.sampling import Stopwatch, sample_settled, sample_slice
from device_agents.stopping import StopRule
from device_agents.unseen import Unseen
from device_agents.warmup import Warming, warm_up

MESSAGE_CHARACTERS = 2000
PULSE_NS = 1000000000
FLUSH_NS = 500000000
NS_PER_S = 1000000000
PR_SET_PDEATHSIG = 1
ENDS_JOB = (
    "part-missing",
    "part-damaged",
    "runtime-missing",
)  # of which the networks that follow would die as well


def serve_job(frames_fd: int) -> None:
    """Read one job from standard input, do it, answer it, and leave the process."""
    reader = FrameReader(0)
    frame = reader.read()
    if frame is None:
        return
    message = frame[0]
    end_with_parent(message["parent"])
    offer_to_kernel()
    process: dict[str, Any] = {"pinned": pin(message["cores"])}
    request = request_core(message["job"].get("request", ""))
    if request:
        process["request"] = request
    message["process"] = process
    os.environ[AGENT_FOLDER] = str(Path(message["parts_dir"]).parent)
    reporter = Reporter(FrameWriter(frames_fd))
    try:
        answer = do_task(message, reporter)
    except Refusal as refusal:
        reporter.send({"failure": refusal.header()})
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises becomes the session's failure
        reporter.send({"failure": worker_error(error).header()})
    else:
        reporter.send({"answer": dict(answer, **process)})
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

    def enter(self, phase: str, network: int | None = None) -> None:
        """Report the next phase, and which of the job's networks it is for."""
        self.send({"event": "phase", "phase": phase, "network": network})

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
    """Do what the message says: a session, a profile, a look at a model's memory, or blocks of runs."""
    if message["task"] == "profile":
        from device_agents.profiling import profile_network  # a session's start does not pay for it

        return profile_network(message, reporter)
    if message["task"] == "memory":
        from device_agents.memory import weigh_model

        return weigh_model(message, reporter)
    if message["task"] == "blocks":
        from device_agents.blocks import run_blocks

        return run_blocks(message, reporter)
    return do_job(message, reporter)


def do_job(message: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Do one job: time its networks one after another, each told as soon as it is done; return what holds for all.

    A network that the runtime refuses is told as refused, and the next one follows; a core that others hold ends the job early,
    and so does a reference that the runtime refuses.
    """
    job = message["job"]
    session = Session(message, reporter)
    measured = 0
    for number in range(len(job["networks"])):
        stop = attempt(session, number, session.load_reference(), reporter)
        measured += stop is not None
        if stop == "contended":
            break
    session.end()
    return {"threads": job["threads"], "cores": message["cores"], "measured": measured}


def attempt(session: Session, number: int, reference: Outputs, reporter: Reporter) -> str | None:
    """Measure a network; return why its slices ended, None where it is told as refused.

    Raises: Refusal that ends the job; on an accelerator, where a fault may outlive the network, all.
    """
    try:
        return session.measure(number, reference)
    except Refusal as refusal:
        if refusal.kind in ENDS_JOB or (session.is_accelerated and refusal.kind == "out-of-memory"):
            raise
        reporter.send({"event": "refused", "network": number, "failure": refusal.header()})
    except Exception as error:  # whatever a runtime raises is that network's failure
        if session.is_accelerated:
            raise
        reporter.send({"event": "refused", "network": number, "failure": worker_error(error).header()})
    return None


class Session:
    """The networks of a job in one process, which starts the runtime and reads the parts once for all of them."""

    def __init__(self, message: dict[str, Any], reporter: Reporter) -> None:
        self._message, self._reporter = message, reporter
        self._job = job = message["job"]
        self._plan = Plan(**job["plan"])
        networks = job["networks"]
        recipes = [job["reference"]] * len(networks) + networks  # as often as they are loaded
        counts = Counter(digest for recipe in recipes for digest in set(recipe["parts"]))
        self._common = {digest for digest, count in counts.items() if count > 1}
        self._parts: dict[str, bytes] = {}  # read and verified once, some 60 % of any model
        self.is_accelerated = uses_accelerator(str(job["options"].get("provider", "")))
        self._is_one_thread = is_one_thread(job)
        self._core_to_core = CoreToCore.of(message)
        self._has_quota = read_quota() is not None
        self._delay = RunDelay(self._is_one_thread, ThrottledTime() if self._has_quota else None)
        self._stopwatch = Stopwatch(self._delay)
        self._paces = Paces()

    def end(self) -> None:
        self._core_to_core.end()

    def load_reference(self) -> Outputs:
        """Load the reference and read its outputs; it is no network's fault if that fails. Raises: as `_load` and `Outputs`.

        It is loaded anew beside each network: where a model comes to lie in memory moves its time by some percent (TFLite), which
        would shift all networks of a worker alike, and no scatter among them would show it.
        """
        self._reporter.enter("load")
        try:
            return Outputs(self._load("reference", self._job["reference"]), "reference")
        except Refusal:
            raise
        except Exception as error:
            message = "at the reference: " + worker_error(error).message
            raise Refusal("worker-error", message[:MESSAGE_CHARACTERS]) from error

    def measure(self, number: int, beside: Outputs) -> str:
        """Load, warm up and time one network beside the reference, tell what came of it, and return why its slices ended.

        Raises: Refusal, and what the runtime raises.
        """
        reporter, plan = self._reporter, self._plan
        start_ns = perf_counter_ns()
        reporter.enter("load", number)
        network = self._load("network", self._job["networks"][number], number)
        outputs, reference = Outputs(network), beside.model
        self._delay.find_threads()
        reporter.enter("warm-up", number)
        gc.collect()
        gc.disable()
        unseen = Unseen(counts_quotas=not self._has_quota, is_one_thread=self._is_one_thread)
        begin, waited_ns, loop_start_ns = CoreTimes(), self._delay.read()[0], perf_counter_ns()
        warm_network = Warming(network.run, plan, self._stopwatch)
        warm_reference = Warming(reference.run, plan, self._stopwatch)
        warm_up(warm_reference, warm_network, plan, perf_counter_ns, reporter.pulse)
        warm = {"network": warm_network, "reference": warm_reference}
        event: dict[str, Any] = {"event": "warm", "network": number}
        for which, warming in warm.items():
            event[which + "_ns"], event[which + "_loops"] = warming.samples_ns, warming.loops
        reporter.send(event)
        baselines = {which: self._baseline_ns(warming) for which, warming in warm.items()}
        self._core_to_core.begin()
        reporter.enter("slices", number)
        clean = CleanRuns(
            warm_network.loops, warm_reference.loops, baselines["network"], baselines["reference"]
        )
        self._paces = Paces()
        count, stop = self._time_slices(network, reference, clean, number)
        if plan.settled_runs and stop != "contended" and min(warm_network.samples_ns) < LONG_RUN_NS:
            times = sample_settled(
                network.run, plan.settled_runs, warm_network.loops, reporter.pulse, self._stopwatch
            )
            reporter.send(dict(times, event="settled", network=number))
        self._core_to_core.take()
        for one in (outputs, beside):
            one.check()
        now_ns = perf_counter_ns()
        measured = {
            "event": "measured",
            "network": number,
            "slices": count,
            "stop": stop,
            "loop_s": (now_ns - loop_start_ns) / NS_PER_S,
            "elapsed_s": (now_ns - start_ns) / NS_PER_S,
            "output": outputs.first,
            "reference_output": beside.first,
            "baseline_ns": baselines,
            "unseen": unseen.since(),
        }
        if self._delay.source == "schedstat":
            measured["waited_s"] = max(0, self._delay.read()[0] - waited_ns) / NS_PER_S
        measured.update(CoreTimes().told_since(begin, self._message["cores"]))
        if plan.settled_runs and stop != "contended":
            measured.update(self._device_times(network))
        reporter.send(dict(measured, **self._circumstances(network)))
        return stop

    def _circumstances(self, network: Loaded) -> dict[str, Any]:
        """Return the runtime, the cores and the process that the network was measured with."""
        found: dict[str, Any] = {
            "runtime": network.runtime,
            "cores": self._message["cores"],
            "delay_source": self._delay.source,
            "pace_ns": self._paces.taken_ns,
            "paced_by": PACED_BY,
        }
        known = {
            "shares": network.shares,
            "arithmetic": network.arithmetic,
            "core_to_core": self._core_to_core.told(),
        }
        found.update({name: value for name, value in known.items() if value})
        found.update(self._message["process"])
        if found["pinned"] and (moved := os.sched_getaffinity(0)) != set(found["cores"]):
            found.update(pinned=False, cores=sorted(moved))
        return found

    def _device_times(self, network: Loaded) -> dict[str, Any]:
        """Return some runs' times by the accelerator's own clock, or why it gives none; nothing where it has none."""
        if network.device_times is None:
            return {}
        try:
            return {"device_ns": network.device_times(self._plan.settled_runs)}
        except Exception as error:  # noqa: BLE001 - a session is whole without, and says why
            return {"device_absent": ("%s: %s" % (type(error).__name__, error))[:MESSAGE_CHARACTERS]}

    def _time_slices(
        self, network: Loaded, reference: Loaded, clean: CleanRuns, number: int
    ) -> tuple[int, str]:
        """Time slices until the stop rule is met; return how many and why it stopped."""
        rule = StopRule(self._plan)
        loops = clean.network_loops, clean.reference_loops
        self._run_reference(reference, clean.reference_loops, self._plan.reference_runs)
        start_ns = perf_counter_ns()
        index = 0
        while True:
            if self._paces.take(perf_counter_ns()):
                self._run_reference(reference, clean.reference_loops, 1)
            times = sample_slice(
                network.run, reference.run, self._plan, *loops, self._reporter.pulse, self._stopwatch
            )
            self._reporter.add_slice(dict(times, event="slice", network=number, index=index))
            index += 1
            ratio, elapsed_s = clean.add(times), (perf_counter_ns() - start_ns) / NS_PER_S
            if index > 1:
                stop = rule.add(ratio, elapsed_s)
            else:  # a slice's ratio is known with the next one
                stop = "cap" if rule.is_over(elapsed_s) else None
            if stop is not None:
                return index, stop

    def _run_reference(self, reference: Loaded, loops: int, samples: int) -> None:
        """Run the reference as at a slice's end, so that its first run in the next one is like the others."""
        for _ in range(samples):
            self._stopwatch.sample(reference.run, loops)
            self._reporter.pulse(perf_counter_ns())

    def _baseline_ns(self, warming: Warming) -> int:
        """Return the wait of a run's threads on a free machine; one thread waits for nothing, however busy the warm-up was."""
        return 0 if self._is_one_thread else baseline_ns(warming.delays_ns, min(warming.samples_ns))

    def _load(self, which: str, recipe: dict[str, Any], number: int | None = None) -> Loaded:
        """Assemble and load a model and run it once. Raises: Refusal, and what the runtime raises."""
        parts_dir = Path(self._message["parts_dir"])
        loaded, took = load_model(self._job, recipe, parts_dir, self._parts, self._common)
        event = dict(took, event="loaded", which=which)
        self._reporter.send(event if number is None else dict(event, network=number))
        return loaded


def worker_error(error: Exception) -> Refusal:
    """Return a refusal for an error that a runtime raised."""
    return Refusal("worker-error", ("%s: %s" % (type(error).__name__, error))[:MESSAGE_CHARACTERS])


def request_core(method: str) -> dict[str, Any]:
    """Ask for the core before the runtime makes its threads; return what came of it, for the record."""
    if not method:
        return {}
    try:
        ask(method)
    except OSError as error:
        return {"method": method, "granted": False, "reason": str(error)}
    return {"method": method, "granted": True}


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

"""Long runs in blocks: for some seconds a network, its reference, or neither, run after run as an app would.

What a session of slices avoids is measured here: heat, and what a slow sensor of energy can tell apart. Some of the runs of a
block are timed one by one, evenly spread over it; the others run untimed in between, so that nothing rests.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

from device_agents.core_to_core import CoreToCore
from device_agents.models import load_model
from device_agents.outputs import Outputs
from device_agents.quota import ThrottledTime, read_quota
from device_agents.run_delay import CoreTimes, RunDelay
from device_agents.runtimes import is_one_thread
from device_agents.runtimes.loaded import Loaded
from device_agents.sampling import Sample, Stopwatch, more

NS_PER_S = 1000000000
FLUSH_NS = 1000000000  # timed runs are told once a second: whoever stops loses no more than that
NAP_S = 0.1
CLOCKS_NS = 10000000  # apart, of two clocks that are read one after the other


def run_blocks(message: dict[str, Any], reporter: Any) -> dict[str, Any]:
    """Do one job of blocks, each told as it ends; return what holds for all. Raises: Refusal, and what the runtime raises.

    reporter: takes phases, events and signs of life, as worker.Reporter does.
    """
    job = message["job"]
    reporter.enter("load")
    core_to_core = CoreToCore.of(message)
    models: dict[str, Loaded] = {}
    for which in ("reference", "network"):
        models[which], loaded = load_model(job, job[which], Path(message["parts_dir"]))
        reporter.send(dict(loaded, event="loaded", which=which))
    outputs = {which: Outputs(model, which) for which, model in models.items()}
    delay = RunDelay(is_one_thread(job), ThrottledTime() if read_quota() else None)
    began = {"event": "began", "runtime": models["network"].runtime, "cores": message["cores"]}
    began.update(output=outputs["network"].first, reference_output=outputs["reference"].first)
    reporter.send(dict(began, delay_source=delay.source, **message["process"]))
    gc.collect()
    gc.disable()
    runner = BlockRunner(delay, reporter)
    for index, (which, seconds) in enumerate(job["blocks"]):
        reporter.enter("%s, block %d of %d" % (which, index + 1, len(job["blocks"])))
        run = models[which].run if which in models else None
        if job["settle_s"]:
            runner.settle(run, job["settle_s"])
        core_to_core.begin(is_block=True)
        begin, before, start_ns = CoreTimes(), delay.read(), perf_counter_ns()
        awake_ns = slept_ns()
        count = (
            runner.run(run, index, seconds, job["timed_runs"]) if run is not None else runner.rest(seconds)
        )
        block = {"event": "block", "index": index, "which": which, "start_ns": start_ns, "runs": count}
        block["end_ns"] = perf_counter_ns()
        if delay.source:
            block["waited_ns"] = more(before, delay.read())
        block.update(CoreTimes().told_since(begin, message["cores"]))
        asleep_ns = slept_ns() - awake_ns
        if asleep_ns > CLOCKS_NS:
            block["slept_s"] = asleep_ns / NS_PER_S
        core_to_core.take()
        if apart := core_to_core.told():
            block["core_to_core"] = apart
        reporter.send(block)
    for one in outputs.values():
        one.check()
    core_to_core.end()
    return {"threads": job["threads"], "cores": message["cores"], "blocks": len(job["blocks"])}


def slept_ns() -> int:
    """Return for how long the system was suspended since its start, which its monotonic clock leaves out; 0 if it tells none."""
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    except (AttributeError, OSError):  # not on macOS
        return 0


class BlockRunner:
    """Runs of one model after another, told to a reporter."""

    def __init__(self, delay: RunDelay, reporter: Any) -> None:
        self._stopwatch = Stopwatch(delay)
        self._reporter = reporter

    def run(self, run: Callable[[], object], index: int, seconds: float, timed_runs: int) -> int:
        """Run for some seconds, at least once; report at most a given number of runs, about evenly spread, and return how
        many ran.
        """
        every_ns = int(seconds * NS_PER_S / timed_runs)
        now_ns = due_ns = told_ns = perf_counter_ns()
        end_ns = now_ns + int(seconds * NS_PER_S)
        count = 0
        timed: list[tuple[int, Sample]] = []
        while not count or now_ns < end_ns:
            if now_ns >= due_ns:
                timed.append((now_ns, self._stopwatch.sample(run, 1)))
                due_ns = now_ns + every_ns
            else:
                run()
            count += 1
            now_ns = perf_counter_ns()
            self._reporter.pulse(now_ns)
            if timed and now_ns - told_ns >= FLUSH_NS:
                self._tell(index, timed)
                timed, told_ns = [], now_ns
        if timed:
            self._tell(index, timed)
        return count

    def settle(self, run: Callable[[], object] | None, seconds: float) -> None:
        """Run untold, or rest, until clocks and sensors have followed the change of work."""
        if run is None:
            self.rest(seconds)
            return
        end_ns = perf_counter_ns() + int(seconds * NS_PER_S)
        while perf_counter_ns() < end_ns:
            run()
            self._reporter.pulse(perf_counter_ns())

    def rest(self, seconds: float) -> int:
        end_ns = perf_counter_ns() + int(seconds * NS_PER_S)
        while True:
            left_ns = end_ns - perf_counter_ns()
            if left_ns <= 0:
                return 0
            time.sleep(min(NAP_S, left_ns / NS_PER_S))
            self._reporter.pulse(perf_counter_ns())

    def _tell(self, index: int, timed: list[tuple[int, Sample]]) -> None:
        told: dict[str, Any] = {"event": "runs", "index": index}
        told["at_ns"] = [at_ns for at_ns, _ in timed]
        told["runs_ns"] = [sample.run_ns for _, sample in timed]
        if self._stopwatch.is_informed:
            told["delays_ns"] = [sample.delay_ns for _, sample in timed]
        self._reporter.send(told)

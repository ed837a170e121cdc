"""The timing loop: samples, and slices that alternate reference and network."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter_ns
from typing import Any, Callable, NamedTuple

from device_agents.pacing import Plan
from device_agents.run_delay import RunDelay


class Sample(NamedTuple):
    """The time of a run (of `loops` of them), what its threads waited for a core in it, and what since the run before."""

    run_ns: int
    delay_ns: int
    gap_ns: int


class Stopwatch:
    """Time runs one after another, and know of each how far other programs got in between.

    One account goes from the first run to the last: what was waited between two runs, across slices too, is the gap of the
    later one, for it then begins with cold caches.
    """

    def __init__(self, delay: RunDelay) -> None:
        self._delay = delay
        self._read = delay.read()

    @property
    def is_informed(self) -> bool:
        """Whether the system tells what runs waited."""
        return bool(self._delay.source)

    def sample(self, run: Callable[[], object], loops: int) -> Sample:
        """Time `loops` runs together."""
        before = self._delay.read()
        run_ns = sample_ns(run, loops)
        after = self._delay.read()
        sample = Sample(run_ns, more(before, after), more(self._read, before))
        self._read = after
        return sample


def more(before: tuple[int, int], after: tuple[int, int]) -> int:
    """Return by how much a wait grew: by the account that saw more of it, for none sees all."""
    return max(after[0] - before[0], after[1] - before[1], 0)


def sample_ns(run: Callable[[], object], loops: int) -> int:
    """Return the time of `loops` runs together."""
    runs = repeat(None, loops)
    start_ns = perf_counter_ns()
    for _ in runs:
        run()
    return perf_counter_ns() - start_ns


def sample_slice(
    network: Callable[[], object],
    reference: Callable[[], object],
    plan: Plan,
    network_loops: int,
    reference_loops: int,
    pulse: Callable[[int], None],
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    """Time one slice: the reference, the network, the reference again.

    The slice is so short (some 60 ms) that the machine's speed hardly changes within it, so that a drift
    cancels in the ratio. `at_ns` is the clock at its start, on Linux the one that all processes share (CLOCK_MONOTONIC).
    `delays_ns` and `gaps_ns` hold a number for each run, in the order in which they ran; neither is there where the system
    does not tell. `pulse` is told the time after each sample; it is quick unless a sample was slow.
    """
    at_ns = perf_counter_ns()
    samples: list[Sample] = []
    for run, count, loops in (
        (reference, plan.reference_runs, reference_loops),
        (network, plan.network_runs, network_loops),
        (reference, plan.reference_runs, reference_loops),
    ):
        samples += sample_runs(run, count, loops, pulse, stopwatch)
    runs_ns = [sample.run_ns for sample in samples]
    first, last = plan.reference_runs, plan.reference_runs + plan.network_runs
    times: dict[str, Any] = {
        "at_ns": at_ns,
        "reference_before_ns": runs_ns[:first],
        "after_switch_ns": runs_ns[first],
        "network_ns": runs_ns[first + 1 : last],
        "reference_after_ns": runs_ns[last:],
    }
    return dict(times, **waits(samples, stopwatch))


def sample_settled(
    network: Callable[[], object], count: int, loops: int, pulse: Callable[[int], None], stopwatch: Stopwatch
) -> dict[str, Any]:
    """Time the network alone, run after run, until its caches are its own: as tools do that run one model again and again.

    The fields are those of a slice without a reference; the first runs still follow a switch.
    """
    at_ns = perf_counter_ns()
    samples = sample_runs(network, count, loops, pulse, stopwatch)
    times: dict[str, Any] = {"at_ns": at_ns, "network_ns": [sample.run_ns for sample in samples]}
    return dict(times, **waits(samples, stopwatch))


def sample_runs(
    run: Callable[[], object], count: int, loops: int, pulse: Callable[[int], None], stopwatch: Stopwatch
) -> list[Sample]:
    """Time `count` samples of one model in a row."""
    samples = []
    for _ in range(count):
        samples.append(stopwatch.sample(run, loops))
        pulse(perf_counter_ns())
    return samples


def waits(samples: list[Sample], stopwatch: Stopwatch) -> dict[str, list[int]]:
    """Return the waits in and before each sample; nothing where the system does not tell."""
    if not stopwatch.is_informed:
        return {}
    return {
        "delays_ns": [sample.delay_ns for sample in samples],
        "gaps_ns": [sample.gap_ns for sample in samples],
    }

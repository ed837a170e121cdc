"""The timing loop: samples, and slices that alternate reference and network."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter_ns
from typing import Any, Callable

from device_agents.jobs import Plan


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
) -> dict[str, Any]:
    """Time one slice: the reference, the network, the reference again.

    The slice is so short (some 60 ms) that the machine's speed hardly changes within it, so that a drift
    cancels in the ratio. `at_ns` is the clock at its start, on Linux the one that all processes share (CLOCK_MONOTONIC).
    `pulse` is told the time after each sample; it is quick unless a sample was slow.
    """
    at_ns = perf_counter_ns()
    before_ns = sample_runs(reference, plan.reference_runs, reference_loops, pulse)
    network_ns = sample_runs(network, plan.network_runs, network_loops, pulse)
    after_ns = sample_runs(reference, plan.reference_runs, reference_loops, pulse)
    return {
        "at_ns": at_ns,
        "reference_before_ns": before_ns,
        "after_switch_ns": network_ns[0],
        "network_ns": network_ns[1:],
        "reference_after_ns": after_ns,
    }


def sample_runs(run: Callable[[], object], count: int, loops: int, pulse: Callable[[int], None]) -> list[int]:
    """Return `count` samples."""
    samples_ns = []
    for _ in range(count):
        samples_ns.append(sample_ns(run, loops))
        pulse(perf_counter_ns())
    return samples_ns


def slice_ratio(times: dict[str, Any], network_loops: int, reference_loops: int) -> float:
    """Return how many times as long the network takes as the reference, by the shortest sample of each."""
    network_ns = min(times["network_ns"]) / network_loops
    reference_ns = min(times["reference_before_ns"] + times["reference_after_ns"]) / reference_loops
    return float(network_ns / reference_ns)

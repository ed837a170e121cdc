"""Times of calls, and their medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from device_agents.stopping import median_interval_rank


def seconds_of(function: Callable[[], object], clock_s: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds of one call."""
    start_s = clock_s()
    function()
    return clock_s() - start_s


def least_s(
    function: Callable[[], object], runs: int, clock_s: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds of the fastest of several calls."""
    return min(seconds_of(function, clock_s) for _ in range(runs))


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return (median, low, high): order statistics between which the true median lies in 95 %; below 6 values all of them."""
    ordered = sorted(values)
    rank = median_interval_rank(len(ordered)) or 1
    return median(ordered), ordered[rank - 1], ordered[-rank]

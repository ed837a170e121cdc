"""Contention of a session by other programs, and what held it up unseen: which session is measured again.

The harness judges each session by it, and a packed job what to measure again: so it is one rule, in one place, for Python 3.8.
"""

from __future__ import annotations

from typing import Any, Mapping

from device_agents.clean_runs import DISTURBED_SHARE
from device_agents.throttling import number, table

CONTENDED = (
    "contended"  # why a worker stopped: so few slices were clean that other programs' turns picked them
)
FEWEST_SLICES = 6  # of fewer values not even the extremes enclose the median with 95 %: 1 - 2 * 0.5**5 = 94 %
MIN_SLICES = 12  # where a session's plan does not say
STEAL_SHARE = 0.02  # of the session's time: what a hypervisor takes shows in no run's delay
# Of records without delays: 93 sessions that waited below 30 % ran as if alone, those above were wrong by up to a factor of
# three; turns of 3 ms beside runs of 3 ms begin to matter well below that.
WAITED_SHARE = 0.1
FAULTS_SHARE = 0.1  # of the slices: page faults and stops in fewer are not in a median


def others_disturbed(
    measured: Mapping[str, Any], slices: int, clean_slices: int | None, min_slices: float | None
) -> bool:
    """Return whether other programs left a session too little: too few clean slices, a hypervisor that took its core, or what
    held it up unseen.

    Too few are less than half of its slices and of what its plan asks for, or less than carry an interval. measured: what the
    worker told of it. clean_slices: None where a session does not know what its runs waited; then the whole wait decides.
    """
    loop_s, steal_s, waited_s = (
        max(0.0, number(measured.get(name)) or 0.0) for name in ("loop_s", "steal_s", "waited_s")
    )
    if measured.get("stop") == CONTENDED or steal_s > STEAL_SHARE * loop_s:
        return True
    if hold_ups(measured.get("unseen"), loop_s, slices):
        return True
    if clean_slices is None:
        return waited_s > WAITED_SHARE * loop_s
    return clean_slices < min(enough_slices(slices, min_slices), slices)


def enough_slices(slices: int, min_slices: float | None) -> int:
    """Return how many clean slices a session of so many needs."""
    return max(FEWEST_SLICES, min(int(min_slices or MIN_SLICES), (slices + 1) // 2))


def hold_ups(unseen: Any, loop_s: float, slices: int) -> list[str]:
    """Return in words what held a session up and shows in no run's wait (device_agents.unseen), if it was enough."""
    told = table(unseen)
    throttled_s, faults, stops = (
        number(told.get(name)) or 0.0 for name in ("throttled_s", "major_faults", "stops")
    )
    found = []
    if throttled_s > max(0.0, DISTURBED_SHARE * loop_s):
        share = throttled_s / max(loop_s, throttled_s)
        found.append("a CPU quota that was set meanwhile took %.0f%% of the time" % (100 * share))
    for count, what in (
        (faults, "page faults waited for the disk or compressed memory"),
        (stops, "times a signal stopped the worker, as cpulimit does"),
    ):
        if count > FAULTS_SHARE * slices:
            found.append("%.0f %s" % (count, what))
    if told.get("traced") is True:
        found.append("a tracer, such as strace or a debugger, held the worker")
    return found

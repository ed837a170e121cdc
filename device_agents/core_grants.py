"""Trials of the ways to ask for the core: which are granted here, and whether they help beside a competitor."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from device_agents.control_groups import find_groups
from device_agents.core_probe import Probe, compete, probe_each
from device_agents.core_request import METHODS
from device_agents.cores import parse_core_list

VERIFIED_SHARE = 0.1
"""Waiting for less than this of a probe's 100 ms beside a competitor, asking helped.

At the greatest weights the competitor is left 1.1 % (1024 of 1024 + 88761), which comes as one turn of some 4 ms in
every 350: a probe holds none or one, in rare cases two. Without effect the share is a half.
"""

CONTENDED_SHARE = 0.25
"""What the competitor must take of a process that did not ask, else nothing is shown: it should be a half."""


@dataclass(frozen=True)
class Grant:
    """Outcome of one way of asking. waited_before, waited_after: shares waited beside a competitor; None: not known."""

    method: str
    granted: bool
    waited_before: float | None
    waited_after: float | None
    verified: bool
    reason: str


def verify(cores: list[int], filesystem: Path = Path("/")) -> list[Grant]:
    """Try each way on the last of the cores that a session takes, beside a process that keeps it busy: half a second.

    The agent's own class and weight stay as they are.
    """
    core = cores[-1]
    with ExitStack() as stack:
        try:
            stack.callback(compete(core).end)
        except OSError as error:
            reason = "not tried, no competitor: %s" % error
            return [Grant(method, False, None, None, False, reason) for method in METHODS]
        before, reason, _ = probe_each([core], None)[core]
        grants = []
        for method in METHODS:
            unsafe = danger(cores, filesystem) if method == "realtime" else ""
            after, refusal, _ = Probe(None, unsafe) if unsafe else probe_each([core], method)[core]
            grants.append(judge(method, before, after, refusal or reason, narrowness(method, filesystem)))
    return grants


def judge(method: str, before: float | None, after: float | None, refusal: str, narrow: str) -> Grant:
    """Return the verdict on the waits before and after. narrow: why a way reaches too few programs, or ''."""
    if after is None:
        return Grant(method, False, before, None, False, refusal)
    if before is None or before < CONTENDED_SHARE:
        reason = "not shown: the competitor did not make a process wait that had not asked"
    elif after > before / 2:
        reason = "granted, without effect"
    elif after > VERIFIED_SHARE:
        reason = "granted, but too little: something else asks for the core as well"
    elif narrow:
        reason = narrow
    else:
        return Grant(method, True, before, after, True, "")
    return Grant(method, True, before, after, False, reason)


def danger(cores: list[int], filesystem: Path) -> str:
    """Return why a realtime class on these cores could freeze the machine, or ''."""
    try:
        online = set(parse_core_list((filesystem / "sys/devices/system/cpu/online").read_text()))
    except (OSError, ValueError):
        online = set()
    if online <= set(cores):
        return "not tried: it would take every core that the machine has, which can freeze it"
    try:
        runtime_us = int((filesystem / "proc/sys/kernel/sched_rt_runtime_us").read_text())
    except (OSError, ValueError):
        return ""
    if runtime_us < 0:
        return "not tried: sched_rt_runtime_us is -1, so nothing else would get a turn on the core"
    return ""


def narrowness(method: str, filesystem: Path) -> str:
    """Return why a way weighs less than the probe shows, or '': within a control group it does not reach beyond."""
    groups = find_groups(filesystem) if method in ("autogroup", "nice") else None
    group = groups.weighing() if groups is not None else None
    if group is None:
        return ""
    return "helps against programs of control group %s alone" % group

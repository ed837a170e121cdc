"""Probe of busy cores: the share of a short time that a process pinned to each waits for it, and its pace meanwhile.

Load averages say nothing of one core. Every process here is in a session of its own, as the worker is, because the
system shares a core between sessions before it shares it between their processes.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import NamedTuple

from device_agents.core_request import ask, sweep_groups
from device_agents.facts import parse_waited_ns
from device_agents.forked_child import READY, REFUSED, Forked
from device_agents.pace import pace_ns

SECONDS = 0.1  # some 30 turns of two programs that share a core
SLACK_S = 3.0  # a child that has not answered so much later got no turn at all

COMPETITION_S = 10.0  # the latest end of a competitor; a check of all methods takes under a second
SLOW_SHARE = 0.25  # as of sessions (harness.estimates.reference): boosted clocks of like cores differ by less


class Probe(NamedTuple):
    """Share of a short time that a process waited for a core, or `why` that is not known; its pace there, else infinite."""

    waited: float | None
    why: str = ""
    pace_ns: float = inf


def probe_cores(cores: list[int], request: str | None, seconds: float = SECONDS) -> dict[int, float | None]:
    """Return the share of the time, 0 to 1, that a process on each core waited; all cores at once.

    request: how the core is asked for meanwhile, one of core_request.METHODS. None: the system tells neither run delay
    nor CPU time, or refused to pin the process or what was asked for, or the core went away.
    """
    return {core: probe.waited for core, probe in probe_each(cores, request, seconds).items()}


def others_waited(waited: dict[int, float | None], chosen: list[int]) -> float | None:
    """Return the largest share waited on a core that is not chosen; None where one of the machine's is not known."""
    others = [share for core, share in waited.items() if core not in chosen]
    known = [share for share in others if share is not None]
    if len(known) < len(others) or len(waited) < (os.cpu_count() or 0):
        return None
    return max(known, default=0.0)


def lost_shares(probes: dict[int, Probe], clusters: list[list[int]]) -> dict[int, float | None]:
    """Return the share of each core that others have: what was waited for it, or what it lacks of the pace of a like core.

    The other hardware thread of a core, which may be another virtual machine's, takes up to a half of it, and no file tells.
    clusters: of like cores. They are probed at once, so that a clock which they share is no difference.
    """
    lost = {core: probe.waited for core, probe in probes.items()}
    for cluster in clusters:
        known = [core for core in cluster if core in probes]
        best_ns = min((probes[core].pace_ns for core in known), default=inf)
        for core in known:
            waited, _, taken_ns = probes[core]
            if waited is not None and taken_ns > (1 + SLOW_SHARE) * best_ns:
                lost[core] = max(waited, 1 - best_ns / taken_ns)
    return lost


def like_core(cores: list[int], clusters: list[list[int]], siblings: dict[int, tuple[int, ...]]) -> list[int]:
    """Return a core like these on another physical core; none where there is no other, or where two of these share theirs."""
    groups = {siblings.get(core, (core,)) for core in cores}
    if len(groups) < len(cores):
        return []
    of_one_kind = (cluster for cluster in clusters if set(cores) <= set(cluster))
    return [one for cluster in of_one_kind for one in cluster if not any(one in group for group in groups)][
        :1
    ]


def slowed(one: Probe, other: Probe) -> float:
    """Return how much longer the fixed piece of work took on one core than on another at once, relative; 0 where not known."""
    return max(0.0, one.pace_ns / other.pace_ns - 1) if one.pace_ns < inf else 0.0


def probe_each(cores: list[int], request: str | None, seconds: float = SECONDS) -> dict[int, Probe]:
    """Return the findings of a process on each core; all cores at once."""
    children: dict[int, Forked] = {}
    found: dict[int, Probe] = {}
    try:
        with ExitStack() as stack:
            for core in cores:
                try:
                    child = Forked(
                        partial(settle, core, request), partial(spin, core, seconds), seconds + SLACK_S
                    )
                except OSError as error:
                    found[core] = Probe(None, "no process could be started: %s" % error)
                    continue
                stack.callback(child.end)
                children[core] = child
            said = {core: child.await_word() for core, child in children.items()}
            for core, child in children.items():
                if said[core] == READY:
                    child.go()
            time.sleep(seconds)  # a parent that reads meanwhile would itself make them wait
            for core, child in children.items():
                answer = child.await_word() if said[core] == READY else said[core]
                found[core] = read_answer(answer)
    finally:
        if request == "cgroup":
            sweep_groups()
    return found


def read_answer(answer: str | None) -> Probe:
    """Return a child's findings: one that got no turn in the whole time waited for all of it."""
    if answer is None:
        return Probe(1.0)
    if answer.startswith(REFUSED):
        return Probe(None, answer[len(REFUSED) :])
    try:
        waited, taken_ns = map(float, answer.split())
        return Probe(waited, "", taken_ns)
    except ValueError:
        return Probe(None, answer or "the probing process was ended")


def settle(core: int, request: str | None) -> None:
    """Pin this process and ask for the core. Raises: OSError."""
    pin(core)
    if request is not None:
        ask(request)


def pin(core: int) -> None:
    """Pin this process to a core. Raises: OSError."""
    try:
        os.sched_setaffinity(0, {core})
    except AttributeError as error:  # not on macOS
        raise OSError("this system pins no process") from error


def spin(core: int, seconds: float) -> str:
    """Keep the core busy; return the share of the time that this process waited for it and its pace, or why that is not known."""
    delay_before_ns = read_delay_ns()
    start_ns, cpu_start_ns = time.perf_counter_ns(), time.thread_time_ns()
    end_ns = start_ns + int(seconds * 1e9)
    paces_ns = [pace_ns()]
    while time.perf_counter_ns() < end_ns:
        paces_ns.append(pace_ns())
    wall_ns = time.perf_counter_ns() - start_ns
    waits_ns = [wall_ns - (time.thread_time_ns() - cpu_start_ns)]  # where a hypervisor tells, stolen time too
    delay_ns = read_delay_ns()
    if delay_ns is not None and delay_before_ns is not None:
        waits_ns.append(delay_ns - delay_before_ns)
    if os.sched_getaffinity(0) != {core}:
        return "the core went away meanwhile"
    return "%.6f %.1f" % (min(1.0, max(0.0, max(waits_ns) / wall_ns)), sorted(paces_ns)[len(paces_ns) // 2])


def read_delay_ns() -> int | None:
    """Return how long this process, of one thread, was ready but had no core; None where the system does not tell."""
    with suppress(OSError, ValueError):
        return parse_waited_ns(Path("/proc/self/schedstat").read_text())
    return None


def compete(core: int) -> Forked:
    """Start a process that keeps a core busy until it is ended, or its parent is gone. Raises: OSError."""
    parent = os.getpid()

    def spin_on() -> str:
        while os.getppid() == parent:
            pass
        return ""

    child = Forked(partial(pin, core), spin_on, COMPETITION_S)
    said = child.await_word()
    if said != READY:
        child.end()
        raise OSError((said or "").replace(REFUSED, "") or "no process could be pinned to core %d" % core)
    child.go()
    return child

"""Asking the system for the core: ways to get ahead of other programs, for this process alone.

Nice values weigh a process only within its session (autogroup) or control group; sched(7), "The autogroup feature". So
the ways that reach further come first. All is a property of the process, or of its session, and ends with it; only a
control group stays behind, and `sweep_groups` removes it.
"""

from __future__ import annotations

import errno
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from device_agents.control_groups import find_groups
from device_agents.processes import is_alive
from device_agents.quota import read_quotas

METHODS = ("realtime", "autogroup", "cgroup", "nice")
"""By preference: how much of a contended core each leaves to others, and how far it reaches."""

REALTIME_PRIORITY = 10  # above all ordinary programs, below a kernel's interrupt threads (50)
NICE = -20
WEIGHTS = {
    1: ("cpu.shares", "262144"),
    2: ("cpu.weight", "10000"),
}  # the highest of each version; usual: 1024, 100
GROUP = "harness-%d"
AUTOGROUP_TRIES = 10  # unprivileged, the whole system may change one autogroup in a tenth of a second
AUTOGROUP_WAIT_S = 0.05


def ask(method: str) -> None:
    """Ask for the core, for this thread and all that it starts; call it before the runtime makes its threads.

    Raises: OSError when the system refuses.
    """
    {"realtime": ask_realtime, "autogroup": ask_autogroup, "cgroup": ask_cgroup, "nice": ask_nice}[method]()


def ask_realtime() -> None:
    """Ask for the class SCHED_RR. Raises: OSError."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except AttributeError as error:  # neither on macOS nor in Termux's Python
        raise OSError(errno.ENOSYS, "this Python has no realtime classes") from error


def ask_autogroup() -> None:
    """Ask for the greatest weight of this session among sessions, and of the process within it. Raises: OSError."""
    if os.getsid(0) != os.getpid():
        raise OSError(errno.EPERM, "the process is in a session with others, whose weight is not its own")
    for left in reversed(range(AUTOGROUP_TRIES)):
        try:
            Path("/proc/self/autogroup").write_text("%d" % NICE)
            break
        except BlockingIOError:
            if not left:
                raise
            time.sleep(AUTOGROUP_WAIT_S)
    ask_nice()


def ask_cgroup() -> None:
    """Enter a control group of this process's own with the greatest weight, next to the hierarchy's root's. Raises: OSError."""
    groups = find_groups()
    if groups is None:
        raise FileNotFoundError(errno.ENOENT, "no control groups with the cpu controller")
    if read_quotas(groups):
        raise OSError(errno.EPERM, "the present control group has a CPU quota, which leaving it would evade")
    group = groups.mount / (GROUP % os.getpid())
    cores = os.sched_getaffinity(0)
    group.mkdir(exist_ok=True)
    try:
        name, weight = WEIGHTS[groups.version]
        with (group / name).open("r+") as file:  # absent where the controller is not turned on
            file.write(weight)
        (group / "cgroup.procs").write_text("%d" % os.getpid())
    except OSError:
        with suppress(OSError):
            group.rmdir()
        raise
    os.sched_setaffinity(0, cores)  # a change of groups may have widened it


def ask_nice() -> None:
    """Ask for the greatest weight within the session or control group. Raises: OSError."""
    os.setpriority(os.PRIO_PROCESS, 0, NICE)


def sweep_groups() -> None:
    """Remove the control groups of processes that have ended, also those of other agents."""
    groups = find_groups()
    if groups is None:
        return
    for group in groups.mount.glob("harness-*"):
        match = re.fullmatch(r"harness-(\d+)", group.name)
        if match and not is_alive(int(match.group(1))):
            # Another agent was faster; or it is in use after all, in another namespace.
            with suppress(OSError):
                group.rmdir()

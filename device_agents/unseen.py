"""Delays of a worker that show in no run's wait, asked for around a network's runs.

The scheduler's account holds the time that a thread was ready and had no core. It holds neither the time that a control group was
out of its quota, unless the quota was there when the session began, nor that of pages read from the disk, nor that in which a
signal or a tracer stopped it. Where one thread computes all, its time off the core holds these, but not what pages of compressed
memory take, which the thread itself unpacks: 6 us each, and all of its own processor time.
"""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

from device_agents.control_groups import find_groups
from device_agents.quota import parse_throttled_us

US_PER_S = 1e6


class Unseen:
    """The accounts at one moment. counts_quotas: whether no run's wait holds the time that a quota takes.

    is_one_thread: the calling thread computes all. filesystem: what holds `proc` and the control groups.
    """

    def __init__(
        self, counts_quotas: bool, is_one_thread: bool = False, filesystem: Path = Path("/")
    ) -> None:
        self._counts_quotas, self._is_one_thread, self._filesystem = counts_quotas, is_one_thread, filesystem
        self._throttled_us = self._read_throttled_us()
        self._faults = major_faults()
        self._is_traced = is_traced(filesystem)
        self._stops = 0
        signal.signal(signal.SIGCONT, self._count_stop)
        signal.siginterrupt(signal.SIGCONT, False)

    def since(self) -> dict[str, Any]:
        """Return the hold-ups since (`throttled_s` by quotas, `major_faults`, `stops`, `traced`) without those that were none."""
        told: dict[str, Any] = {"major_faults": major_faults() - self._faults}
        if not self._is_one_thread:
            told["throttled_s"] = max(0, self._read_throttled_us() - self._throttled_us) / US_PER_S
            told["stops"] = self._stops
            told["traced"] = self._is_traced or is_traced(self._filesystem)
        return {name: value for name, value in told.items() if value}

    def _count_stop(self, number: int, frame: Any) -> None:
        """Count a signal that lets a stopped process go on, such as cpulimit sends ten times a second."""
        self._stops += 1

    def _read_throttled_us(self) -> int:
        return throttled_us(self._filesystem) if self._counts_quotas else 0


def throttled_us(filesystem: Path) -> int:
    """Return for how long the own control group and its ancestors were held back so far, in us; 0 where none tells."""
    groups = find_groups(filesystem)
    total = 0
    for group in () if groups is None else groups.own:
        try:
            total += parse_throttled_us((group / "cpu.stat").read_text())
        except (OSError, ValueError):  # the root has none, nor has a group without the controller
            continue
    return total


def major_faults() -> int:
    """Return how many page faults of this process waited for the disk, or for compressed memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def is_traced(filesystem: Path) -> bool:
    """Return whether a tracer, such as strace, holds a thread of this process; False where the system does not tell."""
    for status in filesystem.glob("proc/self/task/*/status"):
        try:
            lines = status.read_text("ascii", "replace").splitlines()
        except OSError:  # it ended meanwhile
            continue
        if any(line.startswith("TracerPid:") and line.split()[1:] != ["0"] for line in lines):
            return True
    return False

"""Limits on the processor time of this process: quotas of control groups, and cores that it may not use."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from device_agents.control_groups import ControlGroups, find_groups
from device_agents.cores import available_cores, parse_core_list

STAT_BYTES = 4096


@dataclass(frozen=True)
class Quota:
    """Processor time that a control group gets. cores: 0.5 is half a core's time; group: the folder."""

    cores: float
    group: str


def read_quota(filesystem: Path = Path("/")) -> Quota | None:
    """Return the least quota of the own control group and its ancestors; None where there is none, or none is told."""
    groups = find_groups(filesystem)
    if groups is None:
        return None
    quotas = [Quota(cores, str(group)) for group, cores in read_quotas(groups).items()]
    return min(quotas, key=lambda quota: quota.cores) if quotas else None


def read_quotas(groups: ControlGroups) -> dict[Path, float]:
    """Return {group: quota in cores} of those of the own groups that have one."""
    quotas: dict[Path, float] = {}
    for group in groups.own:
        try:
            if groups.version == 2:
                text = (group / "cpu.max").read_text()
            else:
                text = "%s %s" % (
                    (group / "cpu.cfs_quota_us").read_text(),
                    (group / "cpu.cfs_period_us").read_text(),
                )
            quota, period_us = text.split()
            if quota not in ("max", "-1"):
                quotas[group] = int(quota) / int(period_us)
        except (
            OSError,
            ValueError,
            ZeroDivisionError,
        ):  # the root has none; a file that is not as documented
            continue
    return quotas


class ThrottledTime:
    """Time that the groups with a quota were held back so far; the files stay open, for reading around each run."""

    def __init__(self, filesystem: Path = Path("/")) -> None:
        groups = find_groups(filesystem)
        self._is_known = groups is not None
        self._fds: list[int] = []
        for group in read_quotas(groups) if groups is not None else ():
            try:
                self._fds.append(os.open(str(group / "cpu.stat"), os.O_RDONLY))
            except OSError:
                self._is_known = False

    def read(self) -> int | None:
        """Return the sum over the groups in us, 0 without a quota, None where it is not told."""
        if not self._is_known:
            return None
        try:
            told = [parse_throttled_us(os.pread(fd, STAT_BYTES, 0).decode("ascii")) for fd in self._fds]
        except (OSError, ValueError):  # the group went away, or its file is not as documented
            return None
        return sum(told)


def parse_throttled_us(stat: str) -> int:
    """Return how long a group was held back, from cpu.stat: version 2 counts us, version 1 ns. Raises: ValueError."""
    match = re.search(r"^throttled_(usec|time) (\d+)$", stat, re.MULTILINE)
    if match is None:
        raise ValueError("cpu.stat holds neither throttled_usec nor throttled_time: %r" % stat[:200])
    return int(match.group(2)) // (1 if match.group(1) == "usec" else 1000)


def withheld_cores(filesystem: Path = Path("/")) -> list[int]:
    """Return the machine's online cores that this process may not use: a cpuset, or an affinity that it was given."""
    try:
        online = parse_core_list((filesystem / "sys/devices/system/cpu/online").read_text())
    except (OSError, ValueError):
        return []
    return sorted(set(online) - set(available_cores()))

"""Time that this process's threads were ready but had no core: read around each run, so that a disturbed run is known.

The kernel keeps the run delay of each thread (`/proc/self/task/TID/schedstat`, the second number). Where one thread does all
the computing, wall time less the thread's CPU time tells as much, and also what no account of the scheduler holds, such as
the time that a CPU quota took; of several threads it says nothing, since they wait for each other, and for a GPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter_ns
from typing import Callable

from device_agents.quota import ThrottledTime

SCHEDSTAT_BYTES = 96
NS_PER_US = 1000


class RunDelay:
    """The wait of all threads so far, in ns, as far as the system tells.

    `source`: `schedstat`, `cpu-time`, or empty where nothing is told.
    """

    def __init__(
        self,
        is_one_thread: bool,
        throttled: ThrottledTime | None = None,
        task_dir: str = "/proc/self/task",
    ) -> None:
        """is_one_thread: the calling thread computes all, and never waits for another or for a GPU.

        throttled: what a CPU quota takes away, asked where several threads compute.
        """
        self._task_dir = task_dir
        self._throttled = None if is_one_thread else throttled
        self._files: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._cpu_ns = thread_clock() if is_one_thread else None
        self.source = ""
        self.find_threads()
        if self._files and any(self._run_ns(fd) for fd in self._files.values()):
            self.source = "schedstat"
        elif self._cpu_ns is not None:
            self.source = "cpu-time"

    def find_threads(self) -> None:
        """Take in the threads that were started since: each model may have a pool of its own."""
        try:
            names = [task.name for task in os.scandir(self._task_dir)]
        except OSError:
            return
        for name in names:
            if name not in self._files:
                try:
                    self._files[name] = os.open("%s/%s/schedstat" % (self._task_dir, name), os.O_RDONLY)
                except OSError:
                    continue
        for name in [name for name in self._files if name not in names]:
            os.close(self._files.pop(name))

    def read(self) -> tuple[int, int]:
        """Return (run delay of all threads, time off the core of the calling one), in ns since whenever.

        What is not told is always 0.
        """
        waited_ns = 0
        for name, fd in self._files.items():
            try:
                self._last[name] = int(os.pread(fd, SCHEDSTAT_BYTES, 0).split()[1])
            except (OSError, ValueError, IndexError):  # the thread has ended: its account stays what it was
                pass
            waited_ns += self._last.get(name, 0)
        if self._throttled is not None:
            waited_ns += NS_PER_US * (self._throttled.read() or 0)
        return waited_ns, perf_counter_ns() - self._cpu_ns() if self._cpu_ns is not None else 0

    @staticmethod
    def _run_ns(fd: int) -> int:
        """Return a thread's time on a core; 0 where the kernel keeps no account."""
        try:
            return int(os.pread(fd, SCHEDSTAT_BYTES, 0).split()[0])
        except (OSError, ValueError, IndexError):
            return 0


def thread_clock() -> Callable[[], int] | None:
    """Return a clock of the calling thread's CPU time in ns; None where there is none."""
    import time

    try:
        time.thread_time_ns()
    except (AttributeError, OSError):  # not on every system
        return None
    return time.thread_time_ns


class CoreTimes:
    """The accounts of all cores at one moment: what a hypervisor stole, and how busy cores were since.

    Source: https://docs.kernel.org/filesystems/proc.html (a `cpuN` line in ticks: user, nice, system, idle, iowait, irq, softirq,
    steal).
    """

    def __init__(self, path: str = "/proc/stat") -> None:
        self._ticks: dict[int, list[int]] = {}
        try:
            if Path(path).stat().st_dev != Path(path).parent.stat().st_dev:
                return  # something else is mounted there, such as lxcfs: it tells of a container's own programs alone
            for line in Path(path).read_text().splitlines():
                name, *ticks = line.split()
                if name.startswith("cpu") and name != "cpu":
                    self._ticks[int(name[3:])] = [int(word) for word in ticks[:8]]
        except (OSError, ValueError):  # hidden from apps on some phones
            self._ticks = {}

    @property
    def is_told(self) -> bool:
        """Return whether the system tells of any core."""
        return bool(self._ticks)

    def stolen_s(self, since: CoreTimes, cores: list[int]) -> float | None:
        """Return for how long the host of this virtual machine took some cores away; None where it is not told."""
        ticks = [self._ticks[core][7] - since._ticks[core][7] for core in cores if self._knows(since, core)]
        return max(0, sum(ticks)) / os.sysconf("SC_CLK_TCK") if ticks else None

    def others_busy(self, since: CoreTimes, cores: list[int]) -> float | None:
        """Return the share of the time that the busiest of the other cores ran something; None where it is not told.

        Or half of the sum over all of them, if that is more: a build of many short programs spreads over them.
        """
        if self.is_told and set(self._ticks) <= set(cores):
            return 0.0  # there are no others
        shares = []
        for core in self._ticks:
            if core not in cores and self._knows(since, core):
                passed = [self._ticks[core][place] - since._ticks[core][place] for place in range(8)]
                if sum(passed) > 0:
                    shares.append(1 - (passed[3] + passed[4]) / sum(passed))
        return min(1.0, max(0.0, *shares, sum(shares) / 2)) if shares else None

    def told_since(self, since: CoreTimes, cores: list[int]) -> dict[str, float]:
        """Return `stolen_s` of some cores as steal_s, and `others_busy`, as far as they are told."""
        told = {"steal_s": self.stolen_s(since, cores), "others_busy": self.others_busy(since, cores)}
        return {name: value for name, value in told.items() if value is not None}

    def _knows(self, since: CoreTimes, core: int) -> bool:
        return len(self._ticks.get(core, ())) == len(since._ticks.get(core, ())) == 8

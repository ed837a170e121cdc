"""A bound on a worker's memory: it is ended before the system runs out, where the kernel would end some process or other.

An address space's limit (RLIMIT_AS) is none for a runtime, which reserves many times what it uses, and a control group for the
worker alone is what few users may make. So the supervisor looks at what the worker holds and at what the system has left, often
while models are loaded and first run, with each heartbeat while runs are timed. Should memory run out between two looks, the
kernel takes the worker first: any process may ask for that.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from device_agents.control_groups import find_groups
from device_agents.refusal import Refusal

LOOK_S = 0.05  # at 3 GB/s, more than one core fills, 150 MB from one look to the next
TIMING_LOOK_S = 2.0
TIMING_PHASES = ("warm-up", "slices", "runs")  # a model has its memory once it has run
RESERVE_SHARE = 0.05  # of the memory that there is
RESERVE_BYTES = (32 << 20, 512 << 20)  # at least, at most
MOST_KILLABLE = "1000"  # proc_pid_oom_score_adj(5)


def offer_to_kernel() -> None:
    """Have the kernel end this process before any other when memory runs out."""
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(MOST_KILLABLE)


class MemoryGuard:
    """Watch over one worker. limit_bytes: what it may hold at most, None where the system's own memory is the limit."""

    def __init__(self, pid: int, limit_bytes: int | None, filesystem: Path = Path("/")) -> None:
        self._filesystem = filesystem
        self._statm = filesystem / "proc" / str(pid) / "statm"
        self._limit_bytes = limit_bytes
        self._limited = limited_groups(filesystem)
        self.due_s = 0.0

    def look(self, now_s: float, phase: str) -> None:
        """Look if it is time to. Raises: Refusal (`out-of-memory`) where the worker holds too much."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + (TIMING_LOOK_S if phase in TIMING_PHASES else LOOK_S)
        try:
            held = int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):  # it has ended, or the system does not tell
            return
        if self._limit_bytes is not None and held > self._limit_bytes:
            raise too_much(
                held, "more than the %s that it may (--memory-bytes)" % size(self._limit_bytes), phase
            )
        for what, free, total in self._room():
            reserve = min(max(int(RESERVE_SHARE * total), RESERVE_BYTES[0]), RESERVE_BYTES[1])
            if free < reserve < held:  # a small worker is not what fills the memory
                raise too_much(
                    held, "and %s of the %s of %s were left" % (size(free), size(total), what), phase
                )

    def _room(self) -> list[tuple[str, int, int]]:
        """Return of each limit what it is, and the bytes that are free and there in all; none of what cannot be read."""
        found = []
        with suppress(OSError, KeyError):
            told = sizes((self._filesystem / "proc/meminfo").read_text(errors="replace"))
            found.append(("memory", told["MemAvailable"] << 10, told["MemTotal"] << 10))
        for group, limit_bytes, usage_file in self._limited:
            with suppress(OSError, ValueError):
                stat = sizes((group / "memory.stat").read_text(errors="replace"))
                cached = stat.get("total_inactive_file", stat.get("inactive_file", 0))
                used = int((group / usage_file).read_text()) - cached
                found.append(("this control group's memory", limit_bytes - used, limit_bytes))
        return found


def limited_groups(filesystem: Path) -> list[tuple[Path, int, str]]:
    """Return the own control groups whose memory is limited: folder, limit, and the file that tells what is used."""
    groups = find_groups(filesystem, "memory")
    if groups is None:
        return []
    limit_file, usage_file = (
        ("memory.max", "memory.current")
        if groups.version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    found = []
    for group in groups.own:
        # Version 2 writes max where there is no limit, version 1 nearly 2^63.
        with suppress(OSError, ValueError):
            found.append((group, int((group / limit_file).read_text()), usage_file))
    return found


def sizes(text: str) -> dict[str, int]:
    """Return the numbers of lines such as `MemTotal:  123 kB` or `inactive_file 123`, by name, as they stand there.

    >>> sizes("MemTotal:  12 kB\\nHugetlb\\ninactive_file 3")
    {'MemTotal': 12, 'inactive_file': 3}
    """
    return {name: int(number) for name, number in re.findall(r"^(\w+):? +(\d+)", text, re.MULTILINE)}


def too_much(held_bytes: int, than: str, phase: str) -> Refusal:
    """Return the refusal of a worker that holds too much memory."""
    message = (
        "the network needs more memory than there is: in phase %r its worker held %s, %s, and was ended; use smaller inputs, "
        "a smaller network or less precision, or end other programs there" % (phase, size(held_bytes), than)
    )
    return Refusal("out-of-memory", message, phase=phase)


def size(size_bytes: int) -> str:
    """Return a size for people.

    >>> size(1_500_000_000), size(20_000_000)
    ('1.50 GB', '20 MB')
    """
    return "%.2f GB" % (size_bytes / 1e9) if size_bytes >= 1e9 else "%.0f MB" % (size_bytes / 1e6)

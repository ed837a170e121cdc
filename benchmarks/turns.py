"""Two processes that share a core, one of them stopped at any time: what they time, they time in the same seconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

TURN_S = 0.3


def take_turns(first: int, second: int, turn_s: float = TURN_S) -> None:
    """Let one of two processes run at a time, the first first, until one has ended; then the other goes on alone."""
    try:
        while is_alive(first) and is_alive(second):
            for running, waiting in ((first, second), (second, first)):
                os.kill(waiting, signal.SIGSTOP)
                os.kill(running, signal.SIGCONT)
                time.sleep(turn_s)
    except ProcessLookupError:  # it ended between the look and the signal
        pass
    finally:
        for pid in filter(is_alive, (first, second)):
            os.kill(pid, signal.SIGCONT)


def find_worker(timeout_s: float = 60.0) -> int:
    """Wait for the worker of an agent that this process started, and return its process id.

    Raises: TimeoutError when none appears.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            status = read_status(int(folder.name))
            if status:
                parents[int(folder.name)] = int(status[1])
        for pid, parent in parents.items():
            if parents.get(parent) == os.getpid() and is_worker(pid):
                return pid
        time.sleep(0.02)
    raise TimeoutError(f"no worker of the agent appeared in {timeout_s:g} s")


def waited_ns(pid: int) -> int:
    """Return how long a process's first thread was ready but had no core so far, also of one that has just ended."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])


def is_worker(pid: int) -> bool:
    """Tell whether a process is the agent in its role of a worker."""
    try:
        return b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended
        return False


def is_alive(pid: int) -> bool:
    """Tell whether a process has not ended yet."""
    return state(pid) not in "XZ"


def state(pid: int) -> str:
    """Return a process's state as the kernel tells it: R, S, T (stopped), Z (ended, not yet waited for), X (gone)."""
    status = read_status(pid)
    return status[0] if status else "X"


def read_status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name: state, parent and more; none of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

"""Latency between the cores of a worker of several threads: how long until one core reads what another has written.

Threads that share a network hand over to each other at each of its operators. The host of a virtual machine moves the cores that
the guest sees, and may put them far apart, on different dies. No file tells of it, and no thread waits for a core. On one host a
value that went to and fro between two cores took 2.3 times as long then, a network of many small operators 28 % longer and one of
few large ones 4 %: ratios were wrong by up to 12 % (TFLite) and 35 % (ONNX Runtime), for seconds or for minutes.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
from contextlib import suppress
from math import inf
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from device_agents.runtimes import uses_accelerator

ROUND_TRIPS = 100  # of a block, some 30 us
BLOCKS = 15
# The block at this place, by rising time: an interrupt, or another program's turn, spoils the slowest.
COUNTED = 3
MOST_NS = 200_000_000  # of waiting for the other core: it has gone, or another program has it
LOOK_AT_CLOCK = 4096  # reads of the memory, after which a waiting core looks at the clock
ANSWER_S = 1.0
MOST_CORES = 8  # that are asked; of more, the first
THERE, BACK = 0, 512  # places in the shared memory, far enough apart that no cache fetches both at once
DESCRIPTORS = 65_536  # closed in the child: what a worker has open ends with the worker
VALUES = 250  # written in turn, from 1


class CoreToCore:
    """Latency between the first of a worker's cores and the farthest of the others, measured when asked for.

    A child process, forked before the runtime starts its threads, answers from the other cores; in between it sleeps.
    """

    def __init__(self, cores: list[int], filesystem: Path = Path("/")) -> None:
        """cores: those of the worker. With one of them, or where no process can be pinned, nothing is told."""
        self._cores = cores[:MOST_CORES]
        self._child = 0
        self._taken_ns: list[float] = []
        self._alone_ns = inf  # the least so far: what disturbs it would hide far cores
        self._is_guest = is_guest(filesystem)
        if len(self._cores) < 2 or not hasattr(os, "sched_setaffinity"):
            return
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the child
        self._line, line = socket.socketpair()
        self._line.settimeout(ANSWER_S)
        with suppress(OSError):
            self._child = os.fork()
            if not self._child:
                live(line, self._memory)
        line.close()

    @classmethod
    def of(cls, message: dict[str, Any]) -> CoreToCore:
        """Return that of a worker by its instructions; of one thread, and on an accelerator, nothing is told."""
        job = message["job"]
        provider = str(job["options"].get("provider", ""))
        return cls([] if job["threads"] == 1 or uses_accelerator(provider) else message["cores"])

    def begin(self, is_block: bool = False) -> None:
        """Measure for the first time in a network's session, or in a block: there `alone_ns` is of the block, too, since a clock
        that heat lowers lengthens both.
        """
        self._taken_ns = []
        if is_block:
            self._alone_ns = inf
        self.take()

    def take(self) -> None:
        """Measure once more; what cannot be measured is not told from then on."""
        found = self._farthest_ns() if self._child else None
        if found is None:
            self.end()
        else:
            self._taken_ns.append(found)

    def told(self) -> dict[str, Any]:
        """Return `ns`: the latencies since it began, one way; `alone_ns`: the time that the same reads and writes take on one
        core; `guest`: whether this is known to be a virtual machine. Empty where nothing is told.
        """
        if not self._child:
            return {}
        return {"ns": self._taken_ns, "alone_ns": self._alone_ns, "guest": self._is_guest}

    def end(self) -> None:
        if self._child:
            self._line.close()
            os.kill(self._child, signal.SIGKILL)  # a zombie until waited for, so the number is still its own
            os.waitpid(self._child, 0)
            self._child = 0

    def _farthest_ns(self) -> float | None:
        """Return the latency to the farthest core, one way, in ns; None where a core does not answer."""
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {self._cores[0]})
            self._alone_ns = min(self._alone_ns, block_ns(self._memory, THERE))
            trips_ns = [self._round_trip_ns(core) for core in self._cores[1:]]
        except (OSError, TimeoutError):  # a core went away, or another program has it
            return None
        finally:
            with suppress(OSError):
                os.sched_setaffinity(0, before)
        return max(0.0, max(trips_ns) - self._alone_ns) / 2

    def _round_trip_ns(self, core: int) -> float:
        self._memory[THERE] = self._memory[BACK] = 0
        self._line.send(b"%d" % core)
        if self._line.recv(1) != b"1":
            raise OSError("core %d cannot be had" % core)
        return block_ns(self._memory, BACK)


def live(line: socket.socket, memory: mmap.mmap) -> None:
    """Be the child: answer from each core that is asked for, until the worker is gone."""
    try:
        keep = line.fileno()
        os.closerange(0, keep)
        os.closerange(keep + 1, DESCRIPTORS)
        while True:
            asked = line.recv(16)
            if not asked:
                break
            try:
                os.sched_setaffinity(0, {int(asked)})
            except OSError:
                line.send(b"0")
                continue
            line.send(b"1")
            with suppress(TimeoutError):
                for turn in range(BLOCKS * ROUND_TRIPS):
                    value = 1 + turn % VALUES
                    wait_for(memory, THERE, value)
                    memory[BACK] = value
    finally:
        os._exit(0)  # whatever happened: the code that forked is the worker's alone


def block_ns(memory: mmap.mmap, where: int) -> float:
    """Write values and wait for each to appear at a place; return how long one of them takes, in ns. Raises: TimeoutError."""
    taken_ns = []
    for block in range(BLOCKS):
        begin_ns = perf_counter_ns()
        for turn in range(block * ROUND_TRIPS, (block + 1) * ROUND_TRIPS):
            value = 1 + turn % VALUES
            memory[THERE] = value
            wait_for(memory, where, value)
        taken_ns.append((perf_counter_ns() - begin_ns) / ROUND_TRIPS)
    return sorted(taken_ns)[COUNTED]


def wait_for(memory: mmap.mmap, where: int, value: int) -> None:
    """Read a place until it holds a value. Raises: TimeoutError."""
    reads = end_ns = 0
    while memory[where] != value:
        reads += 1
        if reads % LOOK_AT_CLOCK == 0:
            now_ns = perf_counter_ns()
            end_ns = end_ns or now_ns + MOST_NS
            if now_ns > end_ns:
                raise TimeoutError("the other core does not answer")


def is_guest(filesystem: Path) -> bool:
    """Return whether the processor says that it is a virtual machine's; False where it does not say (all but x86)."""
    try:
        with (filesystem / "proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            return any(line.startswith("flags") and " hypervisor" in line for line in file)
    except OSError:
        return False

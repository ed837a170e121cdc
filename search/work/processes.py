"""Child processes: spawned, connected to their parent by a pipe, and ended when it ends, however it does.

They are spawned, not forked: torch's threads do not survive a fork. So a script that runs units in processes needs
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from space.errors import HarnessError

_STOP_S = 5.0  # how long a process may take to end before it is killed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Child:
    """A child process and the parent's end of its pipe."""

    process: SpawnProcess
    link: Connection

    def heard(self) -> Any:
        """Return the child's first unread message; None where there is none: a child that was `ready` is then dead."""
        try:
            return self.link.recv() if self.link.poll() else None
        except (OSError, EOFError):
            return None


def start(target: Callable[..., None], *arguments: Any) -> Child:
    """Start `target(link, *arguments)` in a process of its own; `target` is a function of an importable module.

    Raises:
        HarnessError: the system starts no more, for want of memory, of files or of processes.
    """
    context = multiprocessing.get_context("spawn")
    try:
        ours, theirs = context.Pipe()
        process = context.Process(target=_begin, args=(target, theirs, *arguments), daemon=True)
        with _interrupts_held():
            process.start()
    except OSError as e:
        raise HarnessError(
            f"no more processes can be started: {e.strerror or e}; run fewer jobs at once, or raise the system's limits"
        ) from e
    theirs.close()  # so that the link ends when the process does
    return Child(process=process, link=ours)


def ready(children: Sequence[Child], timeout_s: float | None = None) -> list[Child]:
    """Wait until children send or die, and return them; messages sent before death are received first."""
    things = [thing for child in children for thing in (child.link, child.process.sentinel)]
    found = connection.wait(things, timeout_s)
    return [child for child in children if child.link in found or child.process.sentinel in found]


def stop(children: Sequence[Child]) -> list[str]:
    """End processes and return how each ended, for messages."""
    for child in children:
        child.process.terminate()
    ends = []
    for child in children:
        child.process.join(_STOP_S)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
        code = child.process.exitcode or 0
        ends.append(
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        )
        child.link.close()
        child.process.close()
    return ends


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # A process inherits which signals are blocked: Ctrl-C, which a terminal sends to all, then reaches the parent alone,
    # and the parent stops the others. The tracker, which spawning starts and which unblocks them, has to be there before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(target: Callable[..., None], link: Connection, *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(link, *arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # a parent that was killed could not stop this one

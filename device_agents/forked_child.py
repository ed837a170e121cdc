"""A forked child that does one thing in a session of its own, watched by a deadline, and always reaped."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import Callable

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
READY = "ready"
REFUSED = "refused: "
ANSWER_BYTES = 4096
DESCRIPTORS = 1024  # closed in the child: a lock or a pipe of the agent's must not outlive the agent in it


class Forked:
    """Fork; `prepare` runs at once, `work` when told to; the text that it returns is the answer."""

    def __init__(self, prepare: Callable[[], None], work: Callable[[], str], deadline_s: float) -> None:
        """deadline_s: when the child ends at the latest, even if this process has died. Raises: OSError."""
        self._end_s = time.monotonic() + deadline_s
        self._connection, connection = socket.socketpair()
        # No handler of the agent's runs in the child.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                live(connection, prepare, work, deadline_s, blocked)
        except OSError:
            self._connection.close()
            raise
        finally:
            connection.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def go(self) -> None:
        """Let the child begin its work."""
        try:
            self._connection.send(b"go")
        except OSError:
            pass  # it has ended; its answer tells

    def await_word(self) -> str | None:
        """Return READY or REFUSED with the reason, later the answer; '' of a child that ended, None once the deadline is over."""
        wait_s = max(0.0, self._end_s - time.monotonic())
        if not select.select([self._connection], [], [], wait_s)[0]:
            return None
        try:
            return self._connection.recv(ANSWER_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def end(self) -> None:
        self._connection.close()
        try:
            os.sched_setaffinity(self.pid, os.sched_getaffinity(0))  # where it gets a turn, to die in
        except (AttributeError, OSError):
            pass
        os.kill(self.pid, signal.SIGKILL)  # a zombie until waited for, so the number is still its own
        os.waitpid(self.pid, 0)


def live(
    connection: socket.socket,
    prepare: Callable[[], None],
    work: Callable[[], str],
    deadline_s: float,
    mask: set[int | signal.Signals],
) -> None:
    """Be the child: leave the parent's session, files and signals; prepare, wait, work, answer, and exit."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (*HANDLED, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
        os.closerange(0, connection.fileno())
        os.closerange(connection.fileno() + 1, DESCRIPTORS)
        os.setsid()
        try:
            prepare()
            message = READY
        except OSError as error:
            message = REFUSED + (error.strerror or str(error))
        connection.send(message.encode("utf-8"))
        if message == READY and connection.recv(2):  # nothing when the parent has died
            connection.send(work().encode("utf-8"))
    finally:
        os._exit(0)  # whatever happened: the code that forked is the parent's alone

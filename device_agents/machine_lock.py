"""One lock per machine, across accounts, folders and device names: an abstract socket named by the boot id."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from device_agents.refusal import Refusal

NAME_VARIABLE = "HARNESS_LOCK_NAME"
"""Another name than the boot's: for tests, and for agents that measure separate cores of a machine on purpose."""

HELD = "held"
WAITING = 4096  # asking who holds the lock fills this queue; nobody is named once it is full
TRIES = 5
TRY_WAIT_S = 0.02
COMMAND_CHARACTERS = 400


class MachineLock:
    """Held by a listening socket, so for as long as the process lives at most; `state` is HELD or says why not."""

    def __init__(self, filesystem: Path = Path("/")) -> None:
        self._filesystem = filesystem
        self._socket: socket.socket | None = None
        self.state = "not taken"

    def take(self) -> None:
        """Hold the machine; where the lock cannot be seen, only say so in `state`. Raises: Refusal (`busy`)."""
        if self._socket is not None:
            return
        try:
            self._socket = bind("\0harness-" + self._name())
        except (AttributeError, OSError, ValueError) as error:  # not on macOS; a name that is too long
            self.state = "not available: %s" % error
        else:
            self.state = HELD if self._is_seen() else "not available: in a network namespace of its own"

    @property
    def descriptor(self) -> int:
        """Return the socket's descriptor, -1 without one."""
        return self._socket.fileno() if self._socket is not None else -1

    def release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.state = "not taken"

    def _name(self) -> str:
        named = os.environ.get(NAME_VARIABLE)
        return named or (self._filesystem / "proc/sys/kernel/random/boot_id").read_text().strip()

    def _is_seen(self) -> bool:
        """Return whether the first process of the system would see the socket; yes where that may not be looked up."""
        try:
            sockets = (self._filesystem / "proc/1/net/unix").read_text(errors="replace")
        except OSError:
            return True
        inode = str(os.fstat(self._socket.fileno()).st_ino) if self._socket is not None else ""
        return any(line.split()[6:7] == [inode] for line in sockets.splitlines())


def bind(name: str) -> socket.socket:
    """Return a socket that listens under the name. Raises: Refusal (`busy`), OSError."""
    holder: dict[str, object] = {}
    for _ in range(TRIES):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(name)
            listener.listen(WAITING)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        holder = ask_holder(name)
        if holder:
            break
        time.sleep(TRY_WAIT_S)  # it is about to listen, or has just gone
    raise Refusal("busy", busy_message(holder), **holder)


def ask_holder(name: str) -> dict[str, object]:
    """Return `pid`, `user` and, where it may be read, `command` of who listens under a name; empty where it is not told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(name)
            data = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return {}
    pid, uid, _ = struct.unpack("3i", data)
    holder: dict[str, object] = {"user": user_name(uid)}
    if pid:  # 0 of a process in another namespace of processes
        holder["pid"] = pid
        with suppress(OSError):
            command = Path("/proc/%d/cmdline" % pid).read_bytes().replace(b"\0", b" ")
            holder["command"] = command.decode("utf-8", "replace").strip()[:COMMAND_CHARACTERS]
    return holder


def user_name(uid: int) -> str:
    """Return an account's name, its number where it has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def busy_message(holder: dict[str, object]) -> str:
    """Return who holds the machine, as far as is known, and what to do."""
    who = "another agent"
    if holder:
        who += " of user %r, process %s there" % (holder["user"], holder.get("pid", "in another container"))
        if holder.get("command"):
            who += " (%r)" % holder["command"]
    return (
        "the machine is in use by %s, and two campaigns would disturb each other; wait for it, or end that process; to "
        "measure separate cores on purpose, start each agent with a %s of its own" % (who, NAME_VARIABLE)
    )

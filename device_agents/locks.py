"""The locks that keep two campaigns off one device: held by a process, released by its end at the latest.

One is a file of the agent's folder, the other one per machine, across accounts, folders and device names: an abstract socket
named by the boot id.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import socket
import struct
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from device_agents.refusal import Refusal

NOTE_BYTES = 1 << 16
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
    raise Refusal("busy", busy_machine(holder), **holder)


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


def busy_machine(holder: dict[str, object]) -> str:
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


class DeviceLock:
    """The file `lock` under the agent's root, which tells of its owner, and then the machine's lock."""

    def __init__(self, root: Path, machine: MachineLock) -> None:
        self._path = root / "lock"
        self._machine = machine
        self._fd = -1

    @property
    def machine_lock(self) -> str:
        """Return `held`, or why the machine's lock is not."""
        return self._machine.state

    @property
    def descriptors(self) -> list[int]:
        """Return the descriptors that a process must keep open to hold the device too."""
        return [fd for fd in (self._fd, self._machine.descriptor) if fd >= 0]

    def take(self, owner: str) -> None:
        """Hold the device for `owner` until `release` or the end of this process. Raises: Refusal (`busy`), OSError."""
        if self._fd < 0:
            fd = os.open(str(self._path), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note = read_note(fd)
                os.close(fd)
                raise Refusal("busy", busy_device(note), **note) from None
            self._fd = fd
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        note_text = json.dumps({"owner": owner, "pid": os.getpid(), "since_utc": since})
        with suppress(OSError):  # a full disk: the lock holds without a note, and parts can be evicted
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, note_text.encode("utf-8"), 0)
        try:
            self._machine.take()
        except Refusal:
            self.release()  # who waits for the machine keeps nobody off the folder
            raise

    def release(self) -> None:
        """Let both locks go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._machine.release()

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Hold the device for a while, unless this agent does so anyway. Raises: Refusal (`busy`), OSError."""
        if self._fd >= 0:
            yield
            return
        self.take(owner)
        try:
            yield
        finally:
            self.release()


def read_note(fd: int) -> dict[str, object]:
    """Return the holder's note on itself; empty while it is being written."""
    try:
        note = json.loads(os.pread(fd, NOTE_BYTES, 0).decode("utf-8"))
    except ValueError:
        return {}
    if not isinstance(note, dict):
        return {}
    return {key: note.get(key) for key in ("owner", "pid", "since_utc")}


def busy_device(note: dict[str, object]) -> str:
    """Return who holds the device, as far as is known, and what to do."""
    if not note:
        return "the device is locked by another agent; wait for it"
    return "the device is in use by %r (process %s there, since %s); wait for it, or end that process" % (
        note.get("owner"),
        note.get("pid"),
        note.get("since_utc"),
    )

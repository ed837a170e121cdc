"""The locks that keep two campaigns off one device: held by a process, released by its end at the latest."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from device_agents.machine_lock import MachineLock
from device_agents.refusal import Refusal

NOTE_BYTES = 1 << 16


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
                raise Refusal("busy", busy_message(note), **note) from None
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


def busy_message(note: dict[str, object]) -> str:
    """Return who holds the device, as far as is known, and what to do."""
    if not note:
        return "the device is locked by another agent; wait for it"
    return "the device is in use by %r (process %s there, since %s); wait for it, or end that process" % (
        note.get("owner"),
        note.get("pid"),
        note.get("since_utc"),
    )

"""The lock of a phone that adb alone reaches, a file of this account for each serial: nothing runs there that could hold one.

A phone whose agent measures has the agent's lock (`harness.devices.connection`), which this one does not know.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.devices.adb.serials import check_serial
from harness.devices.connection import GRACE_S, POLL_S, SAY_S, clock
from harness.errors import Cancelled, DeviceError
from space.errors import ConfigError
from space.user_paths import cache_folder

_NOTE_BYTES = 4096


@contextmanager
def held_phone(
    serial: str,
    who: str,
    *,
    owner: str,
    wait_s: float,
    say: Callable[[str], None],
    cancel: threading.Event,
) -> Iterator[None]:
    """Hold the phone of a serial number, after a wait where another campaign of this account does.

    `wait_s`: for how long, infinite without end; a campaign of this very process is waited for whatever it is. `who` names the
    device, `owner` this campaign to those that wait, `say` is told whom it waits for. The system lets go of the lock when the
    process ends, however it ends.
    Raises: DeviceError where it is waited for in vain; ConfigError where there can be no lock; Cancelled.
    """
    check_serial(serial)  # no name of another folder's file
    path = cache_folder("phones") / f"{serial}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(file, who, wait_s, say, cancel)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"owner": owner, "pid": os.getpid()}).encode(), 0)
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be locked: {error.strerror or error}; set HARNESS_CACHE to a folder on a disk that has locks"
        ) from error
    try:
        yield
    finally:
        os.close(file)


def _take(file: int, who: str, wait_s: float, say: Callable[[str], None], cancel: threading.Event) -> None:
    """Take the lock of an open file. Raises: DeviceError, Cancelled, OSError."""
    began_s, said_s = time.monotonic(), -math.inf
    while not cancel.is_set():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            owner, pid = _holder(file)
        waited_s = time.monotonic() - began_s
        limit_s = math.inf if pid == os.getpid() else max(GRACE_S, wait_s)
        if waited_s >= limit_s:
            hint = f"waited {clock(waited_s)} for it" if wait_s else "--wait waits for it"
            raise DeviceError(f"{who}: the phone is in use by {owner}; {hint}")
        if limit_s > GRACE_S and waited_s - said_s >= SAY_S:
            said_s, most = waited_s, "" if limit_s == math.inf else f" of {clock(limit_s)}"
            say(f"waiting: in use by {owner}; {clock(waited_s)}{most}")
        cancel.wait(POLL_S)
    raise Cancelled


def _holder(file: int) -> tuple[str, int]:
    """Return who holds the lock, in words, and its process, 0 while it is writing that."""
    try:
        note = json.loads(os.pread(file, _NOTE_BYTES, 0))
        return f"{str(note['owner'])!r}", int(note["pid"])
    except (ValueError, KeyError, TypeError):
        return "another campaign", 0

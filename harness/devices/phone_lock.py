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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.devices.connection import GRACE_S, POLL_S, SAY_S
from harness.devices.destination import check_serial
from harness.devices.link import OnConnecting, Waiting
from harness.errors import Cancelled, DeviceError
from space.errors import ConfigError
from space.text import clock
from space.user_paths import cache_folder

_NOTE_BYTES = 4096
_holders: set[str] = set()  # owners of this process that hold a phone now


@contextmanager
def held_phone(
    serial: str,
    who: str,
    *,
    owner: str,
    wait_s: float,
    on_progress: OnConnecting,
    cancel: threading.Event,
) -> Iterator[None]:
    """Hold the phone of a serial number, after a wait where another campaign of this account does.

    `wait_s`: for how long, infinite without end; a campaign of this very process is waited for whatever it is. `who` names the
    device, `owner` this campaign to those that wait, and nothing else anywhere (`new_owner`), `on_progress` is told
    whom it waits for. The system lets go of the lock when the process ends, however it ends.
    Raises: DeviceError where it is waited for in vain; ConfigError where there can be no lock; Cancelled.
    """
    check_serial(serial)  # no name of another folder's file
    path = cache_folder("phones") / f"{serial}.lock"
    with _locks(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait(file, path, who, wait_s, on_progress, cancel)
        with _locks(path):
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"owner": owner}).encode(), 0)
        _holders.add(owner)
        yield
    finally:
        os.close(file)
        _holders.discard(owner)


@contextmanager
def _locks(path: Path) -> Iterator[None]:
    """Turn a failure of the lock's file into an error with a remedy. Raises: ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be locked: {error.strerror or error}; set HARNESS_CACHE to a folder on a disk that has locks"
        ) from error


def _wait(
    file: int, path: Path, who: str, wait_s: float, on_progress: OnConnecting, cancel: threading.Event
) -> None:
    """Take the lock of an open file once it is free. Raises: DeviceError, Cancelled, ConfigError; what `on_progress` does."""
    began_s, said_s = time.monotonic(), -math.inf
    while not cancel.is_set():
        with _locks(path):
            if _take(file):
                return
            owner = _holder(file)
        waited_s = time.monotonic() - began_s
        limit_s = math.inf if owner in _holders else max(GRACE_S, wait_s)
        by = repr(owner) if owner else "another campaign"
        if waited_s >= limit_s:
            hint = f"waited {clock(waited_s)} for it" if wait_s else "--wait waits for it"
            raise DeviceError(who, f"the phone is in use by {by}; {hint}")
        if limit_s > GRACE_S and waited_s - said_s >= SAY_S:
            said_s = waited_s
            on_progress(Waiting(reason=f"in use by {by}", waited_s=waited_s, limit_s=limit_s))
        cancel.wait(POLL_S)
    raise Cancelled


def _take(file: int) -> bool:
    """Take the lock of an open file if it is free, and return whether it was. Raises: OSError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> str:
    """Return the owner that holds the lock; nothing while it is writing that."""
    try:
        return str(json.loads(os.pread(file, _NOTE_BYTES, 0))["owner"])
    except (ValueError, KeyError, TypeError):
        return ""

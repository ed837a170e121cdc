"""A connection to a device's agent, reopened when it breaks."""

from __future__ import annotations

import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.devices.adb.client import Adb
from harness.devices.adb.clock import read_offset
from harness.devices.adb.watch import PhoneWatch
from harness.devices.client import ISOLATED, AgentClient, Deployment, deploy
from harness.devices.config import Device, SshDevice, default_python
from harness.devices.link import Attempt, OnConnecting, Waiting
from harness.devices.transports.contract import Transport
from harness.errors import AgentError, Cancelled, DeviceError, LinkError
from space.assembly import Assembly
from space.errors import ConfigError
from space.system_errors import remedy_for
from space.text import clock
from space.user_paths import expand_user

# One that is stopped heeds nothing before it is let go on.
_END = "import os, signal, sys; [os.kill(int(sys.argv[1]), one) for one in (signal.SIGTERM, signal.SIGCONT)]"
GRACE_S = 10.0  # for a device in use, without being asked to wait: an agent that ends, or a doctor's look
POLL_S = 0.5
SAY_S = 30.0
_holders: set[str] = set()  # owners of this process that hold a device now
RECONNECT_WAITS_S = (1.0, 5.0, 15.0, 60.0)  # a board that reboots is back within these
LITERT = "libLiteRt.so"
MAX_LIBRARIES = 64  # the agent's own limit


class Connection:
    """Connection of one campaign: transport, deployed agent and its client; the device is locked while it is open.

    A locked phone that adb reaches is watched: `phone`.

    `wait_s`: for how long a device in use is waited for, infinite without end. `machine_lock` is `held`, or says why the
    machine's lock, which keeps other accounts and folders away, is not. `board`: what the board is set to until it is closed.
    `runtimes`: names of those that the device is asked about, all where none is named; with `or_all`, all where it has none.
    """

    def __init__(
        self,
        device: Device,
        transport: Transport,
        *,
        owner: str,
        wait_s: float = 0.0,
        runtimes: Sequence[str] = (),
        or_all: bool = True,
    ) -> None:
        self._device, self._transport, self._owner, self._wait_s = device, transport, owner, wait_s
        self.runtimes, self._or_all = tuple(runtimes), or_all
        self._adb: Adb | None = None
        if isinstance(device, SshDevice) and device.adb:
            self._adb = Adb(device.adb, f"device {device.name!r} ({device.where})")
        self._client: AgentClient | None = None
        self._sent_bytes = 0
        self._unanswered: dict[str, list[tuple[int, int]]] = {}  # of the client whose link broke
        self.deployment: Deployment | None = None
        self.hello: dict[str, Any] = {}
        self.machine_lock = ""
        self.phone: PhoneWatch | None = None
        self.board: dict[str, Any] = {}

    @property
    def client(self) -> AgentClient:
        """Return the agent's client. Raises: LinkError when the connection is not open."""
        if self._client is None:
            raise LinkError(self._device.who, "not connected")
        return self._client

    @property
    def agent_digest(self) -> str:
        """Return the sha256 hex of the agent that runs on the device."""
        return self.deployment.digest if self.deployment else ""

    @property
    def sent_bytes(self) -> int:
        """Return the bytes of model parts sent over this connection so far."""
        return self._sent_bytes + (self._client.sent_bytes if self._client else 0)

    def open(
        self,
        *,
        lock: bool = True,
        retry: bool = False,
        on_progress: OnConnecting = lambda event: None,
        cancel: threading.Event | None = None,
    ) -> None:
        """Connect, deploy, start the agent, greet it and take the device's lock, waited for as long as the connection may.

        `retry`: where the connection breaks after it was there once, reconnect as after a later break, unless the device says
        what is to be mended. `on_progress` is told whom it waits for. Raises: DeviceError naming what failed and the remedy;
        Cancelled once `cancel` is set.
        """
        cancel = cancel or threading.Event()
        self._transport.connect()
        if lock and self._adb is not None:
            self._adb.check()
        try:
            self._greet()
            if lock:
                self._lock(on_progress, cancel)
                self._watch_phone()
        except LinkError as error:
            if not retry or remedy_for(error):
                raise
            self.reopen(on_progress, cancel)

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        """Reconnect after the connection broke: at once, then after growing waits.

        Raises: DeviceError when the device stays away; Cancelled once `cancel` is set.
        """
        attempts, reason = len(RECONNECT_WAITS_S) + 1, ""
        for attempt, wait_s in enumerate((*RECONNECT_WAITS_S, 0.0), start=1):
            self.close()
            is_open = False
            try:
                self.open(on_progress=on_progress, cancel=cancel)
                is_open = True
            except LinkError as error:
                reason, next_s = error.reason, wait_s if attempt < attempts else None
                on_progress(Attempt(number=attempt, attempts=attempts, reason=reason, next_s=next_s))
                cancel.wait(wait_s)
            if cancel.is_set():
                raise Cancelled()
            if is_open:
                return
        self.close()
        raise DeviceError(
            self._device.who,
            f"lost, {attempts} attempts to reconnect failed, the last with: {reason}; what was measured is stored, "
            "the same command goes on from here",
        )

    def _greet(self) -> None:
        self.deployment = deploy(self._transport, self._device)
        self._client = AgentClient.start(self._transport, self._device, self.deployment, self._unanswered)
        carried = carried_libraries(self._device)
        self._client.send_models(list(carried.values()))
        digests = {name: one.digest for name, one in carried.items()}
        self.hello = self._client.hello(self._device.worker_environment, digests, self.runtimes)
        if self.runtimes and self._or_all and not self.hello["runtimes"]:
            self.hello = self._client.hello(self._device.worker_environment, digests)  # what there is instead

    def _watch_phone(self) -> None:
        """Begin to watch a phone through adb, now that no other campaign does. Raises: DeviceError."""
        device = self._device
        if self._adb is None or not isinstance(device, SshDevice):
            return
        self.phone = PhoneWatch(
            self._adb,
            fixed=device.fixed_performance,
            offset=lambda: read_offset(self._transport, default_python(device)),
        )
        self.phone.open()

    def _lock(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        """Take the device's lock, after a wait where another holds it; who waits keeps its agent, or connects anew.

        Raises: DeviceError when it is waited for in vain; Cancelled.
        """
        began_s, said_s = time.monotonic(), -math.inf
        while not cancel.is_set():
            try:
                if self._client is None:
                    self._transport.connect()
                    self._greet()
                self._keep(self.client.lock(self._owner, self._device.board_settings))
                _holders.add(self._owner)
                return
            except (AgentError, LinkError) as error:
                waited_s, limit_s = time.monotonic() - began_s, self._limit_s(error)
                if waited_s >= limit_s:
                    if isinstance(error, LinkError) or error.kind != "busy":
                        raise
                    hint = f"; waited {clock(waited_s)} for it" if self._wait_s else "; --wait waits for it"
                    raise DeviceError(*error.args[:-1], f"{error.args[-1]}{hint}") from error
                if isinstance(error, LinkError):
                    self.close()
                else:
                    self._end_former(error)
                if limit_s > GRACE_S and waited_s - said_s >= SAY_S:
                    said_s = waited_s
                    on_progress(Waiting(reason=self._reason(error), waited_s=waited_s, limit_s=limit_s))
            cancel.wait(POLL_S)
        raise Cancelled

    def _keep(self, locked: Mapping[str, Any]) -> None:
        """Note what taking the lock has changed: of a board that was set, which cores are on."""
        self.machine_lock = locked["machine_lock"]
        self.board = locked.get("board") or {}
        self.hello |= {key: locked[key] for key in ("cores", "clusters", "siblings") if key in locked}

    def _reason(self, error: DeviceError) -> str:
        """Return the cause of a wait, in as few words as the error has for it."""
        text = error.reason.removeprefix("the device is ")
        return text.partition("; wait for it")[0]

    def _limit_s(self, error: AgentError | LinkError) -> float:
        """Return for how long to try again after an error; for ever if another campaign of this very process is in the way."""
        if isinstance(error, LinkError):
            return self._wait_s
        if error.kind != "busy":
            return 0.0
        is_held_here = error.details.get("owner") in _holders - {self._owner}
        return math.inf if is_held_here else max(GRACE_S, self._wait_s)

    def _end_former(self, error: AgentError) -> None:
        """End the agent that this connection had before it broke, if that is who holds the device."""
        pid = error.details.get("pid")
        if error.details.get("owner") == self._owner and type(pid) is int and pid > 1:
            self._transport.run([default_python(self._device), *ISOLATED, "-c", _END, str(pid)])

    def close(self) -> None:
        """End the watch of a phone, the agent and the connection.

        Raises: DeviceError, once all else is ended, where a phone stays in fixed-performance mode.
        """
        phone, self.phone = self.phone, None
        try:
            if phone is not None:
                phone.close()
        finally:
            self._close_agent()

    def _close_agent(self) -> None:
        _holders.discard(self._owner)
        if self._client is not None:
            self._sent_bytes += self._client.sent_bytes
            self._unanswered = self._client.unanswered
            self._client.close()
            self._client = None
        self._transport.close()


def new_owner(what: str = "harness") -> str:
    """Return a name to hold a device by, another one each time: it says who holds it to all that wait."""
    return f"{what} on {socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(4)}"


def carried_libraries(device: Device) -> dict[str, Assembly]:
    """Return LiteRT's libraries that devices.toml has carried to a device, by name; none where it names no folder.

    Raises: ConfigError for a folder without LiteRT's library, with too many files, or one that cannot be read.
    """
    if not device.litert_carry:
        return {}
    folder = expand_user(Path(device.litert_carry))
    files = sorted(path for path in folder.glob("*.so") if path.is_file())
    place = f"[devices.{device.name}] litert_carry = {device.litert_carry!r}"
    if LITERT not in (path.name for path in files):
        raise ConfigError(
            f"{place}: the folder holds no {LITERT}; put LiteRT's libraries for the device there"
        )
    if len(files) > MAX_LIBRARIES:
        raise ConfigError(
            f"{place}: the folder holds {len(files)} libraries; {MAX_LIBRARIES} at most can be sent"
        )
    libraries = {}
    for path in files:
        try:
            libraries[path.name] = Assembly.of_bytes(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from error
    return libraries

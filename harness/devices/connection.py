"""A connection to a device's agent, reopened when it breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from harness.devices.client import ISOLATED, AgentClient, Deployment, deploy
from harness.devices.config import Device, default_python
from harness.devices.transports.contract import Transport
from harness.errors import AgentError, DeviceError, LinkError

_END = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGTERM)"
RECONNECT_WAITS_S = (1.0, 5.0, 15.0, 60.0)  # a board that reboots is back within these


class Connection:
    """Connection of one campaign: transport, deployed agent and its client; the device is locked while it is open.

    `machine_lock` is `held`, or says why the machine's lock, which keeps other accounts and folders away, is not.
    """

    def __init__(self, device: Device, transport: Transport, *, owner: str) -> None:
        self._device, self._transport, self._owner = device, transport, owner
        self._client: AgentClient | None = None
        self._sent_bytes = 0
        self.deployment: Deployment | None = None
        self.hello: dict[str, Any] = {}
        self.machine_lock = ""

    @property
    def client(self) -> AgentClient:
        """Return the agent's client. Raises: LinkError when the connection is not open."""
        if self._client is None:
            raise LinkError(f"device {self._device.name!r}: not connected")
        return self._client

    @property
    def agent_digest(self) -> str:
        """Return the sha256 hex of the agent that runs on the device."""
        return self.deployment.digest if self.deployment else ""

    @property
    def sent_bytes(self) -> int:
        """Return the bytes of model parts sent over this connection so far."""
        return self._sent_bytes + (self._client.sent_bytes if self._client else 0)

    def open(self, *, lock: bool = True) -> None:
        """Connect, deploy, start the agent, greet it and take the device's lock.

        Raises: DeviceError naming what failed and the remedy.
        """
        self._transport.connect()
        self.deployment = deploy(self._transport, self._device)
        self._client = AgentClient.start(self._transport, self._device, self.deployment)
        self.hello = self._client.hello()
        if lock:
            try:
                self._lock()
            except AgentError as error:
                if error.kind != "busy":
                    raise
                raise DeviceError(str(error)) from error

    def reopen(self, say: Callable[[str], None], cancel: threading.Event) -> None:
        """Reconnect after the connection broke: at once, then after growing waits, until `cancel` is set.

        Raises: DeviceError when the device stays away.
        """
        attempts = len(RECONNECT_WAITS_S) + 1
        for attempt, wait_s in enumerate((*RECONNECT_WAITS_S, 0.0), start=1):
            self.close()
            try:
                self.open()
                return
            except LinkError as error:
                then = f"; next in {wait_s:g} s" if attempt < attempts else ""
                say(f"attempt {attempt} of {attempts}: {error}{then}")
            if cancel.wait(wait_s):
                return
        self.close()
        raise DeviceError(
            f"device {self._device.name!r}: lost, {attempts} attempts to reconnect failed; what was measured is stored, "
            "the same command goes on from here"
        )

    def _lock(self) -> None:
        """Take the device's lock; end a former agent of this connection that has not noticed the break."""
        try:
            self.machine_lock = self.client.lock(self._owner, wait_s=0.0)
        except AgentError as error:
            pid = error.details.get("pid")
            if error.details.get("owner") == self._owner and type(pid) is int and pid > 1:
                self._transport.run([default_python(self._device), *ISOLATED, "-c", _END, str(pid)])
            self.machine_lock = self.client.lock(self._owner)

    def close(self) -> None:
        """End the agent and the connection."""
        if self._client is not None:
            self._sent_bytes += self._client.sent_bytes
            self._client.close()
            self._client = None
        self._transport.close()

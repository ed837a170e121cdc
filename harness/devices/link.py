"""The link to a device's agent as a campaign uses it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from harness.devices.adb.watch import PhoneWatch
from harness.devices.client import AgentClient
from harness.devices.events import OnConnecting


class Link(Protocol):
    """Link to a device's agent: a connection, or the record of one."""

    @property
    def client(self) -> AgentClient:
        """Return the agent's client. Raises: LinkError when the link is not open."""

    @property
    def hello(self) -> Mapping[str, Any]:
        """Return the agent's description of the device."""

    @property
    def agent_digest(self) -> str:
        """Return the sha256 hex of the agent that runs on the device."""

    @property
    def sent_bytes(self) -> int:
        """Return the bytes of model parts sent so far."""

    @property
    def phone(self) -> PhoneWatch | None:
        """Return the phone's watch through adb; None where the device has none."""

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        """Connect again after the link broke. Raises: DeviceError when the device stays away."""


def probe_conditions(link: Link) -> dict[str, Any]:
    """Return the device's conditions now, with what adb tells beside. Raises: LinkError, AgentError."""
    conditions = link.client.probe()
    return link.phone.beside(conditions) if link.phone is not None else conditions

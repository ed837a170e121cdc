"""The link to a device's agent as a campaign uses it, and events of a connection: values that `str` makes text of."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harness.devices.adb.watch import PhoneWatch
from harness.devices.client import AgentClient
from space.text import clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A device that is in use, or away, is waited for; `limit_s` is infinite where that has no end."""

    reason: str
    waited_s: float
    limit_s: float

    def __str__(self) -> str:
        most = "" if self.limit_s == math.inf else f" of {clock(self.limit_s)}"
        return f"waiting: {self.reason}; {clock(self.waited_s)}{most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt to reconnect failed; the next is in `next_s`, None after the last."""

    number: int
    attempts: int
    reason: str
    next_s: float | None

    def __str__(self) -> str:
        then = "" if self.next_s is None else f"; next in {self.next_s:g} s"
        return f"attempt {self.number} of {self.attempts}: {self.reason}{then}"


OnConnecting = Callable[[Waiting | Attempt], None]


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
        """Connect again after the link broke. Raises: DeviceError when the device stays away; Cancelled."""


def probe_conditions(link: Link) -> dict[str, Any]:
    """Return the device's conditions now, with what adb tells beside. Raises: LinkError, AgentError."""
    return dict(beside(link, link.client.probe()))


def beside(link: Link, conditions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a device's conditions with what adb tells beside, where it is watched."""
    return conditions if link.phone is None else link.phone.beside(conditions)

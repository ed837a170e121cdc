"""Progress events of a campaign on a device: plain values, of which `str` makes text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.devices.link import Attempt, Waiting
from harness.measurement.workload import RuntimePlan
from space.text import clock, counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """A device is connected to; `by` names the program where that is no agent's link."""

    by: str = ""

    def __str__(self) -> str:
        return f"connecting by {self.by}" if self.by else "connecting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting:
    """The connection broke, and is opened again."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; reconnecting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """The models of a format are made."""

    precisions: tuple[str, ...]
    model_format: str

    def __str__(self) -> str:
        return f"preparing {', '.join(self.precisions)} {self.model_format} models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Models are sent: `done_bytes` so far, where the rate is known.

    >>> str(Sending(done_bytes=3_200_000, total_bytes=24_100_000, bytes_per_s=98_000))
    'sending 3.2 of 24.1 MB, 3:33 left, 98 KB/s'
    """

    total_bytes: int
    done_bytes: int = 0
    bytes_per_s: float | None = None

    def __str__(self) -> str:
        total = f"{self.total_bytes / 1e6:.1f} MB"
        if self.bytes_per_s is None:
            return f"sending {total}"
        left = clock((self.total_bytes - self.done_bytes) / self.bytes_per_s)
        rate = f"{self.bytes_per_s / 1e3:,.0f} KB/s"
        return f"sending {self.done_bytes / 1e6:.1f} of {total}, {left} left, {rate}"  # the first words fit beside a bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrating:
    """A session of the reference against itself begins."""

    runtime: str
    number: int
    sessions: int

    def __str__(self) -> str:
        return f"calibrating {self.runtime}, {self.number} of {self.sessions}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unready:
    """A device that is hot or throttled is waited for: `closed` has reasons against a session, by their causes."""

    closed: Mapping[str, str]

    def __str__(self) -> str:
        return f"waiting for the device: {'; '.join(self.closed.values())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyCores:
    """Cores that other programs hold are waited for."""

    def __str__(self) -> str:
        return "waiting for a free core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """A network is measured in a runtime; `progress` tells how far, where it takes long."""

    runtime: str
    architecture: str
    progress: str = ""

    def __str__(self) -> str:
        return f"{self.runtime} {self.architecture}{self.progress and ': '}{self.progress}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """Sessions that were `throttled`, or else disturbed, are measured again, after `wait_s`."""

    sessions: int
    throttled: bool
    wait_s: float = 0.0

    def __str__(self) -> str:
        which = counted(self.sessions, "session was", "sessions were")
        how = "throttled" if self.throttled else "disturbed by another program"
        return f"{which} {how}; again{f' in {self.wait_s:.0f} s' if self.wait_s else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Plain step of a campaign, beside the above."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A message for people, which stays visible."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsPlanned:
    """So many more sessions are to be measured; `later` names what has further ones, whose number is not known yet."""

    sessions: int
    later: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{counted(self.sessions, 'session')} to measure"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDone:
    """A session ended; `failure` says why it has no result, empty where it has."""

    failure: str = ""

    def __str__(self) -> str:
        return f"failed: {self.failure}" if self.failure else "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstNumbers:
    """Every network of a runtime plan has one more session; `left` of its sessions are to be measured."""

    plan: RuntimePlan
    left: int

    def __str__(self) -> str:
        return f"every network has a session in {self.plan.title}, {self.left} sessions left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A campaign ended while others go on; `trouble` says what went wrong, if anything did."""

    trouble: str = ""

    def __str__(self) -> str:
        return f"ended{self.trouble and ': '}{self.trouble}"


Event = (
    Connecting
    | Waiting
    | Attempt
    | Reconnecting
    | Preparing
    | Sending
    | Calibrating
    | Unready
    | BusyCores
    | Measuring
    | Repeating
    | Activity
    | Note
    | SessionsPlanned
    | SessionDone
    | FirstNumbers
    | Ended
)
OnProgress = Callable[[Event], None]

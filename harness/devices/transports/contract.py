"""The contract of transports: four verbs, and the result of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_OUTPUT_BYTES = 1 << 20  # of a short command; more is an error, not a memory hog


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCommand:
    """Result of a short command: exit status, standard output and the end of standard error."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text, whatever bytes it holds."""
        return self.stdout.decode("utf-8", "replace")


class Channel(Protocol):
    """The three streams of a started command."""

    def write(self, data: bytes, timeout_s: float) -> None:
        """Write all of `data`. Raises: LinkError when the other end is gone or takes longer than `timeout_s`."""

    def read(self, size: int, timeout_s: float) -> bytes:
        """Read 1 to `size` bytes; empty at the end. Raises: LinkError when nothing comes for `timeout_s`."""

    def stderr_tail(self) -> str:
        """Return the last 4 KiB that the command wrote to standard error so far."""

    def close(self) -> None:
        """End the command: its standard input ends, then the channel."""


class Transport(Protocol):
    """Transport to a device. Every verb raises DeviceError (LinkError for a broken connection)."""

    def connect(self) -> None:
        """Connect, or do nothing when connected."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> CompletedCommand:
        """Run a command to its end, feeding `stdin`."""

    def start(self, argv: Sequence[str]) -> Channel:
        """Start a long-running command."""

    def close(self) -> None:
        """Close the connection and end every command started through it."""

"""The phone's monotonic clock against this machine's, with the error that is known to be the most.

What `adb shell` tells has no time of the phone's clock, in which slices and samples of a session are dated. So the phone's Python
is asked for its clock over SSH some times, and the shortest round trip counts (Cristian, "Probabilistic clock synchronization",
1989): the clock was read at some time within it, so the offset is known to half of it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from harness.devices.client import ISOLATED
from harness.devices.transports.contract import Channel, Transport
from harness.errors import LinkError

ROUNDS = 5
TIMEOUT_S = 15.0
# Linux slews a clock by 500 ppm at most (adjtimex(2)); the phone's and this machine's may go apart.
DRIFT = 1e-3
_ANSWER = """
import sys, time
for _ in sys.stdin:
    print("\\nHARNESS-CLOCK %d" % time.perf_counter_ns(), flush=True)
"""
_TOLD = re.compile(rb"\nHARNESS-CLOCK ([0-9]{1,18})\n")
_KEPT_BYTES = 200


def since_boot_ns() -> int:
    """Return a clock that nobody sets, in ns; it goes on while this machine is suspended, where the system has such a one."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """This machine's clock, `since_boot_ns`, minus the phone's, in ns, known to `error_ns` at `known_ns` of this machine's."""

    offset_ns: int
    error_ns: int
    known_ns: int

    def on_phone(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """Return the time of the phone's clock, in ns, of what was read between two times of this machine's, and its error."""
        middle_ns = (from_ns + to_ns) // 2
        age_ns = max(abs(from_ns - self.known_ns), abs(to_ns - self.known_ns))
        error_ns = self.error_ns + (to_ns - from_ns + 1) // 2 + round(age_ns * DRIFT)
        return middle_ns - self.offset_ns, error_ns


def read_offset(transport: Transport, python: str) -> ClockOffset:
    """Ask the phone's Python for its clock over SSH. Raises: LinkError when it does not answer with one."""
    channel = transport.start([python, *ISOLATED, "-c", _ANSWER])
    try:
        trips = []
        for _ in range(ROUNDS):
            sent_ns = since_boot_ns()
            channel.write(b"\n", TIMEOUT_S)
            phone_ns = _read_number(channel)
            trips.append((since_boot_ns() - sent_ns, sent_ns, phone_ns))
    finally:
        channel.close()
    trip_ns, sent_ns, phone_ns = min(trips)
    return ClockOffset(
        offset_ns=sent_ns + trip_ns // 2 - phone_ns, error_ns=(trip_ns + 1) // 2, known_ns=sent_ns + trip_ns
    )


def _read_number(channel: Channel) -> int:
    """Read on to the next time that is told: a login may greet before. Raises: LinkError."""
    deadline_s, said = time.monotonic() + TIMEOUT_S, b""
    while piece := channel.read(1, max(0.0, deadline_s - time.monotonic())):
        said = (said + piece)[-_KEPT_BYTES:]
        if found := _TOLD.search(said):
            return int(found[1])
    raise LinkError(f"the device's Python tells no clock: {said!r}; {channel.stderr_tail()[-200:]!r}")

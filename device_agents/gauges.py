"""Common rules of energy gauges, read by the agent or through adb: their period, and the sum of a battery's values.

As rules of their own in Python 3.8: the agent reads the gauges of its device, and the harness a phone's by adb.
"""

from __future__ import annotations

import time
from typing import Any, Callable

DISCHARGING = "Discharging"
BATTERY_SCOPE = "the whole device, screen and radios too"
# What a battery can tell. A phone that computes takes more than the least; drivers that tell mA or mV tell less.
# https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-class-power and https://github.com/google/perfetto/issues/1441
PLAUSIBLE_UA = (10000, 20000000)
PLAUSIBLE_UV = (2500000, 60000000)
POLL_S = 0.005
CHANGES = 12  # of its value, that tell how often a sensor measures
FAST_S, PATIENCE_S = 3.0, 60.0
FEWEST_CHANGES = 3


def battery_power_uw(current_ua: int, voltage_uv: int) -> int:
    """Return the power in uW that a discharging battery gives, whatever sign its driver gives the current. Raises: ValueError."""
    for name, value, unit, (least, most) in (
        ("current_now", abs(current_ua), "uA", PLAUSIBLE_UA),
        ("voltage_now", voltage_uv, "uV", PLAUSIBLE_UV),
    ):
        if not least <= value <= most:
            raise ValueError(
                "battery: %s = %d is no plausible number of %s; some makers tell another unit, or nothing"
                % (name, value, unit)
            )
    return abs(current_ua) * voltage_uv // 1000000


def find_update_s(latest: Callable[[], Any], clock_s: Callable[[], float] = time.monotonic) -> float | None:
    """Return how often a sensor measures, which `latest` tells by another value; None where it does not within a minute.

    Sensors measure at a period of their own, from a millisecond (RAPL) to half a minute (some batteries); reads in between give
    the same value again.
    """
    from statistics import median  # late: the agent's start counts

    begin_s = clock_s()
    changes_s: list[float] = []
    last: Any = None
    while True:
        value = latest()
        now_s = clock_s()
        if last is not None and value is not None and value != last:
            changes_s.append(now_s)
        last = last if value is None else value
        passed_s = now_s - begin_s
        is_known = len(changes_s) >= FEWEST_CHANGES
        if len(changes_s) >= CHANGES or (is_known and passed_s >= FAST_S) or passed_s >= PATIENCE_S:
            break
        time.sleep(POLL_S)
    gaps_s = [changes_s[place + 1] - changes_s[place] for place in range(len(changes_s) - 1)]
    return median(gaps_s) if gaps_s else None

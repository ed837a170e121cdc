"""Before a session: is the device fit, and if not, wait until it is or the patience ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from harness.throttling import closed_gates

POLL_S = 5.0
PATIENCE_S = 300.0


def wait_until_fit(
    conditions: Mapping[str, Any],
    start_conditions: Mapping[str, Any],
    probe: Callable[[], Mapping[str, Any]],
    say: Callable[[str], None],
    cancel: threading.Event,
) -> dict[str, Any]:
    """Wait until no gate is closed: the device cool, neither throttled nor hotter than at the campaign's start.

    `conditions` are a moment old; while they close a gate, `probe` is asked every 5 s for at most 300 s.
    Returns `waited_s` and, in `closed`, what was still against the session: it then goes on, flagged hot. Once `cancel` is set
    it returns at once and asks no more.
    """
    waited_s = 0.0
    closed = closed_gates(conditions, start_conditions)
    while closed and waited_s < PATIENCE_S:
        say(f"waiting for the device: {'; '.join(closed)}")
        if cancel.wait(POLL_S):
            break
        waited_s += POLL_S
        closed = closed_gates(probe(), start_conditions)
    return {"waited_s": waited_s, "closed": closed}

"""Readiness check before a session: wait until the device is neither throttled nor hot, or patience ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from device_agents.throttling import closed_gates
from harness.measurement.events import OnProgress, Unready

POLL_S = 5.0
PATIENCE_S = 300.0


class Gate:
    """Readiness check of a campaign's sessions: the device is neither throttled nor hotter than at the start.

    A wait that ran out in vain is not repeated, for some boards settle warmer and some supplies never suffice: the
    temperatures that it ended with count as the campaign's start from then on, and a device that was throttled all the while is
    let through at once, each session flagged, until it is seen unthrottled.
    """

    def __init__(self, start_conditions: Mapping[str, Any]) -> None:
        self._start_conditions = start_conditions
        self._patience_s = PATIENCE_S

    def wait(
        self,
        conditions: Mapping[str, Any],
        probe: Callable[[], Mapping[str, Any]],
        on_progress: OnProgress,
        cancel: threading.Event,
    ) -> dict[str, Any]:
        """Wait until the device is ready for a session.

        `conditions` are a moment old; while they close the gate, `probe` is asked every 5 s for at most 300 s.
        Returns `waited_s` and, in `closed`, the reasons left against the session, which then runs, flagged hot. Once `cancel` is
        set it returns at once and asks no more.
        """
        waited_s = 0.0
        closed = closed_gates(conditions, self._start_conditions)
        while closed and waited_s < self._patience_s:
            on_progress(Unready(closed=closed))
            if cancel.wait(POLL_S):
                break
            waited_s += POLL_S
            conditions = probe()
            closed = closed_gates(conditions, self._start_conditions)
        if not closed:
            self._patience_s = PATIENCE_S
        elif not cancel.is_set():
            self._start_conditions = conditions
            self._patience_s = 0.0 if closed_gates(conditions, conditions) else PATIENCE_S
        return {"waited_s": waited_s, "closed": list(closed.values())}

"""Signs of disturbed sessions in the answers of a packed job's agent."""

from __future__ import annotations

from typing import Any

from device_agents.clean_runs import DISTURBED_SHARE, CleanRuns
from device_agents.packed_agent import Answer
from device_agents.throttling import clock_tier, remembered, signs_by_sample


class SessionEvents:
    """A worker's report on one network, as far as it says whether the session was disturbed. `before`: of the network before."""

    def __init__(self, before: SessionEvents | None = None) -> None:
        self._conditions: Answer = {} if before is None else before.latest()
        self._samples: list[Answer] = []
        self._slices: list[Answer] = []
        self._warm: Answer = {}
        self._measured: Answer = {}

    def add(self, event: Answer) -> None:
        """Take an event."""
        kind = event.get("event")
        if kind == "conditions":
            self._conditions = event["conditions"]
        elif kind == "sample":
            self._samples.append(event)
        elif kind == "slice":
            self._slices.append(event)
        elif kind == "warm":
            self._warm = event
        elif kind == "measured":
            self._measured = event

    def latest(self) -> Answer:
        """Return the worker's conditions with what a board has in mind by now."""
        latest = self._conditions
        for sample in self._samples:
            latest = remembered(latest, sample)
        return latest

    def trouble(self, plan: dict[str, Any], limits: dict[str, Any]) -> str:
        """Return `throttled`, `contended`, or '' of a session that is as it should be."""
        told = self._measured
        cores = told.get("cores", [])
        tier = clock_tier(self._conditions, cores)
        if any(signs for _, signs in signs_by_sample(self._conditions, self._samples, cores, tier)):
            return "throttled"
        is_stolen = told.get("steal_s", 0.0) > limits["steal_share"] * told["loop_s"]
        if told["stop"] == "contended" or is_stolen or held_up(told, len(self._slices), limits):
            return "contended"
        if not told.get("delay_source"):
            return ""
        base = told["baseline_ns"]
        clean = CleanRuns(
            self._warm["network_loops"], self._warm["reference_loops"], base["network"], base["reference"]
        )
        count = sum(clean.add(one) is not None for one in self._slices)
        enough = max(limits["fewest_slices"], min(plan["min_slices"], (len(self._slices) + 1) // 2))
        return "contended" if count + 1 < min(enough, len(self._slices)) else ""


def held_up(measured: Answer, slices: int, limits: dict[str, Any]) -> bool:
    """Return whether what shows in no run's wait (device_agents.unseen) held up a session of so many slices."""
    unseen = measured.get("unseen", {})
    return bool(
        unseen.get("throttled_s", 0.0) > DISTURBED_SHARE * measured["loop_s"]
        or max(unseen.get("major_faults", 0), unseen.get("stops", 0)) > limits["faults_share"] * slices
        or unseen.get("traced", False)
    )

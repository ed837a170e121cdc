"""Signs of throttling and of disturbed sessions in the answers of a packed job's agent."""

from __future__ import annotations

from typing import Any

from device_agents.clean_runs import DISTURBED_SHARE, CleanRuns
from device_agents.packed_agent import Answer


class SessionEvents:
    """A worker's report on one network, as far as it says whether the session was disturbed."""

    def __init__(self) -> None:
        self._samples: list[Answer] = []
        self._slices: list[Answer] = []
        self._warm: Answer = {}
        self._measured: Answer = {}

    def add(self, event: Answer) -> None:
        """Take an event."""
        kind = event.get("event")
        if kind == "sample":
            self._samples.append(event)
        elif kind == "slice":
            self._slices.append(event)
        elif kind == "warm":
            self._warm = event
        elif kind == "measured":
            self._measured = event

    def trouble(self, plan: dict[str, Any], limits: dict[str, Any]) -> str:
        """Return `throttled`, `contended`, or '' of a session that is as it should be."""
        if any(throttles(sample, limits) for sample in self._samples):
            return "throttled"
        told = self._measured
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
        or unseen.get("major_faults", 0) > limits["faults_share"] * slices
        or unseen.get("traced", False)
    )


def throttles(conditions: Answer, limits: dict[str, Any]) -> bool:
    """Return whether conditions, or a sample of them, show that the device holds itself back."""
    gpus = conditions.get("gpus", [{"reasons": conditions.get("gpu_reasons", 0)}])
    reasons = any(gpu.get("reasons", 0) & limits["nvidia_mask"] for gpu in gpus)
    return bool(
        conditions.get("thermal_status", 0) > 0
        or conditions.get("throttled", 0) & limits["pi_mask"]
        or conditions.get("undervoltage", 0)
        or reasons
    )


def temperatures_c(conditions: Answer) -> dict[str, float]:
    """Return the temperatures in conditions by sensor."""
    found = dict(conditions.get("temps_c", {}))
    for gpu in conditions.get("gpus", []):
        if "temp_c" in gpu:
            found["GPU %s" % gpu.get("index", 0)] = gpu["temp_c"]
    return found

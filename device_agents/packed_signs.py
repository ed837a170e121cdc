"""Signs of throttling and of disturbed sessions in the answers of a packed job's agent."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

from device_agents.clean_runs import DISTURBED_SHARE, CleanRuns
from device_agents.facts import clock_caps, highest_clocks_khz, lowered_clock
from device_agents.packed_agent import Answer

SINCE_BOOT = 16  # by how much a Raspberry Pi's marks since its start are shifted
MEMORIES = ("throttled", "over_current")  # what a board keeps in mind of how it was held back
Clocks = Dict[str, Tuple[str, int, int]]  # by core: its governor, and its least and highest clock in kHz


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
        return _remembered(self._conditions, self._samples)

    def trouble(self, plan: dict[str, Any], limits: dict[str, Any]) -> str:
        """Return `throttled`, `contended`, or '' of a session that is as it should be."""
        told = self._measured
        if any(throttles(sample, limits) for sample in self._samples) or self._is_held_back(limits):
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

    def _is_held_back(self, limits: dict[str, Any]) -> bool:
        """Return whether marks and counts of a board, or clocks that were allowed before and are so no longer, tell of it."""
        cores = [str(core) for core in self._measured.get("cores", [])]
        freq = self._conditions.get("freq_khz", {})
        fixed = _fixed_clocks(
            cores,
            self._conditions.get("governors", {}),
            {core: one["min"] for core, one in freq.items() if "min" in one},
            {core: one["max"] for core, one in freq.items() if "max" in one},
        )
        highest_khz = {} if fixed else highest_clocks_khz([self._conditions, *self._samples], cores)
        return any(
            _is_marked(_remembered(self._conditions, self._samples[:place]), sample, limits)
            or _are_set_anew(fixed, sample)
            or _is_slow(fixed, sample, limits)
            or bool(lowered_clock(sample, highest_khz))
            for place, sample in enumerate(self._samples)
        )


def _remembered(conditions: Answer, samples: Sequence[Answer]) -> Answer:
    told = {name: sample[name] for sample in samples for name in MEMORIES if name in sample}
    return dict(conditions, **told)


def _is_marked(before: Answer, after: Answer, limits: dict[str, Any]) -> bool:
    """Return whether a board's marks or counts grew between two readings of its conditions."""
    marks = after.get("throttled", 0) & ~before["throttled"] if "throttled" in before else 0
    counts = after.get("over_current", {})
    grew = any(counts.get(name, 0) > count for name, count in before.get("over_current", {}).items())
    return bool(marks >> SINCE_BOOT & limits["pi_mask"]) or grew


def _fixed_clocks(
    cores: Sequence[str], governors: dict[str, str], least: dict[str, int], most: dict[str, int]
) -> Clocks:
    """Return the cores' governors and clocks where these are locked or governed by `performance`; nothing for others."""
    if not all(core in least and core in most for core in cores):
        return {}
    clocks = {core: (governors.get(core, ""), least[core], most[core]) for core in cores}
    is_locked = all(low == high for _, low, high in clocks.values())
    return clocks if is_locked or all(governor == "performance" for governor, _, _ in clocks.values()) else {}


def _are_set_anew(fixed: Clocks, sample: Answer) -> bool:
    """Return whether fixed clocks are set otherwise in a sample, where that tells."""
    tables = [sample.get(name, {}) for name in ("governors", "min_khz", "max_khz")]
    is_told = bool(fixed) and all(core in table for core in fixed for table in tables)
    return is_told and _fixed_clocks(list(fixed), *tables) != fixed


def _is_slow(fixed: Clocks, sample: Answer, limits: dict[str, Any]) -> bool:
    """Return whether a core runs slower in a sample than it is locked at."""
    now_khz = sample.get("freq_khz", {})
    return any(
        low == high and now_khz.get(core, high) < limits["locked_share"] * high
        for core, (_, low, high) in fixed.items()
    )


def held_up(measured: Answer, slices: int, limits: dict[str, Any]) -> bool:
    """Return whether what shows in no run's wait (device_agents.unseen) held up a session of so many slices."""
    unseen = measured.get("unseen", {})
    return bool(
        unseen.get("throttled_s", 0.0) > DISTURBED_SHARE * measured["loop_s"]
        or max(unseen.get("major_faults", 0), unseen.get("stops", 0)) > limits["faults_share"] * slices
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
        or clock_caps(conditions.get("cooling", {}))
        or reasons
    )


def temperatures_c(conditions: Answer) -> dict[str, float]:
    """Return the temperatures in conditions by sensor."""
    found = dict(conditions.get("temps_c", {}))
    for gpu in conditions.get("gpus", []):
        if "temp_c" in gpu:
            found["GPU %s" % gpu.get("index", 0)] = gpu["temp_c"]
    return found

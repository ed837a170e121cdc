"""Signs of disturbed sessions in the answers of a packed job's agent."""

from __future__ import annotations

from device_agents.clean_runs import CleanRuns
from device_agents.contention import others_disturbed
from device_agents.packed_agent import Answer
from device_agents.throttling import clock_tier, remembered, signs_by_sample


class SessionEvents:
    """A worker's report on one network, as far as it says whether the session was disturbed. `before`: of the network before."""

    def __init__(self, before: SessionEvents | None = None) -> None:
        self._conditions: Answer = {} if before is None else before.latest()
        self._samples: list[Answer] = []
        self._slices: list[Answer] = []
        self._last: dict[str, Answer] = {}  # of the other events, by kind

    def add(self, event: Answer) -> None:
        """Take an event."""
        kind = str(event.get("event"))
        if kind == "conditions":
            self._conditions = event["conditions"]
        elif kind == "sample":
            self._samples.append(event)
        elif kind == "slice":
            self._slices.append(event)
        else:
            self._last[kind] = event

    def latest(self) -> Answer:
        """Return the worker's conditions with what a board has in mind by now."""
        latest = self._conditions
        for sample in self._samples:
            latest = remembered(latest, sample)
        return latest

    def trouble(self, min_slices: int) -> str:
        """Return `throttled`, `contended`, or '' of a session that is as it should be. min_slices: as planned."""
        told, warm = self._last["measured"], self._last["warm"]
        cores = told.get("cores", [])
        tier = clock_tier(self._conditions, cores)
        if any(signs for _, signs in signs_by_sample(self._conditions, self._samples, cores, tier)):
            return "throttled"
        clean_slices = None
        if told.get("delay_source") and all(one.get("delays_ns") for one in self._slices):
            base = told["baseline_ns"]
            clean = CleanRuns(
                warm["network_loops"], warm["reference_loops"], base["network"], base["reference"]
            )
            ratios = [clean.add(one) for one in self._slices]  # each of the slice before
            clean_slices = sum(ratio is not None for ratio in (*ratios, clean.last))
        return "contended" if others_disturbed(told, len(self._slices), clean_slices, min_slices) else ""

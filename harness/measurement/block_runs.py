"""Runs of blocks: the time that a device is kept busy, and the record built from the events of its worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from device_agents.block_plans import BlockPlan
from harness.errors import LinkError
from harness.measurement.session_builder import MAX_SAMPLES
from harness.records import COMPLETE, BlockRun, TimedBlock
from space.text import counted


class BlockRunBuilder:
    """Collect the events of a worker that runs blocks; its record can be built at any time, also of a run that broke off."""

    def __init__(self, plan: BlockPlan, identity: Mapping[str, Any], scheduling: Mapping[str, Any]) -> None:
        """identity: the fields of the record that no event tells. scheduling: what is known of the cores before it began."""
        self._plan, self._identity, self._scheduling = plan, dict(identity), dict(scheduling)
        self.conditions: dict[str, Any] = {}
        self.began: Mapping[str, Any] = {}
        self._loaded: Mapping[str, Any] = {}
        self._blocks: list[TimedBlock] = []
        self._runs: list[Mapping[str, Any]] = []
        self._samples: list[dict[str, Any]] = []
        self._readings: list[dict[str, Any]] = []
        self._between_cores: list[Mapping[str, Any] | None] = []

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event. Raises: LinkError when it does not follow the protocol."""
        kind = event.get("event")
        try:
            if kind == "conditions":
                self.conditions = dict(event["conditions"])
            elif kind == "loaded" and event["which"] == "network":
                self._loaded = event
            elif kind == "began":
                told = {name: event[name] for name in ("cores", "delay_source", "pinned") if name in event}
                self._scheduling |= told
                self.began = event
            elif kind == "sample":
                self._keep(self._samples, event)
            elif kind == "energy":
                self._keep(self._readings, event)
            elif kind == "runs":
                self._check_index(event["index"])
                self._runs.append(event)
            elif kind == "block":
                self._check_index(event["index"])
                if slept_s := event.get("slept_s"):
                    self._scheduling["slept_s"] = self._scheduling.get("slept_s", 0.0) + slept_s
                self._blocks.append(self._ended(event))
                self._between_cores.append(event.get("core_to_core"))
                self._runs.clear()
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol in event {kind!r}: {error}") from error

    @property
    def has_runs(self) -> bool:
        """Return whether a run of the network was timed."""
        return any(block.which == "network" for block in self._blocks) or (
            bool(self._runs) and self._plan.blocks[len(self._blocks)][0] == "network"
        )

    @property
    def progress(self) -> str:
        """Return how far it is, for people: blocks of the network, and the median of the last one."""
        done = [block for block in self._blocks if block.which == "network" and block.runs_ns]
        count = sum(which == "network" for which, _ in self._plan.blocks)
        last = f", {median(done[-1].runs_ns) / 1e6:.3f} ms" if done else ""
        return f"{len(done)} of {counted(count, 'block')}{last}"

    def build(self, ended: str = COMPLETE, after: Mapping[str, Any] | None = None) -> BlockRun:
        """Return the record of what came so far, `after` the conditions at its end. Raises: ValueError where that is none."""
        blocks = list(self._blocks)
        if ended == COMPLETE and len(blocks) != len(self._plan.blocks):
            raise ValueError(f"{len(blocks)} blocks were told, {len(self._plan.blocks)} asked for")
        if self._runs:
            blocks.append(self._broken_off())
        if not self._loaded:
            raise ValueError("nothing was told of loading the network")
        return BlockRun(
            ended=ended,
            load_ns=self._loaded["load_ns"],
            first_run_ns=self._loaded["first_run_ns"],
            blocks=tuple(blocks),
            conditions_before=self.conditions,
            conditions_after=dict(after or {}),
            plan=asdict(self._plan),
            scheduling=self._scheduling
            | ({"core_to_core": list(self._between_cores)} if any(self._between_cores) else {}),
            samples=tuple(self._samples),
            readings=tuple(self._readings),
            **self._identity,
        )

    def _check_index(self, index: int) -> None:
        if not self.began:
            raise ValueError("nothing was told of the runtime and the cores before it")
        if index != len(self._blocks) or index >= len(self._plan.blocks):
            raise ValueError(f"block {index} where {len(self._blocks)} of {len(self._plan.blocks)} is due")

    @staticmethod
    def _keep(kept: list[dict[str, Any]], event: Mapping[str, Any]) -> None:
        if len(kept) >= MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES} of them")
        kept.append({name: value for name, value in event.items() if name != "event"})

    def _ended(self, event: Mapping[str, Any]) -> TimedBlock:
        if event["which"] != self._plan.blocks[event["index"]][0]:
            raise ValueError(f"block {event['index']} is of {event['which']}, which was not asked for")
        names = ("which", "start_ns", "end_ns", "runs", "others_busy", "steal_s")
        return self._block(**{name: event[name] for name in names if name in event})

    def _broken_off(self) -> TimedBlock:
        which, last = self._plan.blocks[len(self._blocks)][0], self._runs[-1]
        end_ns = last["at_ns"][-1] + last["runs_ns"][-1]
        return self._block(which=which, start_ns=self._runs[0]["at_ns"][0], end_ns=end_ns, runs=None)

    def _block(self, **values: Any) -> TimedBlock:
        """Return a block with the runs told of it."""

        def joined(name: str) -> tuple[int, ...]:
            return tuple(value for event in self._runs for value in event.get(name, ()))

        return TimedBlock(
            at_ns=joined("at_ns"), runs_ns=joined("runs_ns"), delays_ns=joined("delays_ns"), **values
        )

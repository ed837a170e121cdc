"""Durations of models before they are measured: from stored sessions, or from a few runs beside a reference."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from device_agents.pacing import Durations
from harness.devices.link import Link
from harness.devices.runtimes import RuntimeUse
from harness.errors import AgentError, LinkError
from harness.measurement.events import Activity, OnProgress
from harness.measurement.plan import Options, SessionPlan
from harness.measurement.uploads import send_parts
from harness.measurement.workload import Model
from harness.records import FILE_SPACE, SessionRecord
from harness.store import Store

# As short as a session can be: a few runs tell the order of magnitude.
PLAN = SessionPlan(
    reference_runs=1,
    network_runs=2,
    warmup_min_runs=2,
    warmup_min_s=0.0,
    warmup_max_s=0.05,
    warmup_stable_runs=1,
    min_slices=1,
    max_s=0.01,
)


@dataclass(frozen=True, slots=True)
class DeviceProbe:
    """Durations of models in one runtime of a connected device. `allowed`: the cores that it may take, and how many it takes."""

    device: str
    link: Link
    store: Store
    runtime: RuntimeUse
    allowed: tuple[tuple[int, ...], int]
    options: Options
    on_progress: OnProgress
    cancel: threading.Event

    def stored(self, model: Model) -> Durations | None:
        """Return the durations in the last stored session of a model file under a like configuration, None without one."""
        found: list[SessionRecord] = []
        like = (
            FILE_SPACE,
            self.allowed[1],
            model.format,
            model.batch,
            self.runtime.name,
            self.runtime.provider,
        )
        for one in self.store.configurations(self.device):
            if like == (one.space, one.threads, one.format, one.batch, one.runtime, one.provider):
                found += self.store.sessions(one, [model.graph_hash])[-1:]
        if not found:
            return None
        last = max(found, key=lambda session: session.started_utc)
        network_ns = median(median(piece.network_ns) for piece in last.slices) / last.network_loops
        reference_ns = median(min(p.reference_before_ns + p.reference_after_ns) for p in last.slices)
        return Durations(
            network_ns=network_ns,
            reference_ns=reference_ns / last.reference_loops,
            reference=last.configuration.reference,
        )

    def measured(self, model: Model, reference: Model) -> Durations | None:
        """Run a model a few times beside a reference; None where it does not run: its sessions tell why."""
        warm: dict[str, Any] = {}

        def on_event(event: Mapping[str, Any]) -> None:
            if event.get("event") == "warm":
                warm.update(event)

        try:
            network, beside = model.assemble(), reference.assemble()
            send_parts(self.link, [beside, network], self.on_progress, self.cancel)
            self.on_progress(Activity(text=f"trying {model.architecture}"))
            job = self.runtime.job(*self.allowed, self.options.silence_s) | {"plan": asdict(PLAN)}
            models = {"networks": [network.recipe()], "reference": beside.recipe()}
            self.link.client.run(job | models, on_event)
        except AgentError:
            return None
        except LinkError:
            self.link.reopen(self.on_progress, self.cancel)
            return None
        return Durations.of_warm_up(warm, reference.graph_hash)


@dataclass(frozen=True, slots=True)
class KnownDurations:
    """Durations of models where nothing can be tried: those that are known."""

    durations: Mapping[Model, Durations]

    def stored(self, model: Model) -> Durations | None:
        """Return the durations of a model, None where they are not known."""
        return self.durations.get(model)

    def measured(self, model: Model, reference: Model) -> Durations | None:
        """Return None: nothing can be tried."""
        return None

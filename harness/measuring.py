"""One measurement on a device, through closed gates, throttling, lost links and damaged parts, to a session or a failure."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from harness.errors import AgentError, HarnessError, LinkError
from harness.gates import Gate
from harness.levels import Plan
from harness.link import Link
from harness.models import Model
from harness.records import Failure, SessionRecord
from harness.sessions import SessionBuilder
from harness.throttling import marked_slices
from harness.uses import Use, changes

LINK_LOSSES_A_UNIT = 2  # a network that takes the device down twice is a failure, not bad luck
RESENDS_A_UNIT = 2
REDOS_A_UNIT = 2  # androidx.benchmark's: a throttled session is measured again, twice at most, after 90 s
REDO_AFTER_S = 90.0
GPU_PROVIDERS = ("cuda", "tensorrt")  # in a provider's name: its sessions heed the GPUs, no others do
_RESENT = ("part-missing", "part-damaged")


class Cancelled(HarnessError):
    """Report that the user stopped the campaign; what was measured is stored."""

    exit_status = 130

    def __init__(self) -> None:
        super().__init__(
            "stopped by the user; what was measured is stored, the same command goes on from here"
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """One session to be measured: a model in one use of the device, and what it is for."""

    use: Use
    model: Model
    purpose: str


@dataclass(slots=True, kw_only=True)
class Measuring:
    """The measuring end of one campaign.

    `gate` is what each session passes; `keep` stores a session that was throttled and is measured again; `say` tells people.
    """

    link: Link
    campaign_id: str
    silence_s: float
    gate: Gate
    keep: Callable[[SessionRecord], None]
    say: Callable[[str], None]
    cancel: threading.Event
    redone: int = 0
    _redos: int = REDOS_A_UNIT
    _conditions: Mapping[str, Any] | None = None  # the latest known, None when they are too old to trust

    def measure(self, unit: Unit, plan: Plan) -> SessionRecord | Failure:
        """Measure a unit; a throttled session is measured again, twice at most, then kept as it is: its slices are marked.

        Raises: Cancelled; DeviceError when the device cannot be reached again.
        """
        attempt = 0
        while True:
            session = self._attempt(unit, plan, attempt)
            if isinstance(session, Failure):
                return session
            marked = sum(marked_slices(session))
            if not marked:
                self._redos = REDOS_A_UNIT
                return session
            if attempt >= self._redos:
                self._redos = 0  # in vain: each unit is measured once, until one is seen unthrottled
                return session
            self.keep(replace(session, purpose="throttled"))
            self.redone += 1
            self.say(f"throttled in {marked} of {len(session.slices)} slices; again in {REDO_AFTER_S:.0f} s")
            self.cancel.wait(REDO_AFTER_S)
            self.distrust()
            attempt += 1

    def distrust(self) -> None:
        """Ask the device anew for its conditions before the next session."""
        self._conditions = None

    def failure(self, unit: Unit, kind: str, message: str) -> Failure:
        """Return a failure of a unit, now."""
        return Failure(
            campaign_id=self.campaign_id,
            configuration=unit.use.configuration,
            architecture=unit.model.architecture,
            graph_hash=unit.model.graph_hash,
            kind=kind,
            message=message,
            time_utc=now_utc(),
        )

    def _attempt(self, unit: Unit, plan: Plan, attempt: int) -> SessionRecord | Failure:
        """Measure a unit once, through reconnections and damaged parts."""
        losses = resends = 0
        remedy: Callable[[], object] | None = None
        while True:
            if self.cancel.is_set():
                raise Cancelled()
            try:
                if remedy is not None:  # here, since the link may break in it, too
                    remedy()
                    remedy = None
                return self._session(unit, plan, attempt)
            except LinkError as error:
                losses += 1
                self.distrust()
                if losses < LINK_LOSSES_A_UNIT:
                    self.say(f"{error}; reconnecting")
                remedy = None
                self.link.reopen(self.say, self.cancel)
                if self.cancel.is_set():
                    raise Cancelled() from error
                if losses >= LINK_LOSSES_A_UNIT:
                    return self.failure(unit, "link-lost", str(error))
            except AgentError as error:
                remedy = self._remedy(error.kind)
                if remedy is None or resends >= RESENDS_A_UNIT:
                    return self.failure(unit, error.kind, str(error))
                resends += 1

    def _remedy(self, kind: str) -> Callable[[], object] | None:
        """Return what to do on an error of the agent's before the same is tried again, None when nothing helps."""
        if kind in _RESENT:
            return lambda: self.link.client.forget_parts()
        if kind == "disk-full":
            return lambda: self.link.client.evict(0)
        return None

    def _session(self, unit: Unit, plan: Plan, attempt: int) -> SessionRecord | Failure:
        use, model, client = unit.use, unit.model, self.link.client
        network, reference = model.assemble(), use.reference.assemble()
        client.send_models([reference, network])
        gate = self._pass_gates(use)
        if self.cancel.is_set():
            raise Cancelled()
        builder = SessionBuilder(started_utc=now_utc())
        job = {
            "network": network.recipe(),
            "reference": reference.recipe(),
            "runtime": use.runtime.name,
            "options": use.runtime.options,
            "threads": use.configuration.threads,
            "cores": list(use.configuration.cores) or None,
            "plan": asdict(plan),
            "silence_s": self.silence_s,
        }

        def on_event(event: Mapping[str, Any]) -> None:
            if self.cancel.is_set():
                raise Cancelled()
            builder.add(event)

        summary = client.run(job, on_event)
        session = builder.build(
            summary,
            session_id=str(uuid.uuid4()),
            campaign_id=self.campaign_id,
            configuration=use.configuration,
            architecture=model.architecture,
            graph_hash=model.graph_hash,
            model_digest=network.digest,
            agent_digest=self.link.agent_digest,
            plan=asdict(plan),
            purpose=unit.purpose,
            gate=gate | {"attempt": attempt},
        )
        self._conditions = session.conditions_after
        changed = changes(session, summary)
        if changed:
            message = (
                f"device {use.configuration.device!r}: measured with {changed} as when the campaign began; such times are "
                "not merged: set it back, or give the same command again to measure as it is now"
            )
            return self.failure(unit, "conditions-changed", message)
        return session

    def _pass_gates(self, use: Use) -> dict[str, Any]:
        """Wait until the device is fit for this use; return what the wait was like."""
        has_gpu = any(name in use.configuration.provider.lower() for name in GPU_PROVIDERS)

        def heeded(conditions: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in conditions.items() if key != "gpus" or has_gpu}

        client, known = self.link.client, self._conditions
        if known is None or (has_gpu and "gpus" not in known):  # a CPU session before this one asked no GPU
            known = client.probe()
        return self.gate.wait(heeded(known), lambda: heeded(client.probe()), self.say, self.cancel)


def now_utc() -> str:
    """Return the time in UTC to the millisecond, as records hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

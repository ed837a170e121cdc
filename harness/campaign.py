"""A campaign: one device, some networks, one way of measuring; resumable, and a failure is a record.

What is stored already counts, so a campaign that was killed goes on where it stood: run the same command again. The
order is random across networks and runtimes, session round by session round, so that slow drifts of the device spread evenly.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from harness.conditions import clock_tier, hardware_name
from harness.devices import Device, Format
from harness.errors import AgentError, DeviceError, HarnessError, LinkError, StoreError
from harness.link import Link
from harness.models import Model
from harness.records import Configuration, Failure, ReferenceLatency, SessionRecord
from harness.selection import RuntimeUse, choose_cores, choose_runtimes, version_name
from harness.sessions import SessionBuilder
from harness.stats import quiet_latency_ns
from harness.store import Store
from harness.transports import Transport, open_transport

CONSECUTIVE_FAILURES = 5  # so many in a row are the device's fault, not the networks'
LINK_LOSSES_A_UNIT = 2  # a network that takes the device down twice is a failure, not bad luck
RESENDS_A_UNIT = 2
_RESENT = ("part-missing", "part-damaged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a session is timed; sources of the constants in docs/design.md. `half_width` is relative to the ratio."""

    reference_runs: int = 2
    network_runs: int = 6
    warmup_min_runs: int = 30
    warmup_min_s: float = 0.25
    warmup_max_s: float = 8.0
    min_slices: int = 12
    max_s: float = 15.0
    half_width: float = 0.005
    min_sample_ns: int = 1_000_000


SCREEN = Plan()
CALIBRATE = Plan(min_slices=60, max_s=30.0)  # the reference against itself, long enough for a quiet window


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for; empty or None leaves the choice to devices.toml, then to the device."""

    runtimes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    threads: int | None = None
    cores: tuple[int, ...] = ()
    sessions: int = 1
    fresh: bool = False
    plan: Plan = SCREEN
    silence_s: float = 60.0


class ModelSource(Protocol):
    """Where a campaign's models come from, made for a format only when a device runs it."""

    def models(self, model_format: Format) -> Sequence[Model]:
        """Return the networks to measure, in the given format."""

    def reference(self, model_format: Format) -> Model:
        """Return the reference network that every slice alternates with."""


class Observer(Protocol):
    """Who watches a campaign; called from the campaign's thread."""

    def state(self, device: str, text: str) -> None:
        """Say what the campaign is doing now."""

    def begin(self, device: str, units: int) -> None:
        """Say how many sessions are to be measured."""

    def advance(self, device: str, text: str) -> None:
        """Say that one session ended, well or not, and how."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a campaign did. Times in s, `sent_bytes` of model parts over the link."""

    device: str
    campaign_id: str = ""
    measured: int = 0
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    sent_bytes: int = 0
    loop_s: float = 0.0
    elapsed_s: float = 0.0
    error: HarnessError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A runtime in use on the device, with the models that it runs."""

    configuration: Configuration
    runtime: RuntimeUse
    models: tuple[Model, ...]
    reference: Model


class Cancelled(HarnessError):
    """Report that the user stopped the campaign; what was measured is stored."""

    exit_status = 130

    def __init__(self) -> None:
        super().__init__(
            "stopped by the user; what was measured is stored, the same command goes on from here"
        )


def run_campaign(
    device: Device,
    source: ModelSource,
    options: Options,
    store: Store,
    observer: Observer,
    *,
    rng: random.Random,
    cancel: threading.Event,
    connect: Callable[[Device], Transport] = open_transport,
) -> Outcome:
    """Measure on a device what the store lacks and return what was done.

    Raises: ConfigError before anything is stored when the request does not fit the device; DeviceError when the device cannot
    be reached at first. Later trouble is in the outcome: failures, and `error` when the rest was given up.
    """
    started = time.monotonic()
    outcome = Outcome(device=device.name)
    link = Link(device, connect(device), owner=_owner())
    try:
        observer.state(device.name, "connecting")
        link.open()
        outcome.uses = _uses(link, device, source, options, observer)
        units = _units(outcome.uses, options, store, rng)
        outcome.reused = sum(len(use.models) for use in outcome.uses) * options.sessions - len(units)
        if units:
            outcome.campaign_id = str(uuid.uuid4())
            request = asdict(options) | {
                "networks": sorted({m.graph_hash for u in outcome.uses for m in u.models})
            }
            store.start_campaign(outcome.campaign_id, device.name, _now(), request)
            _Run(link, store, observer, outcome, options, cancel).measure(units)
    finally:
        link.close()
        outcome.elapsed_s = time.monotonic() - started
        outcome.sent_bytes = link.sent_bytes
    return outcome


@dataclass(frozen=True, slots=True)
class _Unit:
    use: Use
    model: Model


class _Run:
    """The measuring part of one campaign."""

    def __init__(
        self,
        link: Link,
        store: Store,
        observer: Observer,
        outcome: Outcome,
        options: Options,
        cancel: threading.Event,
    ) -> None:
        self._link, self._store, self._observer = link, store, observer
        self._outcome, self._options, self._cancel = outcome, options, cancel
        self._failed_in_a_row = 0

    def measure(self, units: Sequence[_Unit]) -> None:
        """Measure every unit; note in the outcome what came of it."""
        outcome = self._outcome
        try:
            units = self._calibrated(units)
            self._observer.begin(outcome.device, len(units))
            for unit in units:
                self._measure_unit(unit)
            ending = "complete" if not outcome.failures else f"complete with {len(outcome.failures)} failures"
        except HarnessError as error:
            outcome.error = error
            ending = f"stopped: {error}"
        try:
            self._store.finish_campaign(outcome.campaign_id, _now(), ending)
        except StoreError as error:
            outcome.error = outcome.error or error

    def _calibrated(self, units: Sequence[_Unit]) -> list[_Unit]:
        """Return the units whose runtime has a reference latency, measured here where the store lacks it.

        Raises: DeviceError when no runtime could measure the reference network.
        """
        ready, reason = list(units), ""
        for use in self._outcome.uses:
            failure = self._calibrate(use) if any(unit.use is use for unit in units) else None
            if failure is not None:
                reason = f"{use.configuration.runtime}: {failure.message}"
                self._say(f"calibrating failed, {reason}")
                ready = [unit for unit in ready if unit.use is not use]
        if not ready:
            name = self._outcome.device
            raise DeviceError(
                f"no runtime could measure the reference network; {reason}; see 'harness doctor --device {name}'"
            )
        return ready

    def _calibrate(self, use: Use) -> Failure | None:
        """Measure the reference's own latency unless the store has it: what turns ratios into latencies."""
        if self._store.reference_latency(use.configuration) is not None:
            return None
        self._say(f"calibrating {use.configuration.runtime}")
        session = self._attempt(_Unit(use, use.reference), CALIBRATE)
        if isinstance(session, Failure):
            self._store.add_failure(session)
            self._outcome.failures.append(session)
            return session
        reference = ReferenceLatency(
            configuration=use.configuration,
            latency_ns=quiet_latency_ns(session),
            session_id=session.session_id,
            measured_utc=session.started_utc,
        )
        self._store.add_reference(reference, session)
        return None

    def _measure_unit(self, unit: _Unit) -> None:
        self._observer.state(
            self._outcome.device, f"{unit.use.configuration.runtime} {unit.model.architecture}"
        )
        result = self._attempt(unit, self._options.plan)
        if isinstance(result, Failure):
            self._store.add_failure(result)
            self._outcome.failures.append(result)
            self._failed_in_a_row += 1
            self._observer.advance(self._outcome.device, f"failed: {result.message}")
            if self._failed_in_a_row >= CONSECUTIVE_FAILURES:
                raise DeviceError(
                    f"device {self._outcome.device!r}: {CONSECUTIVE_FAILURES} networks failed in a row, the last with: "
                    f"{result.message}; see 'harness doctor --device {self._outcome.device}'"
                )
            return
        self._store.add_session(result)
        self._failed_in_a_row = 0
        self._outcome.measured += 1
        self._outcome.loop_s += result.loop_s
        self._observer.advance(self._outcome.device, "")

    def _attempt(self, unit: _Unit, plan: Plan) -> SessionRecord | Failure:
        """Measure one unit, through reconnections and damaged parts, to a session or a failure.

        Raises: DeviceError when the device cannot be reached again.
        """
        losses = resends = 0
        while True:
            if self._cancel.is_set():
                raise Cancelled()
            try:
                return self._session(unit, plan)
            except LinkError as error:
                losses += 1
                if losses >= LINK_LOSSES_A_UNIT:
                    self._link.reopen(self._say, self._cancel)
                    return self._failure(unit, "link-lost", str(error))
                self._say(f"{error}; reconnecting")
                self._link.reopen(self._say, self._cancel)
            except AgentError as error:
                if error.kind in _RESENT and resends < RESENDS_A_UNIT:
                    resends += 1
                    self._link.client.forget_parts()
                    continue
                if error.kind == "disk-full" and resends < RESENDS_A_UNIT:
                    resends += 1
                    self._link.client.evict(0)
                    continue
                return self._failure(unit, error.kind, str(error))

    def _session(self, unit: _Unit, plan: Plan) -> SessionRecord | Failure:
        use, model = unit.use, unit.model
        client = self._link.client
        network, reference = model.assemble(), use.reference.assemble()
        client.send_models([reference, network])
        builder = SessionBuilder(started_utc=_now())
        job = {
            "network": network.recipe(),
            "reference": reference.recipe(),
            "runtime": use.runtime.name,
            "options": use.runtime.options,
            "threads": use.configuration.threads,
            "cores": list(use.configuration.cores) or None,
            "plan": asdict(plan),
            "silence_s": self._options.silence_s,
        }

        def on_event(event: Mapping[str, Any]) -> None:
            if self._cancel.is_set():
                raise Cancelled()
            builder.add(event)

        summary = client.run(job, on_event)
        session = builder.build(
            summary,
            session_id=str(uuid.uuid4()),
            campaign_id=self._outcome.campaign_id,
            configuration=use.configuration,
            architecture=model.architecture,
            graph_hash=model.graph_hash,
            model_digest=network.digest,
            agent_digest=self._link.agent_digest,
            plan=asdict(plan),
        )
        changed = _changes(session, summary)
        if changed:
            message = (
                f"device {self._outcome.device!r}: measured with {changed} as when the campaign began; such times are "
                "not merged: set it back, or give the same command again to measure as it is now"
            )
            return self._failure(unit, "conditions-changed", message)
        return session

    def _failure(self, unit: _Unit, kind: str, message: str) -> Failure:
        return Failure(
            campaign_id=self._outcome.campaign_id,
            configuration=unit.use.configuration,
            architecture=unit.model.architecture,
            graph_hash=unit.model.graph_hash,
            kind=kind,
            message=message,
            time_utc=_now(),
        )

    def _say(self, text: str) -> None:
        self._observer.state(self._outcome.device, text)


def _uses(link: Link, device: Device, source: ModelSource, options: Options, observer: Observer) -> list[Use]:
    """Decide what will run: runtimes, cores, models and the configuration that each measurement belongs to."""
    conditions = link.client.probe()
    runtimes = choose_runtimes(device, link.hello, options.runtimes, options.formats)
    cores = choose_cores(device, link.hello, options.threads, options.cores)
    uses = []
    for runtime in runtimes:
        observer.state(device.name, f"preparing {runtime.format} models")
        models, reference = source.models(runtime.format), source.reference(runtime.format)
        uses.append(
            Use(
                configuration=Configuration(
                    device=device.name,
                    hardware=hardware_name(link.hello, conditions),
                    runtime=runtime.name,
                    runtime_version=runtime.version,
                    provider=runtime.provider,
                    format=runtime.format,
                    precision=reference.precision,
                    threads=len(cores),
                    cores=cores,
                    space=reference.space,
                    weights=reference.weights,
                    reference=reference.graph_hash,
                    clock_tier=clock_tier(conditions, cores),
                ),
                runtime=runtime,
                models=tuple(models),
                reference=reference,
            )
        )
    return uses


def _changes(session: SessionRecord, summary: Mapping[str, Any]) -> str:
    """Say what a session ran with instead of its configuration: a reboot or an upgrade may change it."""
    configuration, runtime = session.configuration, summary.get("runtime")
    found = runtime if isinstance(runtime, Mapping) else {}
    pairs = [
        ("version", version_name(found), configuration.runtime_version),
        ("provider", found.get("provider"), configuration.provider),
        ("cores", summary.get("cores"), list(configuration.cores)),
    ]
    for conditions in (session.conditions_before, session.conditions_after):
        pairs.append(("clock tier", clock_tier(conditions, configuration.cores), configuration.clock_tier))
    return ", ".join(
        dict.fromkeys(f"{name} {now!r}, not {then!r}" for name, now, then in pairs if now != then)
    )


def _units(uses: Sequence[Use], options: Options, store: Store, rng: random.Random) -> list[_Unit]:
    """Return what the store lacks: rounds of sessions, each in random order across networks and runtimes."""
    rounds: list[list[_Unit]] = [[] for _ in range(options.sessions)]
    for use in uses:
        counts = {} if options.fresh else store.session_counts(use.configuration)
        for model in use.models:
            stored = min(counts.get(model.graph_hash, 0), options.sessions)
            for number in range(stored, options.sessions):
                rounds[number].append(_Unit(use, model))
    for units in rounds:
        rng.shuffle(units)
    return [unit for units in rounds for unit in units]


def _owner() -> str:
    return f"harness on {socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(4)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

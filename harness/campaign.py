"""A campaign: one device, some networks, one way of measuring; resumable, and a failure is a record.

What is stored already counts, so a campaign that was killed goes on where it stood: run the same command again. The
order is random across networks and runtimes, session round by session round, so that slow drifts of the device spread evenly.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from harness.devices import Device
from harness.errors import DeviceError, HarnessError, StoreError
from harness.estimates.estimate import quiet_latency_ns, reference_latency_ns
from harness.gates import Gate
from harness.levels import CALIBRATION, SCREEN, Level
from harness.link import Link
from harness.measuring import Measuring, Unit, now_utc
from harness.records import Failure, ReferenceLatency, SessionRecord
from harness.store import Store
from harness.transports import Transport, open_transport
from harness.uses import ModelSource, Use, decide_uses

CONSECUTIVE_FAILURES = 5  # so many in a row are the device's fault, not the networks'
SENTINEL_SHARE = 0.3  # the reference so far off its latency: the device is asked anew how it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for; empty or None leaves the choice to devices.toml, then to the device.

    `sessions` None: as many as the level has. `fresh` measures anew what is stored, `recalibrate` the reference latency.
    """

    runtimes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    threads: int | None = None
    cores: tuple[int, ...] = ()
    level: Level = SCREEN
    sessions: int | None = None
    fresh: bool = False
    recalibrate: bool = False
    silence_s: float = 60.0

    @property
    def sessions_each(self) -> int:
        """Return how many sessions a network is to have."""
        return self.level.sessions if self.sessions is None else self.sessions


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
    """What a campaign did. Times in s, `sent_bytes` of model parts over the link, `redone` sessions that were throttled."""

    device: str
    campaign_id: str = ""
    measured: int = 0
    redone: int = 0
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    sent_bytes: int = 0
    loop_s: float = 0.0
    elapsed_s: float = 0.0
    error: HarnessError | None = None


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
        conditions = link.client.probe()
        outcome.uses = decide_uses(
            device, link.hello, conditions, source, options, lambda text: observer.state(device.name, text)
        )
        units = _units(outcome.uses, options, store, rng)
        wanted = sum(len(use.models) for use in outcome.uses) * options.sessions_each
        outcome.reused = wanted - len(units)
        if units or options.recalibrate:
            outcome.campaign_id = str(uuid.uuid4())
            networks = sorted({model.graph_hash for use in outcome.uses for model in use.models})
            store.start_campaign(
                outcome.campaign_id, device.name, now_utc(), asdict(options) | {"networks": networks}
            )
            _Run(link, store, observer, outcome, options, cancel, conditions).measure(units)
    finally:
        link.close()
        outcome.elapsed_s = time.monotonic() - started
        outcome.sent_bytes = link.sent_bytes
    return outcome


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
        conditions: Mapping[str, Any],
    ) -> None:
        self._store, self._observer = store, observer
        self._outcome, self._options = outcome, options
        self._measuring = Measuring(
            link=link,
            campaign_id=outcome.campaign_id,
            silence_s=options.silence_s,
            gate=Gate(conditions),
            keep=store.add_session,
            say=self._say,
            cancel=cancel,
        )
        self._failed_in_a_row = 0

    def measure(self, units: Sequence[Unit]) -> None:
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
        outcome.redone = self._measuring.redone
        try:
            self._store.finish_campaign(outcome.campaign_id, now_utc(), ending)
        except StoreError as error:
            outcome.error = outcome.error or error

    def _calibrated(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units whose runtime has a reference latency, measured here where the store lacks it.

        Raises: DeviceError when no runtime could measure the reference network.
        """
        ready, reason, is_any_calibrated = list(units), "", False
        for use in self._outcome.uses:
            if not self._options.recalibrate and not any(unit.use is use for unit in units):
                continue
            failure = self._calibrate(use)
            if failure is None:
                is_any_calibrated = True
            else:
                reason = f"{use.configuration.runtime}: {failure.message}"
                self._say(f"calibrating failed, {reason}")
                ready = [unit for unit in ready if unit.use is not use]
        if reason and not is_any_calibrated:
            name = self._outcome.device
            raise DeviceError(
                f"no runtime could measure the reference network; {reason}; see 'harness doctor --device {name}'"
            )
        return ready

    def _calibrate(self, use: Use) -> Failure | None:
        """Measure the reference's own latency, unless the store has it: what turns ratios into latencies."""
        if self._store.reference_latency(use.configuration) is not None and not self._options.recalibrate:
            return None
        sessions: list[SessionRecord] = []
        while len(sessions) < CALIBRATION.sessions:
            self._say(
                f"calibrating {use.configuration.runtime}, {len(sessions) + 1} of {CALIBRATION.sessions}"
            )
            session = self._measuring.measure(Unit(use, use.reference, "calibration"), CALIBRATION.plan)
            if isinstance(session, Failure):
                self._store.add_failure(session)
                self._outcome.failures.append(session)
                return session
            sessions.append(session)
        levels_ns = [quiet_latency_ns(session) for session in sessions]
        quietest = levels_ns.index(min(levels_ns))
        reference = ReferenceLatency(
            configuration=use.configuration,
            latency_ns=levels_ns[quietest],
            session_id=sessions[quietest].session_id,
            measured_utc=sessions[quietest].started_utc,
            sessions=len(sessions),
            spread=statistics.stdev(levels_ns) / statistics.fmean(levels_ns) if len(sessions) > 1 else None,
        )
        self._store.add_reference(reference, sessions)
        return None

    def _measure_unit(self, unit: Unit) -> None:
        name = self._outcome.device
        self._observer.state(name, f"{unit.use.configuration.runtime} {unit.model.architecture}")
        result = self._measuring.measure(unit, self._options.level.plan)
        if isinstance(result, Failure):
            self._store.add_failure(result)
            self._outcome.failures.append(result)
            self._failed_in_a_row += 1
            self._observer.advance(name, f"failed: {result.message}")
            if self._failed_in_a_row >= CONSECUTIVE_FAILURES:
                raise DeviceError(
                    f"device {name!r}: {CONSECUTIVE_FAILURES} networks failed in a row, the last with: "
                    f"{result.message}; see 'harness doctor --device {name}'"
                )
            return
        self._store.add_session(result)
        self._failed_in_a_row = 0
        self._outcome.measured += 1
        self._outcome.loop_s += result.loop_s
        self._observer.advance(name, "")
        reference = self._store.reference_latency(unit.use.configuration)
        if reference and abs(reference_latency_ns(result) / reference.latency_ns - 1) > SENTINEL_SHARE:
            self._measuring.distrust()  # the ratio stands; the next session waits if a gate says why

    def _say(self, text: str) -> None:
        self._observer.state(self._outcome.device, text)


def _units(uses: Sequence[Use], options: Options, store: Store, rng: random.Random) -> list[Unit]:
    """Return what the store lacks: rounds of sessions, each in random order across networks and runtimes."""
    sessions = options.sessions_each
    rounds: list[list[Unit]] = [[] for _ in range(sessions)]
    for use in uses:
        counts: dict[tuple[str, str], int] = {}
        for purpose in set() if options.fresh else {model.purpose for model in use.models}:
            stored = store.session_counts(use.configuration, purpose)
            counts |= {(purpose, key): count for key, count in stored.items()}
        for model in use.models:
            for number in range(counts.get((model.purpose, model.graph_hash), 0), sessions):
                rounds[number].append(Unit(use, model, model.purpose))
    for units in rounds:
        rng.shuffle(units)
    return [unit for units in rounds for unit in units]


def _owner() -> str:
    return f"harness on {socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(4)}"

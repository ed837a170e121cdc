"""A campaign: one device, some networks, one way of measuring; resumable, and a failure is a record.

What is stored already counts, so a campaign that was killed goes on where it stood: run the same command again. Rounds of
sessions take the runtimes in turn, so that each soon has numbers to show; within a round the order is random across networks,
so that slow drifts of the device spread evenly.
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
from typing import Any, Protocol

from harness.devices import Device
from harness.errors import DeviceError, HarnessError, StoreError
from harness.estimates.estimate import reference_latency_ns
from harness.gates import Gate
from harness.levels import CALIBRATION, SCREEN, Level
from harness.link import Link
from harness.measurement.core_gate import CoreGate, CoreRequest
from harness.measuring import Measuring, Result, Unit, now_utc
from harness.records import Failure, SessionRecord
from harness.store import Store
from harness.transports import Transport, open_transport
from harness.uses import ModelSource, Use, decide_uses

CONSECUTIVE_FAILURES = 5  # so many in a row are the device's fault, not the networks'
FEWEST_WORKERS = 3  # to tell what differs from process to process
BRIDGES = 3  # networks that all workers of a round measure
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

    def refine(self, device: str, use: Use, left: int) -> None:
        """Say that every network of a use has a session more, and how many sessions of it are still to come."""


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
        rounds = plan_rounds(outcome.uses, options, store, rng)
        wanted = sum(len(use.models) for use in outcome.uses) * options.sessions_each
        lacking = sum(len({id(unit) for batch in one.batches for unit in batch}) for one in rounds)
        outcome.reused = wanted - lacking
        if rounds or options.recalibrate:
            outcome.campaign_id = str(uuid.uuid4())
            networks = sorted({model.graph_hash for use in outcome.uses for model in use.models})
            store.start_campaign(
                outcome.campaign_id, device.name, now_utc(), asdict(options) | {"networks": networks}
            )
            observer.state(device.name, "asking for the core")
            request = CoreRequest.of(link.client.permissions())
            _Run(link, store, observer, outcome, options, cancel, conditions, request).measure(rounds)
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
        request: CoreRequest,
    ) -> None:
        self._store, self._observer = store, observer
        self._outcome, self._options = outcome, options
        self._measuring = Measuring(
            link=link,
            campaign_id=outcome.campaign_id,
            silence_s=options.silence_s,
            gate=Gate(conditions),
            core_gate=CoreGate(outcome.device, self._say, cancel),
            request=request,
            keep=store.add_session,
            say=self._say,
            cancel=cancel,
        )
        self._failed_in_a_row = 0
        self._references_ns: dict[str, float] = {}  # by configuration, as the campaign first knew them

    def measure(self, rounds: Sequence[Round]) -> None:
        """Measure every unit, round by round; note in the outcome what came of it."""
        outcome = self._outcome
        try:
            if self._options.recalibrate:
                self._recalibrate()
            self._observer.begin(outcome.device, sum(len(batch) for one in rounds for batch in one.batches))
            for number, one in enumerate(rounds):
                for batch in one.batches:
                    self._measuring.measure(batch, self._options.level.plan, self._take)
                left = sum(
                    len(batch)
                    for later in rounds[number + 1 :]
                    for batch in later.batches
                    if later.use is one.use
                )
                self._observer.refine(outcome.device, one.use, left)
            ending = "complete" if not outcome.failures else f"complete with {len(outcome.failures)} failures"
        except HarnessError as error:
            outcome.error = error
            ending = f"stopped: {error}"
        outcome.redone = self._measuring.redone
        try:
            self._store.finish_campaign(outcome.campaign_id, now_utc(), ending)
        except StoreError as error:
            outcome.error = outcome.error or error

    def _recalibrate(self) -> None:
        """Measure the reference against itself: from now on, only what is measured later tells its latency."""
        for use in self._outcome.uses:
            self._store.start_recalibration(use.configuration, now_utc())
            for number in range(CALIBRATION.sessions):
                self._say(f"calibrating {use.configuration.runtime}, {number + 1} of {CALIBRATION.sessions}")
                self._measuring.measure(
                    [Unit(use, use.reference, "calibration")], CALIBRATION.plan, self._keep
                )

    def _keep(self, unit: Unit, result: Result) -> None:
        """Store what was measured or failed. Raises: DeviceError when everything fails."""
        if isinstance(result, Failure):
            self._store.add_failure(result)
            self._outcome.failures.append(result)
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= CONSECUTIVE_FAILURES:
                name = self._outcome.device
                raise DeviceError(
                    f"device {name!r}: {CONSECUTIVE_FAILURES} networks failed in a row, the last with: "
                    f"{result.message}; see 'harness doctor --device {name}'"
                )
            return
        self._store.add_session(result)
        self._failed_in_a_row = 0

    def _take(self, unit: Unit, result: Result) -> None:
        """Store a result, count it and tell of it."""
        name = self._outcome.device
        text = ""
        if isinstance(result, Failure):
            text = f"failed: {result.message}"
        else:
            self._outcome.measured += 1
            self._outcome.loop_s += result.loop_s
        self._observer.advance(name, text)
        self._observer.state(name, f"{unit.use.configuration.runtime} {unit.model.architecture}")
        self._keep(unit, result)
        if isinstance(result, SessionRecord):
            self._watch_reference(unit.use, result)

    def _watch_reference(self, use: Use, session: SessionRecord) -> None:
        """Look anew at the device when the reference runs far off its latency."""
        if use.configuration.digest not in self._references_ns:
            reference = self._store.reference_latency(use.configuration)
            self._references_ns[use.configuration.digest] = reference.latency_ns if reference else 0.0
        expected_ns = self._references_ns[use.configuration.digest]
        if expected_ns and abs(reference_latency_ns(session) / expected_ns - 1) > SENTINEL_SHARE:
            self._measuring.distrust()  # the ratio stands; the next session waits if a gate says why

    def _say(self, text: str) -> None:
        self._observer.state(self._outcome.device, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A session more of each network of a use that lacks one: batches, each for one worker."""

    use: Use
    batches: tuple[tuple[Unit, ...], ...]


def plan_rounds(uses: Sequence[Use], options: Options, store: Store, rng: random.Random) -> list[Round]:
    """Return what the store lacks: rounds of sessions, one use after the other, each in random order across networks."""
    rounds = []
    lacking = [_lacking(use, options, store) for use in uses]
    for number in range(options.sessions_each):
        for use, rows in zip(uses, lacking, strict=True):
            if units := list(rows[number]):
                rng.shuffle(units)
                rounds.append(Round(use=use, batches=batches(units, options.level.at_once)))
    return rounds


def batches(units: Sequence[Unit], at_once: int) -> tuple[tuple[Unit, ...], ...]:
    """Deal units to workers: one each, or, where workers take many, to at least three with some networks in common.

    Those in common tell what differs from worker to worker.
    """
    if at_once == 1:
        return tuple((unit,) for unit in units)
    count = min(max(FEWEST_WORKERS, -(-len(units) // at_once)), max(1, len(units) // BRIDGES))
    bridges = tuple(units[:BRIDGES]) if count > 1 else ()
    rest = units[len(bridges) :]
    return tuple((*bridges, *rest[number::count]) for number in range(count))


def _lacking(use: Use, options: Options, store: Store) -> list[list[Unit]]:
    """Return the units that a use lacks, by the number of the session."""
    counts: dict[tuple[str, str], int] = {}
    for purpose in set() if options.fresh else {model.purpose for model in use.models}:
        stored = store.session_counts(use.configuration, purpose)
        counts |= {(purpose, key): count for key, count in stored.items()}
    rows: list[list[Unit]] = [[] for _ in range(options.sessions_each)]
    for model in use.models:
        for number in range(counts.get((model.purpose, model.graph_hash), 0), options.sessions_each):
            rows[number].append(Unit(use, model, model.purpose))
    return rows


def _owner() -> str:
    return f"harness on {socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(4)}"

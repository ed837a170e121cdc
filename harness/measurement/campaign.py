"""A measurement campaign on one device; resumable, and failures are records.

Stored sessions count, so the same command resumes a campaign that was killed. Rounds of sessions take the runtimes in turn, so
that each soon has numbers to show; within a round the order is random across networks, so that slow drifts of the device spread
evenly.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from device_agents.block_plans import BlockPlan, energy_plan, sustained_plan
from device_agents.pacing import Pace
from harness.devices.config import Device, Precision
from harness.devices.connection import Connection, new_owner
from harness.devices.link import Link, probe_conditions
from harness.devices.runtimes import RuntimeUse, allowed_cores, choose_runtimes, likely_runtimes
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.devices.trial import why_no_energy
from harness.errors import Cancelled, DeviceError, LinkError, StoreError, Unstorable
from harness.estimates.energy import NoEnergy, energy_of
from harness.estimates.estimate import reference_latency_ns
from harness.estimates.outputs import is_wrong
from harness.measurement.core_gate import CoreGate, CoreRequest
from harness.measurement.durations import DeviceProbe
from harness.measurement.events import (
    Activity,
    Calibrating,
    Connecting,
    Event,
    FirstNumbers,
    Measuring,
    Note,
    Preparing,
    SessionDone,
    SessionsPlanned,
)
from harness.measurement.gate import Gate
from harness.measurement.plan import CALIBRATION, FRESH_RUNS, QUICK, Options, SessionPlan
from harness.measurement.session_runner import (
    NOTHING,
    Circumstances,
    PlannedSession,
    Result,
    SessionRunner,
    now_utc,
)
from harness.measurement.uploads import send_ahead
from harness.measurement.workload import (
    DurationProbe,
    GroupedSource,
    ModelSource,
    RuntimePlan,
    SourceGroup,
    network_groups,
    plan_runtime,
)
from harness.records import FILE_SPACE, BlockRun, Failure, SessionRecord
from harness.store import Store
from space.errors import ConfigError, HarnessError
from space.text import clock, counted

CONSECUTIVE_FAILURES = 5  # in a row are the device's fault, not the networks'
FEWEST_WORKERS = 3  # to tell what differs from process to process
BRIDGES = 4  # networks that all workers of a round measure: in three of them they tell how sessions scatter
EXPECTED_AT_ONCE = 50  # between two words on how far it is
MOST_SUSTAINED = 10  # networks of a runtime: at half an hour each five hours
NEXT_TIME = "the same command begins anew"
# Refusals of a system that tells nothing, and of an agent that does not know the request.
NO_MEMORY = ("no-memory", "bad-request")
SENTINEL_SHARE = 0.3  # deviation of the reference from its latency at which the device is probed again


T = TypeVar("T")


class Observer(Protocol):
    """Observer of the progress of campaigns."""

    def event(self, device: str, event: Event) -> None:
        """Take an event of a device's campaign, in its thread."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Outcome of a campaign. Times in s, `sent_bytes` of model parts over the connection.

    `setbacks`: sessions that were measured again, by why, `throttled` or `contended`.
    """

    device: str
    campaign_id: str = ""
    measured: int = 0
    setbacks: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)
    uses: list[RuntimePlan] = field(default_factory=list)
    sent_bytes: int = 0
    loop_s: float = 0.0
    elapsed_s: float = 0.0
    error: HarnessError | None = None

    @property
    def redone(self) -> int:
        """Return the number of sessions that were measured again."""
        return self.setbacks.total()

    @property
    def exit_status(self) -> int:
        """Return the command's exit status: the error's, 3 where only some networks failed, else 0."""
        if self.error is not None:
            return self.error.exit_status
        return 3 if self.failures else 0


def run_campaign(
    device: Device,
    source: ModelSource | GroupedSource,
    options: Options,
    store: Store,
    observer: Observer,
    *,
    rng: random.Random,
    cancel: threading.Event,
    wait_s: float = 0.0,
    connect: Callable[[Device], Transport] = open_transport,
) -> Outcome:
    """Measure on a device the sessions that the store lacks; one that is in use is waited for, `wait_s` at most.

    Raises: ConfigError before anything is stored when the request does not fit the device; DeviceError when the device cannot
    be reached at first. Later trouble is in the outcome: failures, and `error` when the rest was given up.
    """
    started = time.monotonic()
    outcome = Outcome(device=device.name)
    likely = likely_runtimes(device, options.runtimes, options.formats)
    connection = Connection(device, connect(device), owner=new_owner(), wait_s=wait_s, runtimes=likely)
    try:
        observer.event(device.name, Connecting())
        connection.open(on_progress=partial(observer.event, device.name), cancel=cancel)
        measure_over(connection, device, source, options, store, observer, outcome, rng=rng, cancel=cancel)
    finally:
        connection.close()
        outcome.elapsed_s = time.monotonic() - started
        outcome.sent_bytes = connection.sent_bytes
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A campaign that was measured before, elsewhere: its id, which the store knows, and its rounds as they were measured.

    `further`: what it has of "memory", "energy" or "sustained". `probe`: what is known of how long its files run in a runtime.
    What is in the store already is left as it is there.
    """

    campaign_id: str
    circumstances: Circumstances
    rounds: Callable[[RuntimePlan], list[SessionRound]]
    further: Callable[[RuntimePlan, str], list[PlannedSession]]
    probe: Callable[[RuntimeUse], DurationProbe]


def measure_over(
    link: Link,
    device: Device,
    source: ModelSource | GroupedSource,
    options: Options,
    store: Store,
    observer: Observer,
    outcome: Outcome,
    *,
    rng: random.Random,
    cancel: threading.Event,
    record: Record | None = None,
) -> None:
    """Measure over an open link what the store lacks, or read what a record has. Raises: as `run_campaign`."""
    runtimes = choose_runtimes(device, link.hello, options.runtimes, options.formats)
    if isinstance(source, GroupedSource):
        for lacking in set(source.formats) - {runtime.format for runtime in runtimes}:
            choose_runtimes(device, link.hello, options.runtimes, [lacking])  # says what to install
    if options.one_runtime and len(runtimes) > 1:
        names = ", ".join(runtime.name for runtime in runtimes)
        raise ConfigError(
            f"--until works on one runtime at a time, and device {device.name!r} would run {names}; name one with --runtime"
        )
    precisions = options.precisions or (device.precision,)
    allowed = allowed_cores(device, link.hello, options.threads, options.cores)
    conditions = probe_conditions(link)
    report = partial(observer.event, device.name)

    def uses() -> Iterator[tuple[RuntimePlan, tuple[str, ...]]]:
        """Yield each runtime plan, and the names of the runtimes that are prepared after it."""
        for place, runtime in enumerate(runtimes, 1):
            observer.event(device.name, Preparing(precisions=tuple(precisions), model_format=runtime.format))
            probe: DurationProbe = (
                DeviceProbe(device.name, link, store, runtime, allowed, options, report, cancel)
                if record is None
                else record.probe(runtime)
            )
            groups = 1 if isinstance(source, GroupedSource) else len(precisions) * len(options.batches)
            for number, group in enumerate(_groups(source, runtime, precisions, options.batches, probe), 1):
                later = [one.name for one in runtimes[place - (number < groups) :]]
                yield plan_runtime(device, link.hello, conditions, group, runtime, allowed), tuple(later)

    _CampaignRun(link, store, observer, outcome, options, rng, cancel, conditions, record).measure(uses())


def _groups(
    source: ModelSource | GroupedSource,
    runtime: RuntimeUse,
    precisions: Sequence[Precision],
    batches: Sequence[int],
    probe: DurationProbe,
) -> Iterable[SourceGroup]:
    """Return a source's groups; one of a single reference is one group for each precision and batch size."""
    if isinstance(source, GroupedSource):
        return source.groups(runtime.format, precisions, probe)
    return network_groups(source, runtime.format, precisions, batches, probe)


class _CampaignRun:
    """The measuring part of one campaign."""

    def __init__(
        self,
        link: Link,
        store: Store,
        observer: Observer,
        outcome: Outcome,
        options: Options,
        rng: random.Random,
        cancel: threading.Event,
        conditions: Mapping[str, Any],
        record: Record | None,
    ) -> None:
        self._record = record
        self._link, self._store, self._observer = link, store, observer
        self._outcome, self._options, self._rng = outcome, options, rng
        self._cancel, self._conditions = cancel, conditions
        self._measuring: SessionRunner | None = None
        self._failed_in_a_row: Counter[int] = Counter()  # by id of the runtime plan, as a packed job counts
        self._expected: dict[tuple[str, str, str, int], tuple[float, ...]] = {}  # outputs, by `Model.key`
        self._told_wrong = set[str]()  # configurations
        self._references_ns: dict[str, float] = {}  # by configuration, as the campaign first knew them
        self._later: tuple[str, ...] = ()  # what has sessions that are not planned yet

    def measure(self, uses: Iterable[tuple[RuntimePlan, tuple[str, ...]]]) -> None:
        """Measure the missing sessions: a first round of each runtime once its models are exported, then the others in turns.

        uses: each with the names of those to come.
        """
        outcome = self._outcome
        pending: list[list[SessionRound]] = []
        planned: list[RuntimePlan] = []  # of this campaign: an outcome may be of several starts of a job
        further = [
            (name, measure)
            for name, measure, is_asked in (
                ("memory", self._weigh, self._options.memory),
                ("energy", self._measure_energy, self._options.energy),
                ("sustained", self._sustain, self._options.sustained_s),
            )
            if is_asked
        ]
        names = [name for name, _ in further]
        try:
            for use, later in uses:
                outcome.uses.append(use)
                planned.append(use)
                self._later = (*later, *names)
                rounds = self._plan(use)
                self._send_ahead(use, rounds)
                self._expect(use, rounds)
                if self._options.recalibrate:
                    self._recalibrate(use)
                self._measure_next(rounds)
                pending.append(rounds)
            while any(pending):
                for rounds in pending:
                    self._measure_next(rounds)
            for place, (_, measure) in enumerate(further):
                for use in planned:
                    self._later = tuple(names[place + (use is planned[-1]) :])
                    try:
                        measure(use)
                    except GivenUp as error:
                        self._note_given_up(error)
            ending = (
                "complete"
                if not outcome.failures
                else f"complete with {counted(len(outcome.failures), 'failure')}"
            )
        except HarnessError as error:
            if not outcome.campaign_id:
                raise
            outcome.error = error
            ending = f"stopped: {error}"
        if not outcome.campaign_id:
            return
        outcome.setbacks += self._measuring.setbacks if self._measuring is not None else Counter()
        try:
            if self._record is None:
                self._store.finish_campaign(outcome.campaign_id, now_utc(), ending)
            if not self._cancel.is_set() and (left := self._store.settle()):
                raise StoreError(left)
        except StoreError as error:
            outcome.error = outcome.error or error

    def _plan(self, use: RuntimePlan) -> list[SessionRound]:
        """Return the missing rounds of a runtime plan, and count the sessions already stored; of a record those that it has."""
        if self._record is not None:
            rounds = self._record.rounds(use)
        else:
            rounds = plan_rounds(use, self._options, self._store, self._rng)
            lacking = sum(len({id(unit) for batch in one.batches for unit in batch}) for one in rounds)
            self._outcome.reused += len(use.models) * self._options.sessions_each - lacking
        self._report_planned(sum(one.sessions for one in rounds))
        return rounds

    def _report_planned(self, sessions: int) -> None:
        self._report(SessionsPlanned(sessions=sessions, later=self._later))

    def _send_ahead(self, use: RuntimePlan, rounds: list[SessionRound]) -> None:
        """Send the parts that the missing sessions need."""
        if not rounds:
            return
        units = (unit for one in rounds for batch in one.batches for unit in batch)
        models = {id(model): model for model in (use.reference, *(unit.model for unit in units))}
        assemblies = [model.assemble for model in models.values()]
        send_ahead(self._link, assemblies, self._report, self._cancel)

    def _expect(self, use: RuntimePlan, rounds: list[SessionRound]) -> None:
        """Find out which outputs the missing sessions should give, before anything is timed, since it takes the processor."""
        units = (unit for one in rounds for batch in one.batches for unit in batch)
        models = {unit.model.key: unit.model for unit in units if unit.model.expected is not None}
        in_order = sorted(models.values(), key=lambda model: model.architecture)  # neighbors share most of it
        for number, model in enumerate(in_order):
            if self._cancel.is_set():
                raise Cancelled()
            if number % EXPECTED_AT_ONCE == 0:
                self._report(Activity(text=f"expected outputs, {number} of {len(models)}"))
            try:
                self._expected[model.key] = tuple(model.expected()) if model.expected is not None else ()
            except HarnessError as error:
                if use.configuration.space == FILE_SPACE:  # each has a reason of its own
                    self._note(f"output of {model.architecture} is not judged: {error}")
                    continue
                self._note(f"outputs of {use.configuration.runtime} are not judged: {error}")
                return

    def _start(self, use: RuntimePlan) -> SessionRunner:
        """Return the session runner; the first time, begin the campaign in the store and ask how to get the cores."""
        if self._measuring is None:
            outcome, record = self._outcome, self._record
            terms = Circumstances() if record is None else record.circumstances
            if record is not None:
                outcome.campaign_id = record.campaign_id
            else:
                outcome.campaign_id = str(uuid.uuid4())
                networks = sorted({model.graph_hash for model in use.models})
                request = asdict(self._options) | {"networks": networks}
                self._store.start_campaign(outcome.campaign_id, outcome.device, now_utc(), request)
            self._report(Activity(text="asking for the core"))
            cores, threads = use.configuration.cores, use.configuration.threads
            self._measuring = SessionRunner(
                link=self._link,
                campaign_id=outcome.campaign_id,
                silence_s=self._options.silence_s,
                gate=Gate(self._conditions),
                core_gate=CoreGate(outcome.device, self._report, self._cancel, terms.clock_s),
                request=self._ask_for(cores, threads),
                expected=self._expected,
                keep=self._keep_apart,
                on_progress=self._report,
                cancel=self._cancel,
                circumstances=terms,
            )
        return self._measuring

    def _ask_for(self, cores: tuple[int, ...], threads: int) -> CoreRequest:
        """Ask which scheduling the cores can get; a broken connection is reopened. Raises: DeviceError."""
        try:
            return CoreRequest.of(self._link.client.permissions(new_owner(), cores, threads))
        except LinkError:
            self._link.reopen(self._report, self._cancel)
            return CoreRequest.of(self._link.client.permissions(new_owner(), cores, threads))

    def _measure_next(self, rounds: list[SessionRound]) -> None:
        """Measure the next round, if there is one, and report the sessions left in its runtime plan."""
        if not rounds:
            return
        one = rounds.pop(0)
        measuring = self._start(one.use)
        try:
            for batch in one.batches:
                measuring.measure(batch, one.plan, self._take)
        except GivenUp as error:
            self._note_given_up(error)
            rounds.clear()
            return
        # A store that does not answer has no first numbers to show; measuring goes on.
        with suppress(StoreError):
            self._report(FirstNumbers(plan=one.use, left=sum(later.sessions for later in rounds)))

    def _note_given_up(self, error: GivenUp) -> None:
        """Have the outcome say so, and people at once: what is left to measure in other runtimes may take hours."""
        self._outcome.error = self._outcome.error or error
        self._note(error.reason)

    def _weigh(self, use: RuntimePlan) -> None:
        """Measure memory, load and first run of networks that lack them, each alone in fresh workers."""
        lacking = self._lacking_weights(use) if self._record is None else self._record.further(use, "memory")
        self._report_planned(len(lacking))
        for unit in lacking:
            if self._cancel.is_set():
                raise Cancelled()
            self._report(Activity(text=f"memory of {unit.model.architecture} in {use.configuration.runtime}"))
            result = self._start(use).weigh(unit)
            if isinstance(result, Failure) and result.kind in NO_MEMORY:
                self._note(f"memory is not measured in {use.configuration.runtime}: {result.message}")
                return
            if isinstance(result, Failure):
                self._kept(unit, result)
                self._report(SessionDone(failure=result.message))
                continue
            self._store.add_fresh_run(result, again=self._record is not None)
            self._failed_in_a_row[id(use)] = 0
            self._report(SessionDone())

    def _lacking_weights(self, use: RuntimePlan) -> list[PlannedSession]:
        """Return the fresh workers that networks lack."""
        stored = Counter[tuple[str, str]]()
        for purpose in set() if self._options.fresh else {model.purpose for model in use.models}:
            runs = self._store.fresh_runs(use.configuration, purpose)
            stored.update((run.purpose, run.graph_hash) for run in runs)
        return [
            PlannedSession(use, model, model.purpose)
            for model in use.models
            for _ in range(FRESH_RUNS - stored[model.purpose, model.graph_hash])
        ]

    def _sustain(self, use: RuntimePlan) -> None:
        """Keep the device busy with each network for the time that was asked for."""
        check_sustained(self._options.sustained_s, len(use.models))
        units = [PlannedSession(use, model, "sustained") for model in use.models]
        if self._record is not None:
            units = self._record.further(use, "sustained")
        self._report_planned(len(units))
        for unit in units:
            self._run_blocks(unit, sustained_plan(self._options.sustained_s))

    def _measure_energy(self, use: RuntimePlan) -> None:
        """Measure the energy of networks that lack it, by the device's own sensor; where there is none, say so once."""
        if self._record is not None:
            lacking = self._record.further(use, "energy")
        else:
            is_fresh = self._options.fresh
            stored = set() if is_fresh else _with_energy(self._store.block_runs(use.configuration, "energy"))
            models = (model for model in use.models if model.graph_hash not in stored)
            lacking = [PlannedSession(use, model, "energy") for model in models]
        if not lacking:
            return
        self._report(Activity(text="looking for a sensor of energy"))
        found = self._start(use).energy_sensor(lacking[0])
        update_s = found.get("update_s")
        plan = None if update_s is None else energy_plan(update_s)
        if plan is None:
            self._note(f"energy is not measured in {use.configuration.runtime}: {why_no_energy(found)}")
            return
        self._report_planned(len(lacking))
        for unit in lacking:
            run = self._run_blocks(unit, plan, found["sensor"])
            if run is not None and (trouble := _trouble_with_energy(run)):
                self._note(f"energy of {unit.model.architecture} is not known: {trouble}")

    def _run_blocks(
        self, unit: PlannedSession, plan: BlockPlan, sensor: Mapping[str, Any] = NOTHING
    ) -> BlockRun | None:
        """Run blocks and store what came of them. Raises: Cancelled, after what was measured is stored."""
        stopped = Cancelled(NEXT_TIME) if unit.purpose == "sustained" else Cancelled()
        if self._cancel.is_set():
            raise stopped
        runner = self._start(unit.use)
        try:
            run, failure = runner.run_blocks(unit, plan, sensor)
        except Cancelled:
            raise stopped from None
        if run is not None:
            try:
                self._store.add_block_run(run, again=self._record is not None)
            except Unstorable as error:
                run, failure = None, runner.failure(unit, "bad-result", str(error))
        if run is not None:
            self._outcome.measured += 1
            self._outcome.loop_s += sum(block.seconds for block in run.blocks)
        if self._cancel.is_set():
            raise stopped
        if failure is not None:
            self._kept(unit, failure)
        else:
            self._failed_in_a_row[id(unit.use)] = 0
        self._report(SessionDone(failure="" if failure is None else failure.message))
        return run

    def _recalibrate(self, use: RuntimePlan) -> None:
        """Measure the reference against itself; only sessions from now on determine its latency."""
        measuring = self._start(use)
        self._store.start_recalibration(use.configuration, now_utc())
        for number in range(CALIBRATION.sessions):
            self._report(Calibrating(runtime=use.title, number=number + 1, sessions=CALIBRATION.sessions))
            measuring.measure(
                [PlannedSession(use, use.reference, "calibration")], CALIBRATION.plan, self._keep
            )

    def _keep(self, unit: PlannedSession, result: Result) -> None:
        result = self._kept(unit, result)
        if isinstance(result, Failure):
            self._note(f"calibration failed: {result.message}")

    def _kept(self, unit: PlannedSession, result: Result) -> Result:
        """Store a session or a failure; return which it came to. Raises: GivenUp when everything fails, of no record."""
        key = id(unit.use)
        if isinstance(result, Failure):
            self._store.add_failure(result, again=self._record is not None)
            self._outcome.failures.append(result)
            self._failed_in_a_row[key] += 1
            if self._failed_in_a_row[key] >= CONSECUTIVE_FAILURES:
                self._give_up(unit, result)
            return result
        try:
            self._store.add_session(result, again=self._record is not None)
        except Unstorable as error:
            assert self._measuring is not None
            return self._kept(unit, self._measuring.failure(unit, "bad-result", str(error)))
        self._failed_in_a_row[key] = 0
        return result

    def _give_up(self, unit: PlannedSession, last: Failure) -> None:
        """Raise GivenUp; of a record note it alone, once: what the device measured all the same is there to be taken."""
        name = self._outcome.device
        error = GivenUp(
            f"device {name!r}",
            f"{CONSECUTIVE_FAILURES} networks failed in a row in "
            f"{unit.use.title}, the last with: {last.message}; "
            f"see 'harness doctor --device {name}'",
        )
        if self._record is None:
            raise error
        if self._failed_in_a_row[id(unit.use)] == CONSECUTIVE_FAILURES:
            self._note_given_up(error)

    def _keep_apart(self, session: SessionRecord) -> None:
        """Store a session that is measured again, unless no store could give it back."""
        with suppress(Unstorable):
            self._store.add_session(session, again=self._record is not None)

    def _take(self, unit: PlannedSession, result: Result) -> None:
        """Store a result, then count and report it."""
        result = self._kept(unit, result)
        if isinstance(result, Failure):
            self._report(SessionDone(failure=result.message))
            return
        self._outcome.measured += 1
        self._outcome.loop_s += result.loop_s
        self._report(SessionDone())
        self._report(Measuring(runtime=unit.use.title, architecture=unit.model.architecture))
        self._watch_reference(unit.use, result)
        self._watch_output(result)

    def _watch_reference(self, use: RuntimePlan, session: SessionRecord) -> None:
        """Probe the device again when the reference runs far off its latency."""
        if use.configuration.digest not in self._references_ns:
            try:
                reference = self._store.reference_latency(use.configuration)
            except StoreError:  # it does not answer; asked again after the next session
                return
            self._references_ns[use.configuration.digest] = reference.latency_ns if reference else 0.0
        expected_ns = self._references_ns[use.configuration.digest]
        is_far = expected_ns and abs(reference_latency_ns(session) / expected_ns - 1) > SENTINEL_SHARE
        if is_far and self._measuring is not None:
            self._measuring.distrust()  # the ratio is valid; the next session waits if a gate finds a reason

    def _watch_output(self, session: SessionRecord) -> None:
        """Report the first false output in each configuration: further sessions may be a waste of time."""
        key = session.configuration.digest
        if key not in self._told_wrong and is_wrong(session):
            self._told_wrong.add(key)
            what = f"{session.configuration.runtime} gives a false output for {session.architecture}"
            self._note(f"{what}: grade D (wrong-output), see 'harness results'")

    def _note(self, text: str) -> None:
        self._report(Note(text=text))

    def _report(self, event: Event) -> None:
        self._observer.event(self._outcome.device, event)


def check_sustained(seconds: float, networks: int) -> None:
    """Raise ConfigError for more networks than can be kept under load one after another."""
    if networks > MOST_SUSTAINED:
        raise ConfigError(
            f"--sustained takes {clock(seconds)} for each of {networks} networks; name {MOST_SUSTAINED} at most"
        )


def _with_energy(runs: Sequence[BlockRun]) -> set[str]:
    """Return the graph hashes of networks whose runs tell an energy."""
    return {run.graph_hash for run in runs if not _trouble_with_energy(run)}


def _trouble_with_energy(run: BlockRun) -> str:
    """Return why a run tells no energy, empty where it does."""
    try:
        energy_of(run)
    except NoEnergy as error:
        return str(error)
    return ""


class GivenUp(DeviceError):
    """A runtime of a device in which everything fails; the campaign continues with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRound:
    """One more session of each network of a runtime plan that lacks one: batches, each for one worker."""

    use: RuntimePlan
    plan: SessionPlan
    batches: tuple[tuple[PlannedSession, ...], ...]

    @property
    def sessions(self) -> int:
        """Return the number of sessions to be measured."""
        return sum(map(len, self.batches))


def plan_rounds(use: RuntimePlan, options: Options, store: Store, rng: random.Random) -> list[SessionRound]:
    """Return the rounds of sessions that the store lacks, each in random order across networks.

    Where a level has shared sessions, they are those of all rounds but the last: every network soon has a number to show.
    """
    rounds = []
    for number, units in enumerate(_lacking(use, options, store)):
        if units:
            plan, workers = plan_round(units, number, options, rng, pace=use.pace, alone=use.alone)
            rounds.append(SessionRound(use=use, plan=plan, batches=workers))
    return rounds


def plan_round(
    units: Sequence[T],
    number: int,
    options: Options,
    rng: random.Random,
    *,
    pace: Pace | None = None,
    alone: bool = False,
) -> tuple[SessionPlan, tuple[tuple[T, ...], ...]]:
    """Return how the units of round `number` are timed, and the batches of each worker, in random order.

    `pace`: None where the plan's own numbers fit. `alone`: each unit has a worker of its own.
    """
    level, last = options.level, max(options.sessions_each - 1, 1)
    shared = level.shared if number < last else None
    at_once = 1 if alone else QUICK.at_once if shared else level.at_once
    shuffled = list(units)
    rng.shuffle(shuffled)
    workers = batches(shuffled, at_once, is_only=options.sessions_each == 1)
    return (shared or level.plan).at(pace or Pace()), workers


def batches(units: Sequence[T], at_once: int, *, is_only: bool = True) -> tuple[tuple[T, ...], ...]:
    """Distribute units over workers: one each, or, where workers take many, as few as that allows.

    If these are the only sessions of their networks, it is at least three workers with some networks in common, which measure
    the differences between workers; sessions in other rounds do so, too.
    """
    if at_once == 1:
        return tuple((unit,) for unit in units)
    count = -(-len(units) // at_once)
    if is_only:
        count = min(max(FEWEST_WORKERS, count), max(1, len(units) // BRIDGES))
    bridges = tuple(units[:BRIDGES]) if is_only and count > 1 else ()
    rest = units[len(bridges) :]
    return tuple((*bridges, *rest[number::count]) for number in range(count))


def _lacking(use: RuntimePlan, options: Options, store: Store) -> list[list[PlannedSession]]:
    """Return the missing units of a runtime plan, by session number."""
    counts: dict[tuple[str, str], int] = {}
    for purpose in set() if options.fresh else {model.purpose for model in use.models}:
        stored = store.session_counts(use.configuration, purpose)
        counts |= {(purpose, key): count for key, count in stored.items()}
    rows: list[list[PlannedSession]] = [[] for _ in range(options.sessions_each)]
    for model in use.models:
        for number in range(counts.get((model.purpose, model.graph_hash), 0), options.sessions_each):
            rows[number].append(PlannedSession(use, model, model.purpose))
    return rows

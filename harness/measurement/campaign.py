"""A measurement campaign on one device; resumable, and failures are records.

Stored sessions count, so the same command resumes a campaign that was killed. Rounds of sessions take the runtimes in turn, so
that each soon has numbers to show; within a round the order is random across networks, so that slow drifts of the device spread
evenly.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from device_agents.attempts import FAILURES_IN_A_ROW, NO_MEMORY
from device_agents.block_plans import BlockPlan, energy_plan, sustained_plan, why_no_energy
from device_agents.core_gate import CoreGate, verified_request
from device_agents.throttling import POLL_S, Gate
from harness.devices.config import Device
from harness.devices.connection import Connection, new_owner
from harness.devices.link import Link, probe_conditions
from harness.devices.runtimes import allowed_cores, choose_runtimes, likely_runtimes
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.errors import Cancelled, DeviceError, LinkError, StoreError, Unstorable
from harness.estimates.energy import trouble_with_energy
from harness.estimates.estimate import reference_latency_ns
from harness.estimates.outputs import is_reference_wrong, is_wrong
from harness.measurement.durations import DeviceProbe
from harness.measurement.events import (
    Activity,
    BusyCores,
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
from harness.measurement.plan import CALIBRATION, Options
from harness.measurement.rounds import LackingSessions, SessionRound, Work
from harness.measurement.session_runner import (
    NOTHING,
    Circumstances,
    PlannedSession,
    Result,
    SessionRunner,
    Withdrawn,
)
from harness.measurement.uploads import send_ahead
from harness.measurement.workload import (
    GroupedSource,
    ModelSource,
    RuntimePlan,
    other_machines,
    plan_runtime,
    source_groups,
)
from harness.records import FILE_SPACE, BlockRun, Failure, FreshRun, SessionRecord
from harness.store import Store
from space.errors import ConfigError, HarnessError
from space.text import clock, counted

EXPECTED_AT_ONCE = 50  # between two words on how far it is
MOST_SUSTAINED = 10  # networks of a runtime: at half an hour each five hours
NEXT_TIME = "the same command begins anew"
SENTINEL_SHARE = 0.3  # deviation of the reference from its latency at which the device is probed again


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
    def ending(self) -> str:
        """The campaign's end, in words."""
        if self.error is not None:
            return f"stopped: {self.error}"
        return f"complete with {counted(len(self.failures), 'failure')}" if self.failures else "complete"

    @property
    def exit_status(self) -> int:
        """Return the command's exit status: the error's, 3 where only some networks failed, else 0."""
        if self.error is not None:
            return self.error.exit_status
        return 3 if self.failures else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTask:
    """The models to measure on a device, and where the results and the progress go; `cancel` is set to stop it."""

    device: Device
    source: ModelSource | GroupedSource
    options: Options
    store: Store
    observer: Observer
    outcome: Outcome
    cancel: threading.Event

    def report(self, event: Event) -> None:
        """Tell the observer of an event."""
        self.observer.event(self.device.name, event)


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
    campaign = CampaignTask(
        device=device, source=source, options=options, store=store, observer=observer, outcome=outcome, cancel=cancel
    )  # fmt: skip
    likely = likely_runtimes(device, options.runtimes, options.formats)
    connection = Connection(device, connect(device), owner=new_owner(), wait_s=wait_s, runtimes=likely)
    try:
        campaign.report(Connecting())
        connection.open(retry=True, on_progress=campaign.report, cancel=cancel)
        work = LackingSessions(device=device.name, options=options, store=store, rng=rng)
        measure_over(connection, campaign, work, Circumstances())
    finally:
        connection.close()
        outcome.elapsed_s = time.monotonic() - started
        outcome.sent_bytes = connection.sent_bytes
    return outcome


def measure_over(link: Link, campaign: CampaignTask, work: Work, circumstances: Circumstances) -> None:
    """Measure over an open link what the store lacks, or read what a record has. Raises: as `run_campaign`."""
    device, source, options = campaign.device, campaign.source, campaign.options
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

    def uses() -> Iterator[tuple[RuntimePlan, tuple[str, ...]]]:
        """Yield each runtime plan, and the names of the runtimes that are prepared after it."""
        for place, runtime in enumerate(runtimes, 1):
            campaign.report(Preparing(precisions=tuple(precisions), model_format=runtime.format))
            probe = work.probe(runtime) or DeviceProbe(
                device.name, link, campaign.store, runtime, allowed, options, campaign.report, campaign.cancel
            )
            groups = 1 if isinstance(source, GroupedSource) else len(precisions) * len(options.batches)
            for number, group in enumerate(
                source_groups(source, runtime.format, precisions, options.batches, probe), 1
            ):
                later = [one.name for one in runtimes[place - (number < groups) :]]
                yield plan_runtime(device, link.hello, conditions, group, runtime, allowed), tuple(later)

    _CampaignRun(link, campaign, work, circumstances, conditions).measure(uses())


class _CampaignRun:
    """The measuring part of one campaign."""

    def __init__(
        self,
        link: Link,
        campaign: CampaignTask,
        work: Work,
        circumstances: Circumstances,
        conditions: Mapping[str, Any],
    ) -> None:
        self._link, self._work, self._circumstances, self._conditions = link, work, circumstances, conditions
        self._store, self._outcome, self._options = campaign.store, campaign.outcome, campaign.options
        self._cancel, self._report = campaign.cancel, campaign.report
        self._measuring: SessionRunner | None = None
        self._failed_in_a_row: Counter[int] = Counter()  # by id of the runtime plan, as a packed job counts
        self._expected: dict[tuple[str, str, str, int], tuple[float, ...]] = {}  # outputs, by `Model.key`
        self._told = set[str]()  # configurations with false outputs, models that changed
        self._stored: dict[str, bool] = {}  # sessions, by id: whether they count as measured
        self._references_ns: dict[str, float] = {}  # by configuration, as the campaign first knew them
        self._later: tuple[str, ...] = ()  # what has sessions that are not planned yet
        self._further = {
            name: measure
            for name, measure, is_asked in (
                ("memory", self._weigh, self._options.memory),
                ("energy", self._measure_energy, self._options.energy),
                ("sustained", self._sustain, self._options.sustained_s),
            )
            if is_asked
        }

    def measure(self, uses: Iterable[tuple[RuntimePlan, tuple[str, ...]]]) -> None:
        """Measure the missing sessions, then what is asked for beside them. uses: each with the names of those to come."""
        try:
            self._measure_further(self._measure_sessions(uses))
        except HarnessError as error:
            if not self._outcome.campaign_id:
                raise
            self._outcome.error = error
        if self._outcome.campaign_id:
            self._end()

    def _measure_sessions(self, uses: Iterable[tuple[RuntimePlan, tuple[str, ...]]]) -> list[RuntimePlan]:
        """Measure a first round of each runtime once its models are exported, then the others in turns; return the plans."""
        pending: list[list[SessionRound]] = []
        planned: list[RuntimePlan] = []  # of this campaign: an outcome may be of several starts of a job
        for use, later in uses:
            self._outcome.uses.append(use)
            planned.append(use)
            self._later = (*later, *self._further_names(0))
            rounds = self._plan(use)
            self._send_ahead(use, rounds)
            self._expect(use, [unit for one in rounds for batch in one.batches for unit in batch])
            if self._options.recalibrate:
                self._recalibrate(use)
            self._measure_next(rounds)
            pending.append(rounds)
        while any(pending):
            for rounds in pending:
                self._measure_next(rounds)
        return planned

    def _measure_further(self, planned: Sequence[RuntimePlan]) -> None:
        """Measure memory, energy or runs under load, as asked for; a runtime in which everything fails is left."""
        for place, measure in enumerate(self._further.values()):
            for use in planned:
                self._later = self._further_names(place + (use is planned[-1]))
                try:
                    measure(use)
                except GivenUp as error:
                    self._note_given_up(error)

    def _further_names(self, start: int) -> tuple[str, ...]:
        """Return the names of what is measured beside sessions from a place on; none of a record, which is read in a moment."""
        return () if self._work.is_record else tuple(self._further)[start:]

    def _end(self) -> None:
        """Note in the store how the campaign ended, and write what waits for the store."""
        outcome = self._outcome
        outcome.setbacks += self._measuring.setbacks if self._measuring is not None else Counter()
        try:
            self._work.end(outcome.campaign_id, outcome.ending)
            if not self._cancel.is_set() and (left := self._store.settle()):
                raise StoreError(left)
        except StoreError as error:
            outcome.error = outcome.error or error

    def _plan(self, use: RuntimePlan) -> list[SessionRound]:
        """Return the rounds of a runtime plan, and count the sessions already stored."""
        rounds = self._work.rounds(use)
        lacking = sum(len({id(unit) for batch in one.batches for unit in batch}) for one in rounds)
        self._outcome.reused += len(use.models) * self._options.sessions_each - lacking
        self._report_planned(sum(one.sessions for one in rounds))
        if rounds and use.machine_id:
            others = len(self._store.machines(use.configuration) - {use.machine_id})
            if others:
                self._note(other_machines(self._outcome.device, others))
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

    def _expect(self, use: RuntimePlan, missing: Sequence[PlannedSession]) -> None:
        """Find out which outputs missing sessions and their reference should give, before any is timed: that takes long."""
        models = {
            model.key: model
            for model in (use.reference, *(unit.model for unit in missing))
            if missing and model.expected is not None and model.key not in self._expected
        }
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
            outcome, terms = self._outcome, self._circumstances
            outcome.campaign_id = self._work.begin(use)
            self._report(Activity(text="asking for the core"))
            request = self._ask_for(use.configuration.cores, use.configuration.threads)
            remedy = "stop that program, or name free cores with --cores"
            if self._work.is_record:
                remedy = "stop that program, and start the job there again"
            elif not request:
                remedy += (
                    f"; 'harness doctor --device {outcome.device}' says what lets harness get ahead of it"
                )
            self._measuring = SessionRunner(
                link=self._link,
                campaign_id=outcome.campaign_id,
                silence_s=self._options.silence_s,
                gate=Gate(self._conditions, terms.clock_s, 0.0 if self._work.is_record else POLL_S),
                core_gate=CoreGate(self._note, lambda: self._report(BusyCores()), terms.clock_s, remedy),
                request=request,
                expected=self._expected,
                keep=self._keep_apart,
                withdraw=self._withdraw,
                on_progress=self._report,
                cancel=self._cancel,
                circumstances=terms,
            )
        return self._measuring

    def _ask_for(self, cores: tuple[int, ...], threads: int) -> str:
        """Ask which scheduling the cores can get; a broken connection is reopened. Raises: DeviceError."""
        try:
            return verified_request(self._link.client.permissions(new_owner(), cores, threads))
        except LinkError:
            self._link.reopen(self._report, self._cancel)
            return verified_request(self._link.client.permissions(new_owner(), cores, threads))

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
        """Note it in the outcome, and report it at once: the rest, in other runtimes, may take hours."""
        self._outcome.error = self._outcome.error or error
        self._note(error.reason)

    def _weigh(self, use: RuntimePlan) -> None:
        """Measure memory, load and first run of networks that lack them, each alone in fresh workers."""
        lacking = self._work.further(use, "memory")
        self._report_planned(len(lacking))
        self._expect(use, lacking)
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
            self._store.add_fresh_run(result, again=self._work.is_record)
            self._note_changed(result)
            self._failed_in_a_row[id(use)] = 0
            self._report(SessionDone())

    def _sustain(self, use: RuntimePlan) -> None:
        """Keep the device busy with each network for the time that was asked for."""
        check_sustained(self._options.sustained_s, len(use.models))
        units = self._work.further(use, "sustained")
        self._report_planned(len(units))
        self._expect(use, units)
        for unit in units:
            self._run_blocks(unit, sustained_plan(self._options.sustained_s))

    def _measure_energy(self, use: RuntimePlan) -> None:
        """Measure the energy of networks that lack it, by the device's own sensor; where there is none, say so once."""
        lacking = self._work.further(use, "energy")
        if not lacking:
            self._report_planned(0)
            return
        self._report(Activity(text="looking for a sensor of energy"))
        found = self._start(use).energy_sensor(lacking[0])
        update_s = found.get("update_s")
        plan = None if update_s is None else energy_plan(update_s)
        if plan is None:
            self._note(f"energy is not measured in {use.configuration.runtime}: {why_no_energy(found)}")
            self._report_planned(0)
            return
        self._report_planned(len(lacking))
        self._expect(use, lacking)
        for unit in lacking:
            run = self._run_blocks(unit, plan, found["sensor"])
            if run is None:
                continue
            self._note_changed(run)
            if trouble := trouble_with_energy(run):
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
                self._store.add_block_run(run, again=self._work.is_record)
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
        self._store.start_recalibration(use.configuration, self._circumstances.now_utc())
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
            self._store.add_failure(result, again=self._work.is_record)
            self._outcome.failures.append(result)
            self._failed_in_a_row[key] += 1
            if self._failed_in_a_row[key] >= FAILURES_IN_A_ROW:
                self._give_up(unit, result)
            return result
        try:
            self._store.add_session(result, again=self._work.is_record)
        except Unstorable as error:
            assert self._measuring is not None
            return self._kept(unit, self._measuring.failure(unit, "bad-result", str(error)))
        self._stored[result.session_id] = unit.purpose != "calibration"
        self._failed_in_a_row[key] = 0
        return result

    def _give_up(self, unit: PlannedSession, last: Failure) -> None:
        """Raise GivenUp; of a record note it alone, once: what the device measured all the same is there to be taken."""
        name = self._outcome.device
        hint = (
            "start the job there again" if self._work.is_record else f"see 'harness doctor --device {name}'"
        )
        error = GivenUp(
            f"device {name!r}",
            f"{FAILURES_IN_A_ROW} networks failed in a row in {unit.use.title}, the last with: {last.message}; {hint}",
        )
        if not self._work.is_record:
            raise error
        if self._failed_in_a_row[id(unit.use)] == FAILURES_IN_A_ROW:
            self._note_given_up(error)

    def _keep_apart(self, session: SessionRecord) -> None:
        """Store a session that is measured again, unless no store could give it back."""
        with suppress(Unstorable):
            self._store.add_session(session, again=self._work.is_record)
            self._stored[session.session_id] = False

    def _withdraw(self, sessions: Sequence[Withdrawn]) -> None:
        """Set stored sessions apart and keep the failures that they are, which are none of those in a row. Raises: StoreError."""
        # One that no store could give back is a failure already.
        left = [one for one in sessions if one[0].session_id in self._stored]
        for place, (session, why, failure) in enumerate(left):
            try:
                self._store.set_apart(session.session_id)
                if failure is not None:
                    self._store.add_failure(failure, again=self._work.is_record)
            except StoreError as error:
                ids = " ".join(one.session_id for one, _, _ in left[place:])
                raise StoreError(
                    f"{error}; {session.architecture}: {why}: once the store is mended, set apart what its worker measured with "
                    f"'harness store quarantine {ids}'"
                ) from error
            self._outcome.measured -= self._stored[session.session_id]
            if failure is not None:
                self._outcome.failures.append(failure)
            self._note(f"{session.architecture} is set apart: {why}")

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
        is_own = is_wrong(session)
        if key not in self._told and (is_own or is_reference_wrong(session)):
            self._told.add(key)
            of = session.architecture if is_own else "the reference"
            what = f"{session.configuration.runtime} gives a false output for {of}"
            kind = "wrong-output" if is_own else "wrong-reference"
            self._note(f"{what}: grade D ({kind}), see 'harness results'")

    def _note_changed(self, run: FreshRun | BlockRun) -> None:
        """Report once that a model has changed since its latency was measured: nothing of it is told beside that."""
        last = self._store.model_digests(run.configuration).get(run.graph_hash, run.model_digest)
        if run.model_digest not in (last, *self._told):
            self._told.add(run.model_digest)
            self._note(
                f"{run.architecture}: its model has changed since its latency was measured, so neither its memory nor its "
                "energy is told beside that: measure it again with --fresh"
            )

    def _note(self, text: str) -> None:
        self._report(Note(text=text))


def check_sustained(seconds: float, networks: int) -> None:
    """Raise ConfigError for more networks than can be kept under load one after another."""
    if networks > MOST_SUSTAINED:
        raise ConfigError(
            f"--sustained takes {clock(seconds)} for each of {networks} networks; name {MOST_SUSTAINED} at most"
        )


class GivenUp(DeviceError):
    """A runtime of a device in which everything fails; the campaign continues with the others."""

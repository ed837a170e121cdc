"""Run sessions on a device, retrying on failed readiness checks, throttling, contention, lost connections and damaged parts."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

from device_agents.attempts import DISK_FULL, LOST, REDO_AFTER_S, Attempts, Fault, Judge
from device_agents.block_plans import BlockPlan
from device_agents.core_gate import CoreGate, Hopeless, QuietCores
from device_agents.throttling import Gate
from harness.devices.adb.clock import since_boot_ns
from harness.devices.adb.watch import SOURCE
from harness.devices.conditions import signs_of_samples, stayed_as_set
from harness.devices.config import DEFAULT_PRECISION
from harness.devices.link import Link, beside, probe_conditions
from harness.devices.trial import find_sensor
from harness.errors import AgentError, BadResult, Cancelled, DeviceError, LinkError
from harness.estimates.clean_runs import is_contended
from harness.estimates.outputs import output_limit, why_false
from harness.measurement.block_runs import BlockRunBuilder
from harness.measurement.events import Measuring, OnProgress, Reconnecting, Repeating, Unready
from harness.measurement.model_faults import with_remedy
from harness.measurement.plan import SessionPlan
from harness.measurement.session_builder import Refused, SessionBuilder
from harness.measurement.uploads import send_parts
from harness.measurement.workload import Model, RuntimePlan, changes
from harness.records import COMPLETE, FILE_SPACE, BlockRun, Failure, FreshRun, SessionRecord
from space.assembly import Assembly
from space.errors import HarnessError

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """A session to be measured: a model in a runtime plan, and the purpose of its record."""

    use: RuntimePlan
    model: Model
    purpose: str


class Changed(Exception):
    """A device that is no longer as the campaign found it."""


class FalseOutput(Exception):
    """A device that computes something else than a network or its reference."""


Result = SessionRecord | Failure
Told = tuple[PlannedSession, SessionRecord, Mapping[str, Any]]  # with the last event of the session
Withdrawn = tuple[
    SessionRecord, str, Failure | None
]  # with the reason, and the failure that it is instead, if any
Take = Callable[[PlannedSession, Result], None]


def now_utc() -> str:
    """Return the time in UTC to the millisecond, as records hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def steady_utc() -> Callable[[], str]:
    """Return `now_utc` as it goes on from here by a clock that nobody sets.

    Sessions whose clock was set between them would seem to be of several visits of the device, or in another order.
    """
    begin, begin_ns = datetime.fromisoformat(now_utc()), since_boot_ns()

    def steady() -> str:
        passed = timedelta(microseconds=(since_boot_ns() - begin_ns) / 1e3)
        return (begin + passed).isoformat(timespec="milliseconds")

    return steady


def setback(session: SessionRecord) -> str:
    """Return the purpose of a session that is to be measured again, `throttled` or `contended`; empty where all is well."""
    if any(signs for _, signs in signs_of_samples(session)):
        return "throttled"
    return "contended" if is_contended(session) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Names, dates and verdicts of sessions: made here and now by default; by a record where they are read from one.

    `session_id`: of a unit at an attempt; `process_id`: of a worker. `set_aside` returns a session that is measured again as it
    is kept, by its purpose; None of one that is not. `begin` is told which units come next. `can_ask`: whether the device can be
    asked for its conditions now. `again`: how its user has sessions measured anew.
    """

    session_id: Callable[[PlannedSession, int], str] = lambda unit, attempt: str(uuid.uuid4())
    process_id: Callable[[], str] = lambda: str(uuid.uuid4())
    now_utc: Callable[[], str] = field(default_factory=steady_utc)
    clock_s: Callable[[], float] = lambda: since_boot_ns() / 1e9
    set_aside: Callable[[PlannedSession, SessionRecord], SessionRecord | None] = lambda unit, session: (
        replace(session, purpose=trouble) if (trouble := setback(session)) else None
    )
    begin: Callable[[Sequence[PlannedSession]], None] = lambda units: None
    can_ask: Callable[[], bool] = lambda: True
    again: str = "give the same command again"


@dataclass(slots=True, kw_only=True)
class SessionRunner:
    """Runner of one campaign's sessions.

    `gate` and `core_gate` are what each worker passes; `request`: how its cores are asked for, empty for not; `expected` holds
    outputs by `Model.key`; `keep` stores a session that was throttled or contended and is measured again; `withdraw` takes back
    those of a worker that were handed on.
    """

    link: Link
    campaign_id: str
    silence_s: float
    gate: Gate
    core_gate: CoreGate
    request: str
    expected: Mapping[tuple[str, str, str, int], tuple[float, ...]]
    keep: Callable[[SessionRecord], None]
    withdraw: Callable[[Sequence[Withdrawn]], None]
    on_progress: OnProgress
    cancel: threading.Event
    circumstances: Circumstances = field(default_factory=Circumstances)
    setbacks: Counter[str] = field(default_factory=Counter)  # of sessions measured again, by why
    _attempts: Attempts[PlannedSession] = field(default_factory=Attempts)
    _told: list[Told] = field(default_factory=list)  # of a worker that may have left the device otherwise set
    _is_broken: bool = False  # the link, with which nothing more was asked
    _is_distrusted: bool = False  # said so while a worker ran, whose end does not undo it

    def measure(self, units: Sequence[PlannedSession], plan: SessionPlan, take: Take) -> None:
        """Measure units of one use in one worker, and hand each result on as it comes; see `Attempts.measure`.

        Raises: Cancelled; DeviceError when the device cannot be reached again, or its cores are never free.
        """
        self.circumstances.begin(units)
        try:
            self._attempts.measure(
                units,
                partial(self._run, plan, take),
                lambda unit, kind, message: take(unit, self.failure(unit, kind, message)),
                self._repeat,
            )
        except HarnessError as error:
            self._doubt("stopped by the user" if isinstance(error, Cancelled) else error.reason)
            raise

    def _repeat(self, units: Sequence[PlannedSession], is_throttled: bool) -> None:
        """Tell that units are measured again, after a rest where the device throttled."""
        wait_s = REDO_AFTER_S if is_throttled else 0.0
        self.on_progress(Repeating(sessions=len(units), throttled=is_throttled, wait_s=wait_s))
        if is_throttled:
            self.cancel.wait(wait_s)
            self.distrust()

    def _judge(self, judge: Judge[PlannedSession], take: Take, unit: PlannedSession, result: Result) -> None:
        """Take a result, or keep apart a disturbed session whose unit is measured again."""
        apart = None if isinstance(result, Failure) else self.circumstances.set_aside(unit, result)
        trouble = "" if apart is None else apart.purpose
        if judge(unit, None if isinstance(result, Failure) else trouble) and apart is not None:
            self.keep(apart)
            self.setbacks[apart.purpose] += 1
        else:
            take(unit, result)

    def weigh(self, unit: PlannedSession) -> FreshRun | Failure:
        """Load and run a network alone in a fresh worker. Raises: Cancelled; DeviceError when the device stays away."""
        self.circumstances.begin([unit])
        configuration, assembly = unit.use.configuration, unit.model.assemble()
        job = self._job(unit.use, configuration.cores) | {"network": assembly.recipe()}
        started_utc = self.circumstances.now_utc()
        try:
            send_parts(self.link, [assembly], self.on_progress, self.cancel)
            self.gate.note(NOTHING)
            said = self.link.client.weigh(job)
        except LinkError as error:
            self.link.reopen(self.on_progress, self.cancel)
            return self.failure(unit, "link-lost", error.reason)
        except AgentError as error:
            return self.failure(unit, error.kind, error.reason)
        if changed := self._changes(unit, said.get("conditions_before", NOTHING), said):
            return self._changed(unit, changed)
        # Of an agent of before none is told.
        if "output" in said and (
            why := self._why_false(unit.model, said["output"], output_limit(configuration))
        ):
            return self.failure(unit, "wrong-output", why)
        names = ("model_bytes", "empty_bytes", "peak_bytes", "is_reset", "load_ns", "first_run_ns")
        try:
            return FreshRun(
                run_id=self.circumstances.session_id(unit, 0),
                started_utc=started_utc,
                **self._identity(unit, assembly.digest),
                **{name: said[name] for name in names},
            )
        except ValueError as error:
            return self.failure(unit, "bad-result", f"the device says of a fresh worker: {error}")

    def energy_sensor(self, unit: PlannedSession) -> dict[str, Any]:
        """Return the sensor of energy that the device has for what a unit runs on, or why it has none. Raises: DeviceError."""
        provider = unit.use.configuration.provider
        self._begin(unit)
        try:
            return self._find_sensor(provider)
        except LinkError:
            self.link.reopen(self.on_progress, self.cancel)
            return self._find_sensor(provider)
        except AgentError as error:
            return {"reasons": [str(error)]}

    def _begin(self, unit: PlannedSession) -> None:
        """Begin with a unit that is no session, over a link that is whole. Raises: DeviceError."""
        self.circumstances.begin([unit])
        if self._is_broken:
            self.link.reopen(self.on_progress, self.cancel)
            self._is_broken = False

    def _find_sensor(self, provider: str) -> dict[str, Any]:
        phone = self.link.phone
        return find_sensor(self.link.client, provider, None if phone is None else phone.energy_sensor)

    def run_blocks(
        self, unit: PlannedSession, plan: BlockPlan, sensor: Mapping[str, Any] = NOTHING
    ) -> tuple[BlockRun | None, Failure | None]:
        """Run blocks of a network and its reference; return what was measured, and why that is not all where it is not.

        Nobody is asked for a core: an app asks for none either. A run that broke off, or that the user stopped, is kept as far
        as it came. `sensor`: that of energy, which is read beside it. Raises: Cancelled where nothing was measured by then;
        DeviceError when the device cannot be reached again.
        """
        self._begin(unit)
        builder: BlockRunBuilder | None = None
        phone = self.link.phone
        ended, failure, after = COMPLETE, None, NOTHING
        try:
            builder, job = self._prepare_blocks(unit, plan, sensor)
            answer = self.link.client.run_blocks(job, self._watcher(unit, builder))
            after = answer.get("conditions_after", NOTHING)
            is_told = bool(after and builder.began)
            if (
                unit.purpose == "energy"
                and is_told
                and (changed := self._changes(unit, after, builder.began))
            ):
                return None, self._changed(unit, changed)
        except Cancelled:
            if builder is None or not builder.has_runs:
                raise
            ended = "stopped by the user"
        except Changed as error:
            return None, self._changed(unit, str(error))
        except FalseOutput as error:
            self._is_broken = True  # its worker is still at the job
            return None, self.failure(unit, "wrong-output", str(error))
        except LinkError as error:
            self._is_broken = True
            ended, failure = error.reason, self.failure(unit, "link-lost", error.reason)
        except AgentError as error:
            ended, failure = error.reason, self.failure(unit, error.kind, error.reason)
        if builder is None or (failure is not None and not builder.has_runs):
            return None, failure
        try:
            run = builder.build(ended, after)
            return run if phone is None else phone.joined(run), failure
        except ValueError as error:
            return None, failure or self.failure(
                unit, "bad-result", f"the device says of its blocks: {error}"
            )

    def _prepare_blocks(
        self, unit: PlannedSession, plan: BlockPlan, sensor: Mapping[str, Any]
    ) -> tuple[BlockRunBuilder, dict[str, Any]]:
        """Send the models and wait until the device is fit; return what takes in the events, and the job."""
        use = unit.use
        network, reference = unit.model.assemble(), use.reference.assemble()
        gate, quiet, found = self._wait_until_fit(use, [reference, network], "")
        identity = self._identity(unit, network.digest) | {
            "run_id": self.circumstances.session_id(unit, 0),
            "started_utc": self.circumstances.now_utc(),
            "gate": gate,
            "sensor": dict(sensor),
        }
        models = {"network": network.recipe(), "reference": reference.recipe()}
        job = asdict(plan) | models | self._job(use, quiet.cores)
        is_by_adb = sensor.get("source") == SOURCE
        if sensor and not is_by_adb:
            job["energy_of"] = use.configuration.provider
        if self.link.phone is not None:
            self.link.phone.begin(gauge=is_by_adb)
        return BlockRunBuilder(plan, identity, {"probe": found}), job

    def _watcher(self, unit: PlannedSession, builder: BlockRunBuilder) -> Callable[[Mapping[str, Any]], None]:
        """Return an observer of the events of blocks, which shows how far they are."""

        def on_event(event: Mapping[str, Any]) -> None:
            if self.cancel.is_set():
                raise Cancelled()
            builder.add(event)
            if event["event"] == "began":
                if changed := self._changes(unit, builder.conditions, event):
                    raise Changed(changed)
                self._judge_outputs(unit, event)
            if event["event"] in ("began", "block"):
                network = unit.model.architecture
                self.on_progress(
                    Measuring(runtime=unit.use.title, architecture=network, progress=builder.progress)
                )

        self._is_distrusted = False
        self.gate.note(NOTHING)
        return on_event

    def _changes(
        self, unit: PlannedSession, conditions: Mapping[str, Any], measured: Mapping[str, Any]
    ) -> str:
        """Describe how the device is no longer as the campaign found it, by its conditions and what it measured with."""
        return changes(unit.use, self.link.hello, beside(self.link, conditions), measured)

    def _judge_outputs(self, unit: PlannedSession, began: Mapping[str, Any]) -> None:
        """Check the outputs that a worker told before its blocks. Raises: FalseOutput."""
        limit = output_limit(unit.use.configuration)
        for name, model in (("output", unit.model), ("reference_output", unit.use.reference)):
            if name not in began:  # of an agent of before
                continue
            if why := self._why_false(model, began[name], limit):
                raise FalseOutput(why)

    def _why_false(self, model: Model, output: Sequence[float], limit: float) -> str:
        right = self.expected.get(model.key, ())
        return why_false(model.architecture, output, right, limit, is_network=model.purpose != "segment")

    def distrust(self) -> None:
        """Ask the device anew for its conditions before the next worker."""
        self.gate.note(NOTHING)
        self._is_distrusted = True

    def failure(self, unit: PlannedSession, kind: str, message: str) -> Failure:
        """Return a failure of a unit, now; what a runtime refuses may be the precision, which the message then says."""
        c = unit.use.configuration
        is_file = c.space == FILE_SPACE  # whose precision is its own
        if kind == "worker-error" and c.precision != DEFAULT_PRECISION and not is_file:
            message += (
                f"; if {c.runtime} {c.runtime_version} cannot run {c.precision} models there, name another --runtime, "
                f"or measure with --precision {DEFAULT_PRECISION}"
            )
        if kind == "worker-error" and c.batch > 1 and "@" in c.space:  # of a user's modules
            message += (
                "; if a module has the sizes of one image in its code, as x.view(x.shape[0], -1) has once it is traced, write "
                "x.flatten(1), or measure without --batch"
            )
        return Failure(
            campaign_id=self.campaign_id,
            configuration=c,
            architecture=unit.model.architecture,
            graph_hash=unit.model.graph_hash,
            kind=kind,
            message=with_remedy(message) if is_file else message,
            time_utc=self.circumstances.now_utc(),
        )

    def _run(
        self,
        plan: SessionPlan,
        take: Take,
        units: Sequence[PlannedSession],
        attempt: int,
        cure: str,
        judge: Judge[PlannedSession],
    ) -> Fault:
        """Measure units in a fresh worker, over a link that is whole again afterwards; see `device_agents.attempts`."""
        if self.cancel.is_set():
            raise Cancelled()
        fault = "", ""
        try:
            if cure == DISK_FULL:
                self.link.client.evict(0)
            elif cure:
                self.link.client.forget_parts()
            self._run_worker(units, plan, attempt, partial(self._judge, judge, take))
        except LinkError as error:
            self.distrust()
            self.on_progress(Reconnecting(reason=error.reason))
            self.link.reopen(self.on_progress, self.cancel)
            if self.cancel.is_set():
                raise Cancelled() from error
            fault = LOST, error.reason
        except BadResult as error:
            self.link.reopen(self.on_progress, self.cancel)  # its worker is still at the job
            fault = "bad-result", error.reason
        except AgentError as error:
            fault = error.kind, error.reason
        if self._told:
            if self.cancel.is_set():
                raise Cancelled()
            self._look_after()
        return fault

    def _run_worker(
        self, units: Sequence[PlannedSession], plan: SessionPlan, attempt: int, take: Take
    ) -> None:
        """Measure units of one use in a fresh worker, in their order; units that it did not come to are left."""
        use = units[0].use
        networks, reference = [unit.model.assemble() for unit in units], use.reference.assemble()
        gate, quiet, found = self._wait_until_fit(use, [reference, *networks], self.request)
        terms = self.circumstances
        process = terms.process_id()
        if self.link.phone is not None:
            self.link.phone.begin()

        def identity(number: int) -> dict[str, Any]:
            unit = units[number]
            inputs = {"inputs": dict(unit.model.inputs)} if unit.model.inputs else {}
            return self._identity(unit, networks[number].digest) | {
                "session_id": terms.session_id(unit, attempt),
                "plan": asdict(plan) | inputs,
                "gate": gate | {"attempt": attempt},
                "process": process,
                "expected": self.expected.get(unit.model.key, ()),
            }

        known: dict[str, Any] = {"probe": found}
        if quiet.quota_cores is not None:
            known["quota_cores"] = quiet.quota_cores
        builder = SessionBuilder(
            *(len(units), identity, terms.now_utc),
            scheduling=known,
            clock_s=terms.clock_s,
            expected_reference=self.expected.get(use.reference.key, ()),
        )
        job = self._job(use, quiet.cores) | {
            "networks": [network.recipe() for network in networks],
            "reference": reference.recipe(),
            "plan": asdict(plan),
            "request": self.request,
        }
        self._is_distrusted = False
        self.gate.note(NOTHING)
        summary = self.link.client.run(job, partial(self._take_event, units, builder, take))
        if builder.done == 0:
            raise LinkError("the agent broke the protocol: it ended a job without a word of any network")
        conditions = summary.get("conditions_after")
        if isinstance(conditions, Mapping):
            after = beside(self.link, conditions)
            if not self._is_distrusted:
                self.gate.note(after)
            self._withdraw_changed(after)

    def _look_after(self) -> None:
        """Ask what a worker that broke off left the device set to. Raises: DeviceError when it cannot be reached again."""
        if not self.circumstances.can_ask():
            return self._doubt("its worker broke off")
        for is_last in (False, True):
            try:
                conditions = probe_conditions(self.link)
                self.gate.note(conditions)
                self._withdraw_changed(conditions)
                return
            except AgentError as error:
                return self._doubt(error.reason)
            except LinkError as error:
                self.link.reopen(self.on_progress, self.cancel)
                if is_last:
                    self._doubt(error.reason)

    def _withdraw_changed(self, conditions: Mapping[str, Any]) -> None:
        """Withdraw the sessions of a worker under which somebody changed the device: nobody knows which were before that."""
        told, self._told = self._told, []
        found = list[Withdrawn]()
        for unit, session, event in told:
            if changed := changes(unit.use, self.link.hello, conditions, event):
                failure = self._changed(unit, changed)
                found.append((session, failure.message, failure))
        self.withdraw(found)

    def _doubt(self, why: str) -> None:
        """Withdraw the sessions of a worker that nobody can ask after any more, unless their samples tell how it was set."""
        told, self._told = self._told, []
        unknown = "whether the device was still set as the campaign found it is not known"
        reason = f"{unknown} ({why}); {self.circumstances.again}"
        self.withdraw([(session, reason, None) for _, session, _ in told if not stayed_as_set(session)])

    def _take_event(
        self,
        units: Sequence[PlannedSession],
        builder: SessionBuilder,
        take: Take,
        event: Mapping[str, Any],
    ) -> None:
        """Take in a worker's event, and hand on what came of a unit with its last one.

        Raises: Cancelled; as `SessionBuilder`.
        """
        if self.cancel.is_set():
            raise Cancelled()
        result = builder.add(event)
        if isinstance(result, Refused):
            unit = units[result.network]
            take(unit, self.failure(unit, result.kind, result.message))
        elif result is not None:
            unit = units[event["network"]]
            if self.link.phone is not None:
                result = self.link.phone.joined(result)
            changed = changes(unit.use, self.link.hello, result.conditions_before, event)
            if not changed:
                self._told.append((unit, result, event))
            take(unit, self._changed(unit, changed) if changed else result)

    def _job(self, use: RuntimePlan, cores: Sequence[int]) -> dict[str, Any]:
        """Return the part of every worker's job that is not its models and its plan."""
        return use.runtime.job(cores, use.configuration.threads, self.silence_s)

    def _identity(self, unit: PlannedSession, model_digest: str) -> dict[str, Any]:
        """Return the fields that all records of a unit have, which no event tells."""
        return {
            "campaign_id": self.campaign_id,
            "configuration": unit.use.configuration,
            "architecture": unit.model.architecture,
            "graph_hash": unit.model.graph_hash,
            "purpose": unit.purpose,
            "model_digest": model_digest,
            "agent_digest": self.link.agent_digest,
        }

    def _changed(self, unit: PlannedSession, changed: str) -> Failure:
        message = (
            f"measured with {changed} as when the campaign began; such times are not merged: {self.circumstances.again}, once "
            "it is set back or to measure it as it is now"
        )
        return self.failure(unit, "conditions-changed", message)

    def _wait_until_fit(
        self, use: RuntimePlan, models: Sequence[Assembly], request: str
    ) -> tuple[dict[str, Any], QuietCores, dict[str, Any]]:
        """Send models, and wait until the device is fit for a use and its cores are free.

        Return what the gate found, the cores, and what the probe of these found. Raises: Cancelled, DeviceError.
        """
        send_parts(self.link, models, self.on_progress, self.cancel)
        gate = self._pass_gate(use)
        try:
            quiet, found = self.core_gate.wait(
                partial(self._probe_cores, use, request), request, self.cancel.wait
            )
        except Hopeless as error:
            raise DeviceError(f"device {use.configuration.device!r}", str(error)) from error
        if self.cancel.is_set():
            raise Cancelled()
        return gate, quiet, found

    def _probe_cores(self, use: RuntimePlan, request: str) -> QuietCores:
        """Ask the device which of the cores that this use may take are the quietest now."""
        configuration = use.configuration
        answer = self.link.client.quiet(configuration.cores, configuration.threads, request)
        try:
            return QuietCores.of(answer, configuration.threads)
        except ValueError as error:
            raise LinkError(str(error)) from error

    def _pass_gate(self, use: RuntimePlan) -> dict[str, Any]:
        """Wait until the device is fit for this use; return what the wait was like."""
        return self.gate.wait(
            partial(probe_conditions, self.link),
            lambda closed: self.on_progress(Unready(closed=closed)),
            self.cancel.wait,
            use.configuration.uses_gpu,
        )

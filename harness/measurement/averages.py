"""A campaign on a phone by adb alone: LiteRT's benchmark_model runs network and reference in turns, and tells averages.

There is no agent: each call is a process of its own, and a slice is a call of the reference, one of the network and one of the
reference, so that what drifts within some seconds cancels. Sessions say in their plan that their times are averages.
"""

from __future__ import annotations

import hashlib
import random
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from device_agents.facts import Absent, parse_machine_id, parse_thermal_status
from device_agents.names import short_provider
from harness.devices.adb import benchmark_model
from harness.devices.adb.benchmark_model import PROVIDERS, Averages, NotAverages, parse_averages
from harness.devices.adb.client import Adb
from harness.devices.adb.watch import slow_conditions
from harness.devices.answers import MAX_NAME
from harness.devices.config import AdbDevice, Format, parse_runtime
from harness.devices.connection import RECONNECT_WAITS_S, new_owner
from harness.devices.phone_lock import held_phone
from harness.devices.runtimes import RuntimeUse, asked_cores, parse_cores
from harness.errors import Cancelled, DeviceError, LinkError, StoreError
from harness.measurement.campaign import CampaignTask, Observer, Outcome
from harness.measurement.durations import KnownDurations
from harness.measurement.events import (
    Connecting,
    Note,
    OnProgress,
    Reconnecting,
    Sending,
    SessionDone,
    SessionsPlanned,
)
from harness.measurement.plan import Options
from harness.measurement.rounds import LackingSessions
from harness.measurement.session_runner import steady_utc
from harness.measurement.workload import (
    GroupedSource,
    Model,
    ModelSource,
    RuntimePlan,
    other_machines,
    plan_runtime,
    source_groups,
)
from harness.records import Failure, SessionRecord, Slice
from harness.store import Store
from space.errors import ConfigError, HarnessError
from space.text import printable

FOLDER = "/data/local/tmp/harness"
ONLINE = "/sys/devices/system/cpu/online"
RUNTIME = "tflite"
FORMAT: Final[Format] = "tflite"
SLICES = 12
CALL_NS = 500_000_000  # of the timed runs of a call: long beside the start of a process
FEWEST_RUNS, MOST_RUNS = 10, 10_000
TRIAL_RUNS = 10
CALL_S = benchmark_model.MOST_S + 60.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


def run_averages(
    device: AdbDevice,
    source: ModelSource | GroupedSource,
    options: Options,
    store: Store,
    observer: Observer,
    *,
    rng: random.Random,
    cancel: threading.Event,
    wait_s: float = 0.0,
) -> Outcome:
    """Measure on a phone the sessions that the store lacks, in TFLite alone; one that is in use is waited for, `wait_s` at most.

    Raises: ConfigError for what averages cannot tell; DeviceError when the phone cannot be reached, or is in use. What fails
    later is in the outcome.
    """
    begin_s = time.monotonic()
    _check(device, source, options)
    outcome = Outcome(device=device.name)
    campaign = CampaignTask(
        device=device, source=source, options=options, store=store, observer=observer, outcome=outcome, cancel=cancel
    )  # fmt: skip
    with held_phone(
        device.adb,
        device.who,
        owner=new_owner(),
        wait_s=wait_s,
        on_progress=campaign.report,
        cancel=cancel,
    ):
        work = LackingSessions(device=device.name, options=options, store=store, rng=rng)
        _measure(device, campaign, work)
    outcome.elapsed_s = time.monotonic() - begin_s
    return outcome


def _measure(device: AdbDevice, campaign: CampaignTask, work: LackingSessions) -> None:
    """Measure on a phone that is held. Raises: as `run_averages`."""
    phone, outcome = _Phone(device, campaign.report), campaign.outcome
    phone.open()
    phone.retried(phone.prepare, campaign.cancel)
    try:
        for use in _uses(device, phone, campaign.source, campaign.options):
            outcome.uses.append(use)
            _Sessions(phone, use, campaign, work).measure()
    except HarnessError as error:
        if not outcome.campaign_id:
            raise
        outcome.error = error
    if outcome.campaign_id:
        work.end(outcome.campaign_id, outcome.ending)
        if not campaign.cancel.is_set() and (left := campaign.store.settle()):
            outcome.error = outcome.error or StoreError(left)


def _check(device: AdbDevice, source: ModelSource | GroupedSource, options: Options) -> None:
    """Refuse what a program that tells averages alone cannot measure. Raises: ConfigError."""
    asked = {
        "--memory": options.memory,
        "--energy": options.energy,
        "--sustained": options.sustained_s,
        "--recalibrate": options.recalibrate,
        "--batch": options.batches != (1,),
    }
    if given := [name for name, value in asked.items() if value]:
        raise ConfigError(
            device.who,
            f"by adb alone benchmark_model tells averages and nothing else: leave out {', '.join(given)}",
        )
    files = source.formats if isinstance(source, GroupedSource) else ()
    others = [one for one in (*files, *options.formats) if one != FORMAT]
    if others:
        raise ConfigError(
            device.who,
            f"by adb alone there are {FORMAT} models and no {' or '.join(dict.fromkeys(others))} ones; "
            "leave those out, or measure over SSH",
        )


class _CoresChanged(HarnessError):
    """A phone whose cores went offline, or came back, while it was measured."""


@dataclass(slots=True)
class _Phone:
    """The phone, with the program and the models that lie there under their digests."""

    device: AdbDevice
    report: OnProgress
    adb: Adb = field(init=False)
    hello: dict[str, Any] = field(init=False)
    conditions: dict[str, Any] = field(init=False)
    digest: str = field(init=False)
    _program: str = field(init=False)

    def open(self) -> None:
        """Look for the phone. Raises: DeviceError."""
        self.adb = Adb(self.device.adb, self.device.who)
        self.report(Connecting(by="adb"))
        self.adb.check()

    def prepare(self) -> None:
        """Put the program there, and ask what the phone is. Raises: ConfigError, DeviceError."""
        path = self.device.program
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"benchmark_model = {str(path)!r}: {error.strerror}; name LiteRT's program"
            ) from error
        self.digest = hashlib.sha256(data).hexdigest()
        self._line(["mkdir", "-p", FOLDER])
        self._program = self.put(data, self.digest)
        self._line(["chmod", "755", self._program])
        self.hello = {"platform": {"machine": _name(self._line(["uname", "-m"]))}}
        model = _name(self._line(["getprop", "ro.product.model"]))
        self.conditions = ({"cpu_model": model} if model else {}) | self.conditions_now()
        if known := parse_machine_id(self._line(["getprop", "ro.serialno"])):
            self.conditions["machine_id"] = known

    def put(self, data: bytes, digest: str, beside: Sequence[str] = ()) -> str:
        """Put a file there unless it is; return its path. Where its storage is full, models go but those `beside` it.

        Raises: LinkError; DeviceError where it does not arrive whole.
        """
        there = f"{FOLDER}/{digest}"
        if self._digest_of(there) != digest and not self._pushed(data, there, digest):
            self._make_room((*beside, self.digest))
            if not self._pushed(data, there, digest):
                raise DeviceError(
                    self.device.who,
                    f"what adb put at {there} is not what was sent; is its storage full?",
                )
        return there

    def _pushed(self, data: bytes, there: str, digest: str) -> bool:
        """Copy a file there; return whether it arrived whole. Raises: LinkError where the phone is gone."""
        with tempfile.NamedTemporaryFile(prefix="harness-") as file:
            file.write(data)
            file.flush()
            self.report(Sending(total_bytes=len(data)))
            try:
                self.adb.push(Path(file.name), there)
            except LinkError:
                self.adb.check()
        return self._digest_of(there) == digest

    def _make_room(self, kept: Sequence[str]) -> None:
        """Remove the models that lie there, but for some. Raises: LinkError, DeviceError."""
        names = self._line(["ls", FOLDER]).split()
        gone = [f"{FOLDER}/{name}" for name in names if _DIGEST.fullmatch(name) and name not in kept]
        if gone:
            self._line(["rm", "-f", *gone])

    def cores(self) -> tuple[int, ...]:
        """Return the cores that are online. Raises: DeviceError."""
        said = self._line(["cat", ONLINE])
        try:
            return parse_cores(said)
        except ConfigError as error:
            raise DeviceError(self.device.who, f"{ONLINE} is {said[:80]!r}, no list of cores") from error

    def retried(self, call: Callable[[], T], cancel: threading.Event) -> T:
        """Call, and call once more where the phone went meanwhile and adb reaches it again; return the result.

        Raises: LinkError where it stays away, or goes again; Cancelled; as `call`.
        """
        try:
            return call()
        except LinkError as error:  # restarted, or its cable was loose
            self._await_return(error, cancel)
            return call()

    def _await_return(self, error: LinkError, cancel: threading.Event) -> None:
        """Wait until adb reaches the phone again. Raises: LinkError where it stays away; DeviceError; Cancelled."""
        for wait_s in RECONNECT_WAITS_S:
            self.report(Reconnecting(reason=error.reason))
            if cancel.wait(wait_s):
                raise Cancelled()
            try:
                self.adb.check()
                return
            except LinkError as latest:
                error = latest
        raise error

    def conditions_now(self) -> dict[str, Any]:
        """Return Android's thermal status, battery, screen and battery saver, as far as it tells. Raises: as `thermal`."""
        return slow_conditions(self.adb) | self.thermal()

    def thermal(self) -> dict[str, Any]:
        """Return Android's thermal status, nothing where this phone does not tell it. Raises: LinkError, DeviceError."""
        try:
            return {
                "thermal_status": parse_thermal_status(self.adb.shell(["dumpsys", "thermalservice"]).text)
            }
        except Absent:
            return {}
        except ValueError as error:
            raise DeviceError(self.device.who, str(error)) from error

    def call(self, graph: str, use: RuntimePlan, runs: int, cores: Sequence[int]) -> Averages:
        """Run a model so often. Raises: NotAverages, LinkError."""
        words = benchmark_model.arguments(
            self._program, graph, use.runtime.provider, use.configuration.threads, runs
        )
        if cores:
            words = ["taskset", f"{sum(1 << core for core in cores):x}", *words]
        done = self.adb.shell(words, timeout_s=CALL_S)
        found = parse_averages(f"{done.text}\n{done.stderr}", runs)
        if use.runtime.provider.startswith("GPU") and not found.is_whole:
            raise NotAverages(
                f"{use.runtime.provider} does not run the whole model, by what benchmark_model says: that is no latency of it"
            )
        return found

    def _digest_of(self, there: str) -> str:
        return self.adb.shell(["sha256sum", there]).text.split(" ")[0]

    def _line(self, words: Sequence[str]) -> str:
        done = self.adb.shell(words)
        if done.status != 0:
            raise DeviceError(self.device.who, f"{' '.join(words)}: {done.stderr or f'status {done.status}'}")
        return done.text.strip()


def _name(text: str) -> str:
    """Return a phone's word on itself, fit for a name."""
    return printable(text)[:MAX_NAME]


def _uses(
    device: AdbDevice, phone: _Phone, source: ModelSource | GroupedSource, options: Options
) -> Iterator[RuntimePlan]:
    """Yield each provider with each group of models. Raises: ConfigError."""
    named, threads = asked_cores(device, options.threads, options.cores)
    cores = named or phone.cores()
    for text in dict.fromkeys(options.runtimes or device.runtimes or (RUNTIME,)):
        name, asked = parse_runtime(text)
        providers = {short_provider(one): one for one in PROVIDERS}
        if name != RUNTIME or short_provider(asked or "XNNPACK") not in providers:
            there = " ".join(f"tflite:{one}" for one in providers)
            raise ConfigError(device.who, f"runtime {text!r}: by adb alone there is {there}")
        provider = providers[short_provider(asked or "XNNPACK")]
        runtime = RuntimeUse(
            name=RUNTIME, version=benchmark_model.version_of(phone.digest), provider=provider, format=FORMAT
        )
        precisions = options.precisions or (device.precision,)
        # No duration is known: the first reference is taken, and each call lasts as long as any.
        for group in source_groups(source, FORMAT, precisions, (1,), KnownDurations({})):
            yield plan_runtime(device, phone.hello, phone.conditions, group, runtime, (cores, threads))


class _Sessions:
    """The sessions of one use of the phone."""

    def __init__(
        self, phone: _Phone, use: RuntimePlan, campaign: CampaignTask, work: LackingSessions
    ) -> None:
        self._phone, self._use, self._work, self._now_utc = phone, use, work, steady_utc()
        self._options, self._store, self._outcome = campaign.options, campaign.store, campaign.outcome
        self._report, self._cancel = campaign.report, campaign.cancel
        self._pinned = use.configuration.cores if self._options.cores or phone.device.cores else ()
        self._runs: dict[str, int] = {}  # of a call, by path

    def measure(self) -> None:
        """Measure what the store lacks; a model that fails is a failure, and the others go on. Raises: LinkError, Cancelled."""
        outcome = self._outcome
        units = [unit for one in self._work.rounds(self._use) for batch in one.batches for unit in batch]
        lacking = len(units)
        outcome.reused += len(self._use.models) * self._options.sessions_each - lacking
        self._report(SessionsPlanned(sessions=lacking))
        use, name = self._use, self._outcome.device
        others = (
            self._store.machines(use.configuration) - {use.machine_id} if use.machine_id and units else ()
        )
        if others:
            self._report(Note(text=other_machines(name, len(others))))
        if units and not outcome.campaign_id:
            outcome.campaign_id = self._work.begin(self._use)
        failed = set[str]()
        for unit in units:
            if self._cancel.is_set():
                raise Cancelled()
            if unit.model.graph_hash in failed:
                continue
            try:
                session = self._phone.retried(partial(self._session, unit.model), self._cancel)
                self._store.add_session(session)
                outcome.measured += 1
                self._report(SessionDone())
            except (NotAverages, _CoresChanged) as error:
                failed.add(unit.model.graph_hash)
                kind = "worker-error" if isinstance(error, NotAverages) else "conditions-changed"
                failure = self._failure(unit.model, kind, str(error))
                self._store.add_failure(failure)
                outcome.failures.append(failure)
                self._report(SessionDone(failure=error.reason))

    def _session(self, model: Model) -> SessionRecord:
        """Measure a session of a model. Raises: NotAverages, LinkError, Cancelled."""
        assembly, beside = model.assemble(), self._use.reference.assemble()
        graph = self._phone.put(assembly.whole(), assembly.digest, [beside.digest])
        reference = self._phone.put(beside.whole(), beside.digest, [assembly.digest])
        started_utc, begin_s = self._now_utc(), time.monotonic()
        loaded, reference_loaded = self._trial(graph), self._trial(reference)
        conditions = self._phone.conditions | self._phone.conditions_now()
        slices, samples = [], []
        loop_s = time.monotonic()
        for _ in range(SLICES):
            if self._cancel.is_set():
                raise Cancelled()
            at_ns = time.monotonic_ns()
            before, network, after = (self._call(path) for path in (reference, graph, reference))
            samples.append({"at_ns": time.monotonic_ns()} | self._phone.thermal())
            slices.append(
                Slice(
                    reference_before_ns=(before.mean_ns,),
                    after_switch_ns=network.first_run_ns,
                    network_ns=(network.mean_ns,),
                    reference_after_ns=(after.mean_ns,),
                    at_ns=at_ns,
                )
            )
        end_s = time.monotonic()
        conditions_after = self._phone.conditions_now()
        self._check_cores()
        return SessionRecord(
            session_id=str(uuid.uuid4()),
            campaign_id=self._outcome.campaign_id,
            configuration=self._use.configuration,
            architecture=model.architecture,
            graph_hash=model.graph_hash,
            model_digest=assembly.digest,
            started_utc=started_utc,
            elapsed_s=end_s - begin_s,
            loop_s=end_s - loop_s,
            stop="cap",
            load_ns=loaded.load_ns,
            first_run_ns=loaded.first_run_ns,
            reference_load_ns=reference_loaded.load_ns,
            reference_first_run_ns=reference_loaded.first_run_ns,
            network_loops=1,
            reference_loops=1,
            warmup_network_ns=(),
            warmup_reference_ns=(),
            slices=tuple(slices),
            conditions_before=conditions,
            conditions_after=conditions_after | self._shares(loaded),
            output=(),
            agent_digest=self._phone.digest,
            plan={"min_slices": SLICES, "averages_of": self._runs[graph]},
            purpose=model.purpose,
            samples=tuple(samples),
            scheduling={"cores": list(self._use.configuration.cores)},
        )

    def _check_cores(self) -> None:
        """Check that those cores are online that were when the campaign began. Raises: _CoresChanged."""
        online, cores = self._phone.cores(), self._use.configuration.cores
        if not set(cores) <= set(online) or (not self._pinned and online != cores):
            told = [",".join(map(str, some)) for some in (online, cores)]
            raise _CoresChanged(
                f"measured with cores {told[0]} online, not {told[1]} as when the campaign began; such times are not merged: "
                "keep the phone awake and cool, and give the same command again to measure as it is now"
            )

    def _shares(self, loaded: Averages) -> dict[str, Any]:
        """Return the share of operators that the provider ran, where the program tells that it ran all."""
        is_known = loaded.is_whole or self._use.runtime.provider == "builtin"
        return {"shares": {self._use.runtime.provider: 1.0}} if is_known else {}

    def _trial(self, path: str) -> Averages:
        """Run a model a few times, and decide how often each call runs it."""
        found = self._phone.call(path, self._use, TRIAL_RUNS, self._pinned)
        if path not in self._runs:
            self._runs[path] = min(MOST_RUNS, max(FEWEST_RUNS, round(CALL_NS / found.mean_ns)))
        return found

    def _call(self, path: str) -> Averages:
        return self._phone.call(path, self._use, self._runs[path], self._pinned)

    def _failure(self, model: Model, kind: str, message: str) -> Failure:
        return Failure(
            campaign_id=self._outcome.campaign_id,
            configuration=self._use.configuration,
            architecture=model.architecture,
            graph_hash=model.graph_hash,
            kind=kind,
            message=message,
            time_utc=self._now_utc(),
        )

"""Packed jobs: a campaign written down for a device that no harness reaches, and its results read as if they came over a link."""

from __future__ import annotations

import random
import secrets
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from device_agents.attempts import REDOS
from device_agents.pacing import Durations, Pace
from harness.devices.config import (
    PACKED,
    Device,
    Format,
    Precision,
    known_runtimes,
    parse_runtime,
    runtime_format,
)
from harness.devices.job_files import (
    FORMAT,
    JobResults,
    KnownJob,
    RecordedUse,
    agent_archive,
    build_job,
    job_bytes,
    open_results,
)
from harness.devices.provider_options import option_texts
from harness.devices.recorded import RecordedBatch, RecordedLink, recorded_batches
from harness.devices.runtime_packages import vendor_libraries
from harness.devices.runtimes import RuntimeUse, asked_cores
from harness.devices.sending import parts_of
from harness.errors import Cancelled
from harness.measurement.campaign import (
    CampaignTask,
    Observer,
    Outcome,
    check_sustained,
    measure_over,
)
from harness.measurement.durations import PLAN, KnownDurations
from harness.measurement.events import Note, Preparing
from harness.measurement.plan import FRESH_RUNS, Options, SessionPlan
from harness.measurement.rounds import SessionRound, plan_round
from harness.measurement.session_runner import Circumstances, PlannedSession, now_utc, setback
from harness.measurement.workload import (
    DurationProbe,
    FileSource,
    Model,
    ModelSource,
    RuntimePlan,
    SourceGroup,
    at_batch,
)
from harness.records import SessionRecord
from harness.store import Store
from harness.version import __version__
from space.assembly import Assembly
from space.errors import ConfigError, HarnessError

CLOCKS = timedelta(minutes=5)  # that the clocks of two machines may be apart
NOT_CARRIED = ("litert_carry", "tflite_delegates", "adb", "fixed_performance")  # keys of devices.toml
BLOCKS = ("energy", "sustained")  # purposes of runs of blocks
_NAMES = ("architecture", "graph_hash", "format", "precision", "space", "weights", "purpose", "inputs")
_START = "packed job, start "  # of a campaign's outcome: which start of the job it is of
_OTHER_AGENT = (
    "the job was packed by another version of harness, or with other runtimes of one's own; where its agent answers otherwise "
    "than this one's, sessions fail (link-lost): then import it with the harness that packed it, or pack it anew"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedJob:
    """A packed job: its id and bytes, the numbers of its networks, of sessions in the runtime with most, of parts."""

    job_id: str
    data: bytes = field(repr=False)
    networks: int
    sessions: int
    parts: int


def pack_campaign(
    device: Device,
    source: ModelSource | FileSource,
    options: Options,
    store: Store,
    *,
    rng: random.Random,
    log: Callable[[str], None],
) -> PackedJob:
    """Pack what a campaign would measure, and note in the store that it was asked for.

    A file is packed with all the references that it may be timed beside: the device chooses.

    Everything is measured that is named, whatever is stored: to what it belongs only the device can tell.
    Raises: ConfigError; HarnessError when a model cannot be made.
    """
    _refuse_what_is_not_carried(device, options)
    asked, given = options.runtimes or device.runtimes, device.provider_options
    formats = _formats(asked, options, device, source)
    cores, threads = asked_cores(device, options.threads, options.cores)
    precisions = options.precisions or (device.precision,)
    packing = _Packing(options=options, rng=rng, log=log)
    groups = _groups(packing, source, dict.fromkeys(formats.values()), precisions)
    agent, agent_digest = agent_archive()
    job_id, key = str(uuid.uuid4()), secrets.token_hex(32)
    packed_utc = now_utc()
    document: dict[str, Any] = {
        "format": FORMAT,
        "job": job_id,
        "device": device.name,
        "packed_utc": packed_utc,
        "harness": __version__,
        "agent": agent_digest,
        "environment": device.worker_environment,
        "vendor_libraries": vendor_libraries(),
        "provider_options": {name: option_texts(name, given) for name in given},
        "runtimes": [text for text in asked if parse_runtime(text)[0] in formats],
        "formats": formats,
        "cores": cores,
        "threads": threads,
        "silence_s": options.silence_s,
        "sustained_s": options.sustained_s,
        "trial_plan": asdict(PLAN),
        "groups": groups,
    }
    job = job_bytes(document)
    data = build_job(job, key, agent, packing.parts)
    packed_hashes = {model["graph_hash"] for group in groups for model in group["models"]}
    request = asdict(replace(options, threads=threads, cores=cores, precisions=precisions, fresh=True))
    packed = {"job_digest": KnownJob.digest_of(job), "key": key}
    request |= {"networks": sorted(packed_hashes), "packed": packed}
    store.start_campaign(job_id, device.name, packed_utc, request)
    counts = {"networks": len(packed_hashes), "sessions": _most_sessions(groups), "parts": len(packing.parts)}
    return PackedJob(job_id=job_id, data=data, **counts)


def _formats(
    asked: Sequence[str], options: Options, device: Device, source: ModelSource | FileSource
) -> dict[str, Format]:
    """Return the formats of a job's models by the runtimes that are asked for. Raises: ConfigError where a model has none."""
    formats = {
        name: runtime_format(name)
        for name in dict.fromkeys(parse_runtime(text)[0] for text in asked or known_runtimes())
        if not options.formats or runtime_format(name) in options.formats
    }
    if not formats:
        raise ConfigError(f"--runtime {' '.join(asked)}: none runs {' or '.join(options.formats)} models")
    for lacking in set(source.formats if isinstance(source, FileSource) else ()) - set(formats.values()):
        raise ConfigError(
            device.who,
            f"runs {', '.join(formats)}, none of which runs {lacking} files; name one with --runtime",
        )
    return formats


def _groups(
    packing: _Packing,
    source: ModelSource | FileSource,
    formats: Iterable[Format],
    precisions: Sequence[Precision],
) -> list[dict[str, Any]]:
    """Return a job's groups of models: the networks of each format, batch size and precision, and the files of each format."""
    options = packing.options
    files, networks = (source, source.networks) if isinstance(source, FileSource) else (None, source)
    groups = []
    for one in formats:
        if networks is not None:
            groups += [
                packing.networks(at_batch(networks, batch), one, precision, batch)
                for batch in options.batches
                for precision in precisions
            ]
        if files is not None:
            groups += packing.files(files.choices(one))
    if options.sustained_s:
        beside = Counter(
            (one["format"], one["precision"], one["batch"]) for one in groups for _ in one["models"]
        )
        check_sustained(options.sustained_s, max(beside.values(), default=0))
    return groups


def _refuse_what_is_not_carried(device: Device, options: Options) -> None:
    """Refuse what a device or a campaign has that a packed job cannot do. Raises: ConfigError."""
    if device.board_settings:
        raise ConfigError(
            device.who,
            "a packed job sets no power mode or clocks, for nobody would see them put back; set them on "
            "the board by hand and leave jetson_power_mode and jetson_clocks out",
        )
    if options.recalibrate:
        raise ConfigError(
            "a packed job measures no reference alone: leave out --recalibrate, or measure over SSH"
        )
    if left_out := [key for key in NOT_CARRIED if getattr(device, key, None)]:
        raise ConfigError(
            device.who,
            f"devices.toml has {', '.join(left_out)}, which a packed job does not carry; leave that "
            "out for it and see to it on the device, or measure over SSH",
        )


def _most_sessions(groups: Sequence[Mapping[str, Any]]) -> int:
    """Return the sessions of the format that has most: a runtime runs those of one."""
    sessions = Counter[str]()
    for group in groups:
        for one in group["rounds"]:
            if one.get("of") in (None, "sustained"):
                sessions[group["format"]] += sum(map(len, one["batches"]))
    return max(sessions.values(), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packing:
    """Packing of a job's models into groups with their rounds. `parts`: those of the models so far, by digest."""

    options: Options
    rng: random.Random
    log: Callable[[str], None]
    parts: dict[str, Callable[[], bytes]] = field(default_factory=dict)

    def files(self, choices: Iterable[tuple[Model, Sequence[Model]]]) -> list[dict[str, Any]]:
        """Return a group of each file; those that no name and no byte tells apart are one, and said to be."""
        found = dict[Model, dict[str, Any]]()
        for model, references in choices:
            if model in found:
                self.log(
                    f"{model.architecture} is named more than once: files of equal bytes, name and folder are measured once"
                )
            else:
                found[model] = self.file(model, references)
        return list(found.values())

    def networks(
        self, source: ModelSource, model_format: Format, precision: Precision, batch: int
    ) -> dict[str, Any]:
        """Return the networks of a format, a precision and a batch size."""
        self.log(str(Preparing(precisions=(precision,), model_format=model_format)))
        reference = source.reference(model_format, precision)
        models = source.models(model_format, precision)
        return {
            "format": model_format,
            "precision": precision,
            "batch": batch,
            "reference": self._model(reference),
            "models": [self._model(model) for model in models],
            "rounds": self._rounds(len(models)),
        }

    def file(self, model: Model, references: Sequence[Model]) -> dict[str, Any]:
        """Return a file, alone in its processes, with the references that the device chooses from."""
        first, *shorter = map(self._model, references)
        return {
            "format": model.format,
            "precision": model.precision,
            "batch": model.batch,
            "reference": first,
            "shorter": shorter,
            "models": [self._model(model)],
            "rounds": self._rounds(1, alone=True),
        }

    def _rounds(self, count: int, *, alone: bool = False) -> list[dict[str, Any]]:
        """Return the rounds of a number of models."""
        rounds: list[dict[str, Any]] = []
        for number in range(self.options.sessions_each):
            plan, batches = plan_round(range(count), number, self.options, self.rng, alone=alone)
            rounds.append({"plan": asdict(plan), "batches": batches})
        further = {
            "memory": FRESH_RUNS * self.options.memory,
            "energy": self.options.energy,
            "sustained": bool(self.options.sustained_s),
        }
        for of, times in further.items():
            if times:
                places = [[place] for place in range(count) for _ in range(times)]
                rounds.append({"of": of, "batches": places})
        return rounds

    def _model(self, model: Model) -> dict[str, Any]:
        """Return home's facts on a model for when its results come, and add its parts."""
        assembly = model.assemble()
        recipe = assembly.recipe()
        found = parts_of([assembly])
        for digest in (*recipe["parts"], assembly.inputs):
            if digest is not None:
                self.parts[digest] = found[digest].read
        expected: Sequence[float] = ()
        try:
            expected = model.expected() if model.expected is not None else ()
        except HarnessError as error:
            self.log(f"the output of {model.architecture} is not judged: {error}")
        told = {name: getattr(model, name) for name in (*_NAMES, "batch")}
        return told | {"digest": assembly.digest, "recipe": recipe, "expected": list(expected)}


def import_campaign(path: Path, store: Store, observer: Observer) -> Outcome:
    """Read the results of a packed job into the store that it was packed with; what is there already stays as it is.

    Raises: ConfigError for a file that is none, is damaged, was altered, or answers what this store did not ask for. What fails
    later is in the outcome.
    """
    results = open_results(path, partial(_known, path, store))
    job_id, run = results.manifest.job, results.manifest.run
    sources = [_source(results, visit, store) for visit in results.visits]
    outcome = Outcome(device=str(results.job["device"]), campaign_id=job_id)
    if results.job["agent"] != agent_archive()[1]:
        observer.event(outcome.device, Note(text=_OTHER_AGENT))
    before = store.session_count(job_id)
    store.finish_campaign(job_id, now_utc(), f"{_START}{run}: importing")
    for number, (source, moved) in enumerate(zip(sources, _corrections(results), strict=True)):
        _read_visit(results, number, moved, source, store, observer, outcome)
    outcome.reused = before
    outcome.measured = store.session_count(job_id) - before
    store.finish_campaign(job_id, now_utc(), f"{_START}{run}: {outcome.ending}")
    return outcome


def _known(path: Path, store: Store, job_id: str) -> KnownJob:
    """Return a store's facts on a packed job. Raises: ConfigError where it keeps none."""
    found = store.campaign(job_id)
    packed = found.request.get("packed") if found is not None else None
    if found is None or not packed:
        raise ConfigError(
            f"{path}: answers job {job_id}, which store {store.name} never asked for; import it into the store that it was "
            "packed with: --store"
        )
    run = found.outcome.removeprefix(_START).partition(":")[0] if found.outcome.startswith(_START) else ""
    return KnownJob(job_digest=packed["job_digest"], key=packed["key"], run=run)


def _corrections(results: JobResults) -> list[timedelta]:
    """Return the correction of the device's time of day in each start: none where it lies between the job's packing and now.

    Boards without a clock begin anew at each boot. Such a start counts as begun when the job was packed, or else as long after
    the start before it as is certain: by the time since boot, which both know, or which began between them.
    """
    packed, now = (datetime.fromisoformat(text) for text in (results.job["packed_utc"], now_utc()))
    corrections, earliest = list[timedelta](), packed
    before_s: float | None = None
    for visit in results.visits:
        with results.entries(visit) as entries:
            first = last = next(entries, None)
            for entry in entries:
                last = entry
        if first is None or last is None or first.visit is None:
            corrections.append(timedelta())
            continue
        if before_s is not None:
            earliest += timedelta(seconds=first.at - before_s if first.at >= before_s else first.at)
        begin, lasted = first.visit.utc, timedelta(seconds=last.at - first.at)
        is_right = packed - CLOCKS <= begin and lasted <= now + CLOCKS - begin
        corrections.append(timedelta() if is_right else min(earliest, now) - begin)
        before_s, earliest = last.at, begin + corrections[-1] + lasted
    return corrections


def _source(results: JobResults, visit: str, store: Store) -> _JobSource:
    """Return the sessions of one start of a job, each of which was asked for. Raises: ConfigError."""
    with results.entries(visit) as entries:
        return _JobSource(results.job, results.manifest.run, visit, recorded_batches(entries), store)


def _read_visit(
    results: JobResults,
    number: int,
    moved: timedelta,
    source: _JobSource,
    store: Store,
    observer: Observer,
    outcome: Outcome,
) -> None:
    """Read one start of a job as a campaign of its own, its times `moved`; what went wrong is in the outcome."""
    job, visit = results.job, results.visits[number]
    if moved:
        text = f"the device's clock is {abs(moved)} off: start {number + 1} counts as begun as early as it can have"
        observer.event(outcome.device, Note(text=text))
    with results.entries(visit) as entries:
        who = f"{results.path.name}, start {number + 1} on device {outcome.device!r}"
        link = RecordedLink(entries, who, str(job["agent"]), moved)
        cancel = _Past(link)
        circumstances = Circumstances(
            session_id=source.session_id,
            process_id=lambda: source.new_id("process", number, link.runs),
            now_utc=link.now_utc,
            clock_s=link.clock_s,
            set_aside=source.set_aside,
            begin=lambda units: link.enter(source.batch_of(units[0]).number),
            can_ask=lambda: link.was_probed_next,
            again="pack another job",
        )
        given = job.get("provider_options", {})
        device = Device(name=outcome.device, transport=PACKED, provider_options=given)
        error, outcome.error = outcome.error, None
        try:
            link.open()
            campaign = CampaignTask(
                device=device, source=source, options=_options_of(job), store=store, observer=observer, outcome=outcome,
                cancel=cancel,
            )  # fmt: skip
            measure_over(link, campaign, source, circumstances)
            if outcome.error is None:
                source.check_read()
        except HarnessError as found:
            outcome.error = found
        if isinstance(outcome.error, Cancelled):  # the job was interrupted there
            outcome.error = None
        outcome.error = error or outcome.error


def _options_of(job: Mapping[str, Any]) -> Options:
    """Return the options of a campaign that reads what a job measured."""
    groups = job["groups"]
    return Options(
        runtimes=tuple(job["runtimes"]),
        formats=tuple(dict.fromkeys(job["formats"].values())),
        precisions=tuple(dict.fromkeys(group["precision"] for group in groups)),
        batches=tuple(dict.fromkeys(group["reference"].get("batch", 1) for group in groups)),
        threads=job["threads"],
        cores=tuple(job["cores"]),
        silence_s=job["silence_s"],
        memory=True,  # as far as the record has any, and energy
        energy=True,
        sustained_s=job.get("sustained_s", 0.0),
        fresh=True,
    )


class _Past(threading.Event):
    """Waits in a record, which are over at once."""

    def __init__(self, link: RecordedLink) -> None:
        super().__init__()
        self._link = link

    def wait(self, timeout: float | None = None) -> bool:
        """Let the record's clock go on."""
        self._link.pass_time(timeout or 0.0)
        return False


@dataclass(frozen=True, slots=True)
class _Unit:
    """Request of a session: its batch in the record, and its network's place in the group."""

    batch: RecordedBatch
    network: int


def _provider(use: RecordedUse) -> str:
    """Return the provider of a recorded use: records of before have none where a runtime leaves no choice."""
    return str(use.provider or "cpu")


class _JobSource:
    """The models of a packed job, whose bytes stayed on the device, and its sessions as one start of the job measured them."""

    formats: Sequence[Format] = ()
    is_record = True  # the device measured all of it

    def __init__(
        self,
        job: Mapping[str, Any],
        run: str,
        visit: str,
        batches: Sequence[RecordedBatch],
        store: Store,
    ) -> None:
        self._job, self._run, self._visit, self._batches, self._store = job, run, visit, batches, store
        self._units: dict[int, _Unit] = {}  # by id of the planned session, which `_kept` holds
        self._kept: list[PlannedSession] = []
        self._groups: list[_JobGroup] = []  # as they were asked for
        self._durations: dict[tuple[str, str], dict[Model, Durations]] = {}  # by runtime and provider
        for batch in batches:
            self._check(batch)
            use, beside = batch.begun.use, batch.begun.beside
            if beside is not None:
                model = _recorded_model(job["groups"][use.group]["models"][0])
                told = self._durations.setdefault((use.runtime, _provider(use)), {})
                told[model] = Durations(beside.network_ns, beside.reference_ns, beside.reference)

    def begin(self, use: RuntimePlan) -> str:
        """Return the job's id, which the store has known since it was packed."""
        return str(self._job["job"])

    def end(self, campaign_id: str, ending: str) -> None:
        """Note nothing: a job is over with its last start."""

    def probe(self, runtime: RuntimeUse) -> KnownDurations:
        """Return the job's report on its files in a runtime: of two files of the same bytes, each has its own."""
        return KnownDurations(self._durations.get((runtime.name, runtime.provider), {}))

    def groups(
        self, model_format: Format, precisions: Sequence[Precision], probe: DurationProbe
    ) -> Iterator[SourceGroup]:
        """Yield the groups of a format; files that this start of the job did not come to are left out."""
        for number, document in enumerate(self._job["groups"]):
            if document["format"] != model_format:
                continue
            group, pace, is_file = _JobGroup(number, document), Pace(), "shorter" in document
            if is_file:
                durations = probe.stored(_recorded_model(document["models"][0]))
                if durations is None:
                    continue
                group = _JobGroup(number, document, durations.reference)
                pace = Pace.of(durations.network_ns, durations.reference_ns)
            self._groups.append(group)
            yield SourceGroup(source=group, precision=document["precision"], pace=pace, alone=is_file)

    def rounds(self, use: RuntimePlan) -> list[SessionRound]:
        """Return the rounds of a runtime plan as they were measured; empty ones keep their turn.

        Raises: ConfigError where another start of the job ran on another machine.
        """
        machine = use.machine_id
        if machine and self._store.note_machine(self._job["job"], machine) != machine:
            raise ConfigError(
                f"job {self._job['job']}: its starts ran on more than one machine, whose sessions are not merged: pack a job "
                "for each, under a name of its own in devices.toml"
            )
        rounds, found = self._measured(use)
        return [
            SessionRound(
                use=use,
                plan=SessionPlan(**one["plan"]).at(use.pace),
                batches=tuple(found.get(place, ())),
            )
            for place, one in enumerate(rounds)
            if "of" not in one
        ]

    def further(self, use: RuntimePlan, of: str) -> list[PlannedSession]:
        """Return a runtime plan's records of one kind beside sessions, as they came."""
        rounds, found = self._measured(use)
        return [
            unit
            for place, one in enumerate(rounds)
            if one.get("of") == of
            for units in found.get(place, ())
            for unit in units
        ]

    def _measured(
        self, use: RuntimePlan
    ) -> tuple[list[Mapping[str, Any]], dict[int, list[tuple[PlannedSession, ...]]]]:
        """Return the rounds of a runtime plan as they were asked for, and by their places the batches that were measured."""
        number = next(group.number for group in self._groups if group.reference_model is use.reference)
        found: dict[int, list[tuple[PlannedSession, ...]]] = {}
        for batch in self._batches:
            of = batch.begun.use
            if (of.group, of.runtime, _provider(of)) == (number, use.runtime.name, use.runtime.provider):
                units = tuple(self._planned(use, batch, network) for network in batch.begun.networks)
                found.setdefault(batch.begun.round, []).append(units)
        return self._job["groups"][number]["rounds"], found

    def check_read(self) -> None:
        """Check that each batch of the record was read. Raises: ConfigError."""
        read = {unit.batch.number for unit in self._units.values()}
        for batch in self._batches:
            if batch.number not in read:
                of = batch.begun.use
                raise ConfigError(
                    f"job {self._job['job']}: the results hold sessions in {of.runtime} {of.version} on provider "
                    f"{of.provider!r}, of which nothing here is known; they are not taken: import them with the harness that "
                    "packed the job"
                )

    def batch_of(self, unit: PlannedSession) -> RecordedBatch:
        """Return the batch of the record that a session is of."""
        return self._units[id(unit)].batch

    def set_aside(self, unit: PlannedSession, session: SessionRecord) -> SessionRecord | None:
        """Return a session that the device measured again, or would have, as it is kept: of this start alone; None of another."""
        asked, attempt = self._units[id(unit)], session.gate["attempt"]
        again = asked.batch.again
        is_again = attempt < len(again) and asked.network in again[attempt]
        is_over = asked.network in asked.batch.done or attempt >= REDOS
        if is_over and not is_again:
            return None
        trouble = setback(session) or ("contended" if is_again else "")
        own_id = self.session_id(unit, attempt, self._visit)
        return replace(session, purpose=trouble, session_id=own_id) if trouble else None

    def session_id(self, unit: PlannedSession, attempt: int, *visit: str) -> str:
        """Return the id of a session: of what was asked for, so that each is there once however often it is imported.

        visit: the start that it is of, where each has its own, as of runs of blocks: each start keeps what it stopped.
        """
        asked = self._units[id(unit)]
        begun = asked.batch.begun
        use = (begun.use.runtime, begun.use.version, begun.use.provider, begun.use.group)
        if unit.purpose in BLOCKS:
            visit = (self._visit,)
        return self.new_id(*use, begun.round, begun.batch, asked.network, attempt, *visit)

    def new_id(self, *of: object) -> str:
        """Return an id that is made of what it names, and of the job's run."""
        return str(uuid.uuid5(uuid.UUID(self._job["job"]), repr((self._run, *of))))

    def _planned(self, use: RuntimePlan, batch: RecordedBatch, network: int) -> PlannedSession:
        model, begun = use.models[network], batch.begun
        of = self._job["groups"][begun.use.group]["rounds"][begun.round].get("of")
        unit = PlannedSession(use, model, of if of in BLOCKS else model.purpose)
        self._units[id(unit)] = _Unit(batch, network)
        self._kept.append(unit)
        return unit

    def _check(self, batch: RecordedBatch) -> None:
        """Check that a batch of the record was asked for. Raises: ConfigError."""
        begun = batch.begun
        try:
            group = self._job["groups"][begun.use.group]
            asked = group["rounds"][begun.round]["batches"][begun.batch]
        except IndexError:
            group, asked = {}, []
        references = [one["graph_hash"] for one in _references(group)] if "shorter" in group else [None]
        networks, is_beside = set(begun.networks), (begun.beside and begun.beside.reference) in references
        if (
            not is_beside
            or not networks
            or not networks <= set(asked)
            or len(networks) != len(begun.networks)
        ):
            raise ConfigError(
                f"job {self._job['job']}: the results hold sessions that it did not ask for (round {begun.round}, batch "
                f"{begun.batch}); nothing of them is taken"
            )


def _references(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the references that a group's models may be timed beside: of networks one."""
    return [group["reference"], *group.get("shorter", ())]


class _JobGroup:
    """The models of one group of a packed job, as a campaign's source, beside one of its references: the first by default."""

    def __init__(self, number: int, document: Mapping[str, Any], reference: str = "") -> None:
        self.number, self._document = number, document
        chosen = (one for one in _references(document) if reference in ("", one["graph_hash"]))
        self.reference_model = _recorded_model(next(chosen))

    def models(self, model_format: Format, precision: Precision) -> Sequence[Model]:
        """Return the networks, or the file."""
        return [_recorded_model(model) for model in self._document["models"]]

    def reference(self, model_format: Format, precision: Precision) -> Model:
        """Return the reference."""
        return self.reference_model


def _recorded_model(told: Mapping[str, Any]) -> Model:
    """Return a model whose bytes are on the device alone."""
    recipe = told["recipe"]
    assembly = Assembly(
        format=recipe["format"],
        alignment=recipe["alignment"],
        skeleton=b"",
        elsewhere=recipe["parts"][0],
        parts=tuple(recipe["parts"][1:]),
        dictionary=None,
        digest=told["digest"],
        shapes={name: tuple(shape) for name, shape in recipe.get("shapes", {}).items()},
        inputs=recipe.get("inputs"),
        signature=recipe.get("signature", ""),
        batch=recipe.get("batch", 1),
        read_part=lambda digest: b"",
    )
    expected = tuple(told["expected"])
    return Model(
        **{name: told[name] for name in _NAMES},
        batch=told.get("batch", 1),  # of jobs of before: one image
        assemble=lambda: assembly,
        expected=(lambda: expected) if expected else None,
    )

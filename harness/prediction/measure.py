"""Measure networks that a person names, or those that a predictor of the whole space needs: `harness measure`, and for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.devices.config import Device, parse_runtime, runtime_format
from harness.devices.names import select_devices
from harness.devices.runtimes import parse_cores
from harness.errors import Cancelled, StoreError
from harness.estimates.latency import Latency, LatencyTable
from harness.estimates.sustained import Sustained, sustained
from harness.measurement.campaign import Outcome
from harness.measurement.campaigns import run_all
from harness.measurement.events import Event, SessionDone, SessionsPlanned
from harness.measurement.plan import Options, parse_batches
from harness.measurement.workload import GroupedSource, ModelSource, RuntimePlan
from harness.models.exported import ExportedModels, ExportObserver, expected_outputs
from harness.models.file_names import GivenInputs, find_files
from harness.models.file_source import MeasuredModels
from harness.models.files import FileModel, open_files, open_reference
from harness.models.names import (
    Network,
    as_list,
    listed,
    select_models_and_segments,
    some,
    space_meant,
    whole_number,
)
from harness.models.torch_models import saved_programs
from harness.prediction.error_target import measure_until
from harness.prediction.request import DEFAULT_MODELS, MeasureRequest, parse_target
from harness.prediction.space_prediction import SpaceTable, predict_space
from harness.store import Store
from harness.store.configurations import several
from harness.store.latencies import latencies
from harness.store.opening import check_store
from space import Architecture, Space, SpaceConfig, find_space
from space.errors import ConfigError
from space.segments import Segment

if TYPE_CHECKING:
    from harness.models.torch_models import TorchModel

MANY_FILES = 20  # take long enough to read for a word on it
_WHOLE = ("threads", "sessions", "seed")  # numbers or None


@contextmanager
def requested(
    devices: tuple[Device, ...],
    models: Network | Path | TorchModel | Iterable[Network | Path | TorchModel],
    *,
    shapes: Mapping[str, Sequence[int]] | None,
    inputs: str | Path | Sequence[Any] | None,
    expect: str | Path | None,
    signature: str,
    runtimes: str | Sequence[str],
    precision: str | Sequence[str],
    batch: int | str | Sequence[int],
    cores: int | str | Iterable[int],
    space: str | Path | Space,
    reference: str | Path | None = None,
    **others: Any,
) -> Iterator[MeasureRequest]:
    """Yield the request of `measure`'s arguments, torch models as files that last until the end; `others` are further fields.

    Raises: ConfigError, also where `models` or `batch` names none.
    """
    called: tuple[str, ...] = ()
    if isinstance(models, Mapping) and any(map(callable, models.values())):  # torch models by name
        called, models = tuple(models), tuple(models.values())
    several_models = some("models", models)
    config = space_meant(several_models, space)
    every = listed(several_models, config)
    batches = parse_batches(",".join(str(one) for one in listed(some("batch", batch))))
    if not all(isinstance(one, str | Path) for one in every) and batches != (1,):
        raise ConfigError(
            f"batch = {batch}: torch modules run on the tensors of inputs; give these as many images, and leave batch out"
        )
    with saved_programs(every, inputs, called) as (names, values):
        yield MeasureRequest(
            devices=devices,
            models=names,
            inputs=GivenInputs.of(shapes, values, expect, signature),
            reference=None if reference is None else Path(reference),
            runtimes=tuple(several(runtimes)),
            precisions=tuple(several(precision)),
            batches=batches,
            cores=parse_cores(cores)
            if isinstance(cores, str)
            else tuple(whole_number("cores", one) for one in as_list(cores)),
            space=config.name,
            **{
                name: whole_number(name, value) if name in _WHOLE else value for name, value in others.items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Outcomes of campaigns, one a device, and the latencies of their networks; or with `until` the predicted space.

    `sustained`: runs under load, where these were asked for; there are no `rows` then.
    With `until` there are no `rows`, and no `table` either where the last campaign was given up.
    """

    outcomes: tuple[Outcome, ...]
    rows: tuple[Latency, ...] | None = None
    table: SpaceTable | None = None
    sustained: tuple[Sustained, ...] | None = None

    @property
    def exit_status(self) -> int:
        """The command's exit status, the worst of the campaigns'."""
        return max(outcome.exit_status for outcome in self.outcomes)


def measure_devices(request: MeasureRequest, store: Store, observer: ExportObserver) -> Measured:
    """Measure on every device of a request, devices concurrently; what is stored already is not measured again.

    Raises: ConfigError when a name cannot be used; `error_target.Unreachable`. What else fails is in the outcomes.
    """
    config, options = find_space(request.space), request.options
    expected = expected_outputs(config)

    def run_source(source: ModelSource | GroupedSource, options: Options) -> list[Outcome]:
        chosen = [(one, options) for one in request.devices]
        return run_all(chosen, source, store, observer, request.seed, request.wait_s)

    def run(networks: Sequence[Architecture | Segment], options: Options) -> list[Outcome]:
        source = ExportedModels(networks, on_progress=observer.export, config=config, expected=expected)
        return run_source(source, options)

    if not request.until:
        asked, options = asked_source(request, config, observer)
        outcomes = run_source(asked, options)
        if any(isinstance(one.error, StoreError) for one in outcomes):
            # The store does not answer: the outcomes say what waits for it.
            return Measured(outcomes=tuple(outcomes), rows=())
        if request.sustained_s:
            return Measured(outcomes=tuple(outcomes), sustained=runs_under_load(outcomes, store))
        if isinstance(asked, MeasuredModels):
            _note_judged_before(asked, outcomes, store, observer)
        rows = (row for one in outcomes for use in one.uses for row in latencies_of(use, store))
        return Measured(outcomes=tuple(outcomes), rows=tuple(rows))
    last = measure_until(
        parse_target(request.until),
        options,
        store,
        lambda *asked: run(*asked)[0],
        observer.log,
        space=config,
    )
    if not last.uses or last.error is not None:
        return Measured(outcomes=(last,))
    return Measured(outcomes=(last,), table=predict_space(store, last.uses[0].configuration))


def runs_under_load(outcomes: Sequence[Outcome], store: Store) -> tuple[Sustained, ...]:
    """Return the runs under load of some campaigns, as they were measured."""
    runs = (
        run
        for one in outcomes
        # Files that are timed alike share one, as do several starts of a job.
        for configuration in dict.fromkeys(use.configuration for use in one.uses)
        for run in store.block_runs(configuration, "sustained")
        if run.campaign_id == one.campaign_id
    )
    return tuple(map(sustained, runs))


def _note_judged_before(
    asked: MeasuredModels, outcomes: Sequence[Outcome], store: Store, observer: ExportObserver
) -> None:
    """Note where given outputs judge no stored session: sessions keep the verdict of the day that they were measured."""
    given = {file.key: file.expect for file in asked.files if file.expect is not None}
    for use in (use for one in outcomes for use in one.uses):
        for model in (model for model in use.models if model.graph_hash in given):
            sessions = store.sessions(use.configuration, [model.graph_hash])
            if sessions and not any(one.expected == given[model.graph_hash] for one in sessions):
                observer.log(
                    f"{model.architecture}: stored already, and not judged by --expect; add --fresh to measure it again"
                )


def asked_source(
    request: MeasureRequest, config: SpaceConfig, observer: ExportObserver
) -> tuple[ModelSource | MeasuredModels, Options]:
    """Return the source of a request's networks and files, and its options: of files alone, runtimes of their formats."""
    chosen = select_models_and_segments(request.networks, config) if request.networks else []
    networks = ExportedModels(chosen, on_progress=observer.export, config=config) if chosen else None
    if networks is not None and not request.files:
        return networks, request.options
    paths = find_files(request.files, observer.log)
    if len(paths) >= MANY_FILES:
        observer.log(f"reading {len(paths):,} model files")
    files = open_files(paths, request.inputs)
    reference = None
    if request.reference is not None:
        reference = open_reference(str(request.reference), request.inputs)
    source = MeasuredModels(
        networks=networks,
        files=files,
        reference=reference,
        on_progress=observer.export,
        beside=request.beside,
        exchanged=request.exchanged,
        batches=request.options.batches,
    )
    _check_formats(request, files)
    of_files = replace(request.options, formats=request.formats or source.formats)
    return source, request.options if networks else of_files


def _check_formats(request: MeasureRequest, files: Sequence[FileModel]) -> None:
    """Raise ConfigError where the runtimes or formats of a request leave a file's format out."""
    asked = {runtime_format(parse_runtime(text)[0]) for text in request.runtimes} | set(request.formats)
    for file in files:
        if asked and file.format not in asked:
            if file.path.suffix.lower() == ".pt2":
                raise ConfigError(
                    f"{file.name}: a .pt2 program is converted to ONNX alone; make a .tflite file of it with litert-torch "
                    "(litert_torch.convert(module, inputs).export(FILE)), and name that"
                )
            raise ConfigError(
                f"the request has .{file.format} files, and --runtime or --format leaves their runtimes out; leave out one of "
                "the two"
            )


def latencies_of(use: RuntimePlan, store: Store) -> list[Latency]:
    """Return the stored latencies of a runtime plan's networks, fastest first, by the names that they were asked for."""
    names = {
        model.graph_hash: model.architecture for model in reversed(use.models) if model.purpose == "network"
    }
    rows = latencies(store, use.configuration, list(names))
    return [replace(row, architecture=names[row.graph_hash]) for row in rows]


def measure(
    device: str | Device | Sequence[str | Device],
    models: Network | Path | TorchModel | Iterable[Network | Path | TorchModel] = DEFAULT_MODELS,
    *,
    store: Store,
    level: str = "screen",
    runtimes: str | Sequence[str] = (),
    precision: str | Sequence[str] = (),
    batch: int | str | Sequence[int] = 1,
    threads: int | None = None,
    cores: int | str | Iterable[int] = (),
    sessions: int | None = None,
    fresh: bool = False,
    memory: bool = False,
    energy: bool = False,
    space: str | Path | Space = "",
    shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: str | Path | Sequence[Any] | None = None,
    expect: str | Path | None = None,
    signature: str = "",
    reference: str | Path | None = None,
    seed: int | None = None,
    wait_s: float = 0.0,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> LatencyTable:
    """Time networks on devices, keep the raw times in a store, and return the latencies, fastest first in each runtime.

    What is stored already is not measured again, unless `fresh`. A network that failed has no row; its failure is in the
    table's `failures`, and in the store.

    - `device`: one of `load_devices`; or as on the command line a name, a pattern such as "pixel*", a group or "all", looked
      up in `devices_file`, by default devices.toml; or several of these, which are measured at once.
    - `models`, one or several: an architecture (text or `space.Architecture`), hash or index, "all", "sample:N[@SEED]",
      "design:K[@SEED]", "file:PATH", "segments"; a model file (.onnx, .tflite, .pt2), a wildcard, a folder of such; a torch
      module, which runs on the tensors of `inputs` in its evaluation mode; an exported program. Torch models may have names of
      your own, {"wide": module, ...}.
    - `level`: "quick" (1 session a network), "screen" (5) or "final" (5, longer); `sessions` gives another number.
    - `runtimes`, `threads`, `cores`, and `precision` of networks ("fp32", "fp16", "int8"; one or several): by default the
      device's.
    - `batch`: the images of a run, one number or several, which are measured apart. Files need a free first size for more
      than one.
    - `memory`: peak memory, load and first run as well, of each network alone in fresh processes. `energy`: the energy of an
      inference as well, where the device has a sensor.
    - `space`: that of the architectures; by default their own, else blox.
    - Of files: `shapes` of the inputs that they leave free, by name; `inputs`, an .npz file of values; `expect`, an .npz file
      of the right outputs, by default the file's own run on this machine; the `signature` of TFLite files; a `reference`, the
      file that they are timed beside.
    - `seed`: of the order of measurement, by default random. `wait_s`: how long to wait for a device in use, at least 10 s.
      `log` is given a line of progress at a time.

    Raises: ConfigError when what is asked for does not fit; DeviceError and others when a campaign had to be given up: the
    other devices are measured to their end, and all that was measured is stored. After Ctrl-C, a
    KeyboardInterrupt, the same call goes on from there.

    >>> table = measure(device, "conv/conv/conv", store=store, runtimes=["onnxruntime"], level="quick", sessions=1)
    >>> for row in table:
    ...     print(row.architecture, row.configuration.runtime, row.latency_ms > 0)
    conv/conv/conv onnxruntime True
    """
    check_store(store)
    with requested(
        named_devices(device, devices_file), models, shapes=shapes, inputs=inputs, expect=expect, signature=signature,
        reference=reference, level=level, runtimes=runtimes, precision=precision, batch=batch, threads=threads, cores=cores,
        sessions=sessions, fresh=fresh, memory=memory, energy=energy, space=space, seed=seed, wait_s=wait_s,
    ) as request:  # fmt: skip
        return measure_requested(request, store, log)


def named_devices(
    device: str | Device | Sequence[str | Device], devices_file: str | Path | None
) -> tuple[Device, ...]:
    """Return the devices that a caller from Python names, one or several. Raises: ConfigError, also where none is."""
    named = [device] if isinstance(device, str | Device) else list(device)
    if not named:
        raise ConfigError("device = []: name one or several, or 'all'")
    return select_devices(named, devices_file)


def measure_requested(
    request: MeasureRequest, store: Store, log: Callable[[str], None] = lambda line: None
) -> LatencyTable:
    """Measure what a request asks for and return the latencies, and what failed. Raises: as `measure`.

    log: is given a line of progress at a time; a view that observes campaigns is told of their events instead.
    """
    found = measure_devices(request, store, log if isinstance(log, ExportObserver) else Progress(log))
    raise_first(found.outcomes)
    failures = (failure for outcome in found.outcomes for failure in outcome.failures)
    return LatencyTable(rows=found.rows or (), failures=tuple(failures))


def raise_first(outcomes: Sequence[Outcome]) -> None:
    """Raise what ended the first of some campaigns that were given up, with the others in its notes.

    What Ctrl-C ended is a KeyboardInterrupt again: a caller that goes on after a HarnessError does not go on after that.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        if isinstance(error, Cancelled):
            raise KeyboardInterrupt(str(error)) from error
    for other in errors[1:]:
        errors[0].add_note(f"and {other}")
    if errors:
        raise errors[0]


class Progress:
    """An Observer that gives lines of text to a function."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._done: dict[str, int] = {}
        self._units: dict[str, int] = {}

    def event(self, device: str, event: Event) -> None:
        text = str(event)
        match event:
            case SessionsPlanned(sessions=sessions):
                self._units[device] = self._units.get(device, 0) + sessions
                return
            case SessionDone(failure=failure):
                self._done[device] = self._done.get(device, 0) + 1
                ended = f"{self._done[device]} of {self._units[device]} sessions"
                text = f"{ended}: {event}" if failure else ended
        self._log(f"{device}: {text}")

    def log(self, text: str) -> None:
        self._log(text)

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        if done in (0, total):
            self._log(f"export {model_format}: {done} of {total} fragments")

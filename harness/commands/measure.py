"""`harness measure`: time networks on devices and keep what was measured."""

from __future__ import annotations

import random
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag, StoreOption
from harness.devices import LOCAL, parse_runtime
from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.campaign import Options, Outcome
    from harness.commands.progress import ProgressView
    from harness.devices import Device
    from harness.store import Store

DEFAULT_MODELS = "sample:20"


class ModelFormat(StrEnum):
    """The format of the models that a runtime runs."""

    onnx = "onnx"
    tflite = "tflite"


class MeasureLevel(StrEnum):
    """How much measuring a network gets: see harness.levels."""

    quick = "quick"
    screen = "screen"
    final = "final"


def measure(
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", "-d", help="Device of devices.toml; repeat for several at once. [default: local]"
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Networks: all, sample:N[@SEED], design:K[@SEED], an architecture, hash or index, file:PATH; repeatable, or "
            f"joined by commas. [default: {DEFAULT_MODELS}]",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            help="onnxruntime[:PROVIDER] or tflite; repeatable. [default: all that the device has]",
        ),
    ] = None,
    model_format: Annotated[
        list[ModelFormat] | None,
        typer.Option("--format", help="Only runtimes of this model format; repeatable."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, help="Threads of one inference. [default: 1]")
    ] = None,
    cores: Annotated[
        str,
        typer.Option(
            "--cores",
            help="Cores to run on, e.g. 4-7 or 0,2; one thread each without --threads. [default: of the fastest cluster]",
        ),
    ] = "",
    level: Annotated[
        MeasureLevel,
        typer.Option(
            "--level",
            "-l",
            help="quick: 1 session a network, to fit a predictor; screen: 3, to rank; final: 5, longer, for finalists.",
        ),
    ] = MeasureLevel.screen,
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            "-n",
            min=1,
            max=100,
            help="Sessions (fresh processes) a network. [default: the level's]",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure anew what is already stored; new sessions join the old.")
    ] = False,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="Measure the reference latency anew: later latencies are multiples of the new one.",
        ),
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the order of measurement. [default: random]")
    ] = None,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Time networks on devices; what is stored already is not measured again.

    With nothing else, 20 random networks run on this machine, in every runtime that it has, three sessions each.
    """
    from harness.devices import load_devices, select_device
    from harness.store import Store, default_url

    known = load_devices(devices_file)
    chosen = [select_device(known, name) for name in dict.fromkeys(device or [LOCAL])]
    options = _options(
        runtime, model_format, threads, parse_cores(cores), level, sessions, fresh, recalibrate
    )
    from harness.commands.sources import ExportedModels, select_architectures

    architectures = select_architectures(models or [DEFAULT_MODELS])
    from harness.commands.progress import ProgressView

    store = Store(store_url or default_url())
    try:
        with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:
            source = ExportedModels(architectures, progress=view.export)
            outcomes = _run_all(chosen, source, options, store, view, seed)
        _finish(outcomes, store, json_output)
    finally:
        store.close()


def parse_cores(text: str) -> tuple[int, ...]:
    """Parse `4-7` or `0,2,4-5` into core ids. Raises: ConfigError."""
    cores: list[int] = []
    for piece in text.split(",") if text else ():
        first, dash, last = piece.strip().partition("-")
        if not re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})?", piece.strip()):
            raise ConfigError(
                f"--cores {text!r}: {piece!r} is no core; write e.g. --cores 4-7 or --cores 0,2"
            )
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high > 4095:
            raise ConfigError(f"--cores {text!r}: {piece!r} is no range of cores; write e.g. --cores 4-7")
        cores.extend(range(low, high + 1))
    if len(set(cores)) != len(cores):
        raise ConfigError(f"--cores {text!r}: names a core twice")
    return tuple(cores)


def _options(
    runtime: list[str] | None,
    model_format: list[ModelFormat] | None,
    threads: int | None,
    cores: tuple[int, ...],
    level: MeasureLevel,
    sessions: int | None,
    fresh: bool,
    recalibrate: bool,
) -> Options:
    from harness.campaign import Options
    from harness.levels import LEVELS

    for text in runtime or []:
        try:
            parse_runtime(text)
        except ValueError as error:
            raise ConfigError(f"--runtime {text!r}: {error}") from error
    return Options(
        runtimes=tuple(runtime or ()),
        formats=tuple(value.value for value in model_format or ()),
        threads=threads,
        cores=cores,
        level=LEVELS[level.value],
        sessions=sessions,
        fresh=fresh,
        recalibrate=recalibrate,
    )


def _run_all(
    chosen: list[Device],
    source: object,
    options: Options,
    store: Store,
    view: ProgressView,
    seed: int | None,
) -> list[Outcome]:
    """Run one campaign a device, all at once; a device that fails leaves the others alone."""
    from harness.campaign import Outcome, run_campaign
    from harness.measuring import Cancelled

    cancel = threading.Event()

    def run(device: Device) -> Outcome:
        try:
            rng = random.Random(seed)
            return run_campaign(device, source, options, store, view, rng=rng, cancel=cancel)  # type: ignore[arg-type]
        except HarnessError as error:
            return Outcome(device=device.name, error=Cancelled() if cancel.is_set() else error)

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        pending = [pool.submit(run, device) for device in chosen]
        try:
            while not all(future.done() for future in pending):
                for future in pending:
                    if not future.done():
                        threading.Event().wait(0.1)
        except KeyboardInterrupt:
            cancel.set()
            view.say("stopping: the session under way is given up, what was measured is stored")
        return [future.result() for future in pending]


def _finish(outcomes: list[Outcome], store: Store, json_output: bool) -> None:
    """Print the table and what did not work; exit with the status that says so."""
    from harness.commands.tables import print_latencies
    from harness.latencies import latencies

    rows = []
    for outcome in outcomes:
        for use in outcome.uses:
            rows += latencies(store, use.configuration, [model.graph_hash for model in use.models])
    if rows or json_output:
        print_latencies(rows, json_output=json_output)
    status = 0
    for outcome in outcomes:
        _summarise(outcome)
        if outcome.error is not None:
            status = max(status, outcome.error.exit_status)
        elif outcome.failures:
            status = max(status, 3)
    if status:
        raise typer.Exit(status)


def _summarise(outcome: Outcome) -> None:
    if outcome.uses:
        sessions = "session" if outcome.measured == 1 else "sessions"
        parts = [f"{outcome.measured} {sessions} measured in {outcome.elapsed_s:.0f} s"]
        if outcome.redone:
            parts.append(f"{outcome.redone} measured again because the device throttled")
        if outcome.reused:
            parts.append(f"{outcome.reused} already stored (--fresh measures anew)")
        if outcome.sent_bytes:
            parts.append(f"{outcome.sent_bytes / 1e6:.2f} MB of model parts sent")
        typer.echo(f"{outcome.device}: {', '.join(parts)}", err=True)
    kinds: dict[str, int] = {}
    for failure in outcome.failures:
        kinds[failure.kind] = kinds.get(failure.kind, 0) + 1
    if kinds:
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        typer.echo(
            f"{outcome.device}: {len(outcome.failures)} failures ({text}); see 'harness results --failures'",
            err=True,
        )
    if outcome.error is not None:
        typer.echo(f"harness: {outcome.error}", err=True)

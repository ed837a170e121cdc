"""`harness measure`: measure latencies of networks on devices and store them."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag, SpaceName, StoreOption
from harness.devices.config import LOCAL, parse_runtime
from space.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.devices.config import Device
    from harness.measurement.campaign import Outcome
    from harness.measurement.plan import Options
    from harness.prediction.error_target import Target
    from harness.store import Store
    from space import Architecture, SpaceConfig
    from space.segments import Segment

DEFAULT_MODELS = "sample:20"


class ModelFormat(StrEnum):
    """The format of the models that a runtime runs."""

    onnx = "onnx"
    tflite = "tflite"


class MeasureLevel(StrEnum):
    """Measuring effort for a network: see harness.measurement.plan."""

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
            help="Networks: all, sample:N[@SEED], design:K[@SEED], an architecture, hash or index, file:PATH, or segments (see "
            f"'harness audit'); repeatable, or joined by commas. [default: {DEFAULT_MODELS}]",
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
        MeasureLevel | None,
        typer.Option(
            "--level",
            "-l",
            help="quick: 1 session a network, to fit a predictor; screen: 3, to rank; final: 5, longer, for finalists. "
            "[default: screen; with --until quick]",
        ),
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            help="Pick the networks itself and measure until the predictor of the whole space is shown to be that good, e.g. "
            "mape=2%; see 'harness predict'.",
        ),
    ] = "",
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
        bool, typer.Option("--fresh", help="Measure again what is already stored; new sessions join the old.")
    ] = False,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="Measure the reference latency again: later latencies are multiples of the new one.",
        ),
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the order of measurement. [default: random]")
    ] = None,
    space: SpaceName = "blox",
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Measure networks on devices; what is stored already is not measured again.

    With nothing else, 20 random networks run on this machine, in every runtime that it has, three sessions each.
    """
    from harness.devices.config import load_devices, select_device
    from harness.store.opening import open_store

    known = load_devices(devices_file)
    chosen = [select_device(known, name) for name in dict.fromkeys(device or [LOCAL])]
    target = _until(until, chosen, models)
    options = _options(
        runtime,
        model_format,
        threads,
        parse_cores(cores),
        level or (MeasureLevel.quick if target else MeasureLevel.screen),
        sessions,
        fresh,
        recalibrate,
    )
    from harness.measurement.campaigns import run_all
    from harness.models.exported import ExportedModels
    from harness.models.names import select_models_and_segments
    from harness.output.campaigns import first_numbers_in, print_campaigns
    from harness.output.progress import ProgressView
    from space import find_space

    config = find_space(space)
    if target is not None:
        _check_target(config)
    selected = [] if target else select_models_and_segments(models or [DEFAULT_MODELS], config)
    store = open_store(store_url)
    try:
        quiet = json_output and not sys.stderr.isatty()
        with ProgressView(quiet=quiet, first_numbers=first_numbers_in(store)) as view:

            def run(networks: Sequence[Architecture | Segment], request: Options) -> list[Outcome]:
                source = ExportedModels(networks, progress=view.export, config=config)
                return run_all([(one, request) for one in chosen], source, store, view, seed)

            if target is None:
                outcomes = run(selected, options)
            else:
                from harness.prediction.error_target import measure_until

                outcomes = [
                    measure_until(
                        target, options, store, lambda *asked: run(*asked)[0], view.say, config=config
                    )
                ]
        if target is None:
            print_campaigns(outcomes, store, json_output=json_output)
        else:
            _print_until(outcomes[0], store, json_output)
    finally:
        store.close()
    if status := max(outcome.exit_status for outcome in outcomes):
        raise typer.Exit(status)


def _print_until(outcome: Outcome, store: Store, json_output: bool) -> None:
    """Print the predictor's error so far, and the campaign's outcome."""
    from harness.output.campaigns import print_outcome
    from harness.output.prediction import doubts, print_report
    from harness.output.tables import print_json
    from harness.prediction.space_prediction import predict_space, summary

    if outcome.uses and outcome.error is None:
        table = predict_space(store, outcome.uses[0].configuration)
        for note in doubts(table):
            typer.echo(f"note: {note}", err=True)
        if json_output:
            print_json(summary(table))
        else:
            print_report(table)
            typer.echo(f"the whole table: harness predict --device {outcome.device} --csv", err=True)
    print_outcome(outcome)


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
    from harness.measurement.plan import LEVELS, Options

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


def _until(text: str, chosen: list[Device], models: list[str] | None) -> Target | None:
    """Return the target of --until. Raises: ConfigError when it is none, or other options speak against it."""
    if not text:
        return None
    from harness.prediction.error_target import parse_target

    target = parse_target(text)
    if models:
        raise ConfigError("--until picks the networks itself: leave out --models, or --until")
    if len(chosen) > 1:
        raise ConfigError("--until works on one device at a time: name one --device")
    return target


def _check_target(config: SpaceConfig) -> None:
    """Raise ConfigError when the space has too many networks for a predictor of each."""
    from space import check_enumerable

    check_enumerable(config, "--until", "choose networks with --models, e.g. design:1")

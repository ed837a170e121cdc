"""`harness measure`: measure latencies of networks on devices and store them."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import (
    CoreList,
    Devices,
    DevicesFile,
    EnergyFlag,
    ExpectedValues,
    FilesReference,
    InputShapes,
    InputValues,
    JsonFlag,
    MeasuredBatches,
    MeasuredFormats,
    MeasuredPrecisions,
    MeasuredRuntimes,
    MeasuredThreads,
    MeasureLevel,
    MemoryFlag,
    OrderSeed,
    SessionCount,
    SignatureName,
    SpaceName,
    StoreOption,
    SustainedPlot,
    SustainedTime,
    WaitFlag,
    WaitLimit,
    WideFlag,
    is_quiet,
    make_store,
    named_devices,
    patience_s,
)


def measure(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model files, .onnx or .tflite: names, wildcards, folders; or networks, as for --models.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    device: Devices = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Networks: all, sample:N[@SEED], design:K[@SEED], an architecture, hash or index, file:PATH, or segments (see "
            "'harness audit'); repeatable, or joined by commas. [default: sample:20, without files]",
        ),
    ] = None,
    shape: InputShapes = None,
    inputs: InputValues = None,
    expect: ExpectedValues = None,
    signature: SignatureName = "",
    reference: FilesReference = None,
    runtime: MeasuredRuntimes = None,
    model_format: MeasuredFormats = None,
    precision: MeasuredPrecisions = None,
    batch: MeasuredBatches = "",
    threads: MeasuredThreads = None,
    cores: CoreList = "",
    level: Annotated[
        MeasureLevel | None,
        typer.Option(
            "--level",
            "-l",
            help="quick: 1 session a network, to fit a predictor; screen: 5, to rank; final: 5, longer, for finalists. "
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
    sessions: SessionCount = None,
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
    memory: MemoryFlag = False,
    energy: EnergyFlag = False,
    sustained: SustainedTime = "",
    plot: SustainedPlot = None,
    seed: OrderSeed = None,
    wait: WaitFlag = False,
    wait_limit: WaitLimit = "",
    space: SpaceName = "blox",
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Measure networks and model files on devices; what is stored already is not measured again.

    With nothing else, 20 random networks run on this machine, in every runtime that it has, five sessions each.
    """
    from harness.devices.runtimes import parse_cores
    from harness.measurement.block_runs import parse_sustained
    from harness.measurement.plan import parse_batches
    from harness.models.files import GivenInputs
    from harness.output.campaigns import first_numbers_in, print_measured
    from harness.output.progress import ProgressView
    from harness.output.sustained import check_plot
    from harness.prediction.measure import MeasureRequest, measure_devices

    check_plot(plot, sustained)
    request = MeasureRequest(
        devices=named_devices(device, devices_file),
        models=(*(files or ()), *(models or ())),
        inputs=GivenInputs.parse(shape or (), inputs, expect, signature),
        reference=reference,
        until=until,
        level=level or "",
        runtimes=tuple(runtime or ()),
        formats=tuple(model_format or ()),
        precisions=tuple(precision or ()),
        batches=parse_batches(batch),
        threads=threads,
        cores=parse_cores(cores),
        sessions=sessions,
        fresh=fresh,
        recalibrate=recalibrate,
        memory=memory,
        energy=energy,
        sustained_s=parse_sustained(sustained),
        space=space,
        seed=seed,
        wait_s=patience_s(wait, wait_limit),
    )
    with make_store(store_url) as store:
        with ProgressView(quiet=is_quiet(json_output), first_numbers=first_numbers_in(store)) as view:
            found = measure_devices(request, store, view)
        print_measured(found, json_output=json_output, wide=wide, figure=plot)
    raise typer.Exit(found.exit_status)

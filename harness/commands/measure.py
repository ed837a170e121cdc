"""`harness measure`: measure latencies of networks on devices and store them."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.measure_options import MeasureOptions, takes_measuring
from harness.commands.options import (
    Devices,
    JsonFlag,
    MeasureLevel,
    StoreOption,
    SustainedPlot,
    WaitFlag,
    WaitLimit,
    make_store,
    named_devices,
    patience_s,
)


@takes_measuring
def measure(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model files, .onnx, .tflite or .pt2: names, wildcards, folders; or networks, as for --models.",
            metavar="[FILE]...",
            show_default=False,
        ),
    ] = None,
    *,
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
            help="Choose networks automatically, and measure until the predictor of the whole space is shown to be as good as "
            "this, e.g. mape=2%; see 'harness predict'.",
        ),
    ] = "",
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
    options: MeasureOptions,
    plot: SustainedPlot = None,
    wait: WaitFlag = False,
    wait_limit: WaitLimit = "",
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Measure networks and model files on devices; what is stored already is not measured again.

    With nothing else, 20 random networks run on this machine, in every runtime that it has, five sessions each.
    """
    request = options.request(
        named_devices(device, options.devices_file), [*(files or ()), *(models or ())], level,
        until=until, fresh=fresh, recalibrate=recalibrate, wait_s=patience_s(wait, wait_limit),
    )  # fmt: skip
    from harness.output.plots.pictures import check_plot

    check_plot(plot, options.sustained)
    from harness.output.campaigns import first_numbers_in, print_measured
    from harness.output.progress import ProgressView
    from harness.prediction.measure import measure_devices

    with make_store(store_url) as store:
        with ProgressView(first_numbers_in(store)) as view:
            found = measure_devices(request, store, view)
        print_measured(found, json_output=json_output, figure=plot)
    raise typer.Exit(found.exit_status)

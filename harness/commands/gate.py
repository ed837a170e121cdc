"""`harness gate`: whether model files became slower than their baseline, for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.measure_options import InputOptions, takes_inputs
from harness.commands.options import (
    DevicesFile,
    JsonFlag,
    MeasuredThreads,
    MeasureLevel,
    OneBatch,
    OneDevice,
    RuntimeName,
    StoreOption,
    make_store,
    named_devices,
)
from harness.devices.destination import LOCAL
from space.user_paths import check_is_there


@takes_inputs
def gate(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Model files, .onnx, .tflite or .pt2: names, wildcards, folders.", metavar="FILE..."
        ),
    ],
    *,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            callback=check_is_there,
            help="The baseline file to judge by.",
            metavar="FILE.json",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Measure, and write this baseline file instead.", metavar="FILE.json"),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            help="What fails: 'latency > +N%', 'memory > +N%' or 'size > +N%'; repeatable. [default: latency > +3%]",
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", help="Write the checks to this file, too, as JUnit XML.", metavar="FILE.xml"),
    ] = None,
    device: OneDevice = LOCAL,
    runtime: RuntimeName = "",
    threads: MeasuredThreads = None,
    batch: OneBatch = 1,
    level: Annotated[
        MeasureLevel, typer.Option("--level", "-l", help="Effort, as for 'harness measure'.")
    ] = MeasureLevel.screen,
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            "-n",
            min=1,
            max=100,
            help="Sessions of each file, or of each role of two files. [default: the level's]",
        ),
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="With --write: measure the files' peak memory, too.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what is already stored.")] = False,
    of_files: InputOptions,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Judge whether model files became slower than a baseline; or write one, with --write.

    Exit status 0: no file became slower. 1: one did, by the 95 % interval of its change. 2: none did, but one could not be
    judged; or the command line or a file is wrong. 3: the device failed, or was in use.

    A file whose baseline's file is still there is timed against it in the same processes, until its change is known to be above
    or below the limit; another through the reference, if device, runtime and clocks are the same.
    """
    from harness.query.requests import GateRequest

    request = GateRequest(
        files=tuple(files), baseline=baseline, write=write, fail_if=tuple(fail_if or ()), junit=junit, memory=memory
    )  # fmt: skip
    given = of_files.given()
    named_devices([device], devices_file)
    from harness.query.gate_baseline import parse_baseline

    kept = None if baseline is None else parse_baseline(baseline)
    from harness.output.gate import print_answer
    from harness.output.progress import ProgressView
    from harness.query.gate import run_gate
    from harness.query.gate_changes import DeviceTiming

    with make_store(store_url) as store, ProgressView() as view:
        timing = DeviceTiming(
            store=store, device=device, runtime=runtime, threads=threads, batch=batch, level=level, sessions=sessions,
            fresh=fresh, inputs=given, devices_file=devices_file, log=view,
        )  # fmt: skip
        found = run_gate(request, timing, kept)
    print_answer(found, junit=junit, json_output=json_output)
    raise typer.Exit(found.exit_status)

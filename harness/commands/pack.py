"""`harness pack`: a job to be carried to a device that no harness reaches, and run there with `python3 job.zip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    CoreList,
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
    SustainedTime,
    is_quiet,
    make_store,
)


def pack(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model files, as for 'harness measure'.", metavar="[FILE]...", show_default=False
        ),
    ] = None,
    *,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="The device's name in the store; with its keys where devices.toml has it, which it need not.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The job's file.", metavar="FILE.zip")
    ] = Path("job.zip"),
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Networks, as for 'harness measure'; repeatable, or joined by commas. [default: sample:20, without files]",
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
        typer.Option("--level", "-l", help="Effort, as for 'harness measure'. [default: screen]"),
    ] = None,
    sessions: SessionCount = None,
    memory: MemoryFlag = False,
    energy: EnergyFlag = False,
    sustained: SustainedTime = "",
    seed: OrderSeed = None,
    space: SpaceName = "blox",
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Pack a job for a device that SSH cannot reach: carry it there, run python3 job.zip, bring job-results.zip back.

    Python 3.8 and a runtime are all that the device needs. 'harness import' takes the results, into the same store.
    """
    from harness.devices.runtimes import parse_cores
    from harness.measurement.block_runs import parse_sustained
    from harness.measurement.plan import parse_batches
    from harness.models.files import GivenInputs
    from harness.output.packed import print_job
    from harness.output.progress import ProgressView
    from harness.prediction.measure import MeasureRequest
    from harness.prediction.pack import pack_requested, parse_device

    request = MeasureRequest(
        devices=(parse_device(device, devices_file),),
        models=(*(files or ()), *(models or ())),
        inputs=GivenInputs.parse(shape or (), inputs, expect, signature),
        reference=reference,
        level=level or "",
        runtimes=tuple(runtime or ()),
        formats=tuple(model_format or ()),
        precisions=tuple(precision or ()),
        batches=parse_batches(batch),
        threads=threads,
        cores=parse_cores(cores),
        sessions=sessions,
        memory=memory,
        energy=energy,
        sustained_s=parse_sustained(sustained),
        space=space,
        seed=seed,
    )
    with make_store(store_url) as store, ProgressView(quiet=is_quiet(json_output)) as view:
        job = pack_requested(request, output, store, view)
    print_job(job, output, device, json_output=json_output)

"""`harness pack`: a job to be carried to a device that no harness reaches, and run there with `python3 job.zip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.measure_options import MeasureOptions, takes_measuring
from harness.commands.options import JsonFlag, MeasureLevel, StoreOption, make_store
from space.atomic_files import check_output_file


@takes_measuring
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
    level: Annotated[
        MeasureLevel | None,
        typer.Option("--level", "-l", help="Effort, as for 'harness measure'. [default: screen]"),
    ] = None,
    options: MeasureOptions,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Pack a job for a device that SSH cannot reach: carry it there, run python3 job.zip, bring job-results.zip back.

    Python 3.8 and a runtime are all that the device needs. 'harness import' takes the results, into the same store.
    """
    from harness.devices.names import parse_packed_device

    packed_for = parse_packed_device(device, options.devices_file)
    request = options.request([packed_for], [*(files or ()), *(models or ())], level)
    check_output_file(output, inputs=request.models, is_text=False)
    from harness.output.packed import print_job
    from harness.output.progress import ProgressView
    from harness.prediction.pack import pack_requested

    with make_store(store_url) as store, ProgressView() as view:
        job = pack_requested(request, output, store, view)
    print_job(job, output, device, json_output=json_output)

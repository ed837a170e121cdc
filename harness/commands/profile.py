"""`harness profile`: a network's time on a device by fragment, op type or node."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from harness.commands.options import (
    CoreList,
    DevicesFile,
    InputShapes,
    InputValues,
    JsonFlag,
    MeasuredThreads,
    OneBatch,
    OneDevice,
    SignatureName,
    SpaceName,
    WaitFlag,
    WaitLimit,
    check_runtime,
    checked_by,
    log,
    named_device,
    patience_s,
)
from harness.devices.destination import LOCAL


class By(StrEnum):
    """Grouping of nodes."""

    fragment = "fragment"
    op = "op"
    node = "node"


def profile(
    architecture: Annotated[
        str,
        typer.Argument(help="A network: its architecture, hash or index; or a model file.", metavar="MODEL"),
    ],
    device: OneDevice = LOCAL,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime",
            "-r",
            callback=checked_by(check_runtime),
            help="onnxruntime[:PROVIDER] or litert[:PROVIDER]; other runtimes have no profiler.",
        ),
    ] = "onnxruntime",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="Precision of the model: fp32, fp16 or int8. [default: the device's, else fp32]",
        ),
    ] = "",
    batch: OneBatch = 1,
    threads: MeasuredThreads = None,
    cores: CoreList = "",
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=1000, help="Runs; the quietest quarter counts.")
    ] = 50,
    by: Annotated[
        By | None,
        typer.Option("--by", help="Add up the nodes' times by this. [default: fragment; of a file, op]"),
    ] = None,
    shape: InputShapes = None,
    inputs: InputValues = None,
    signature: SignatureName = "",
    wait: WaitFlag = False,
    wait_limit: WaitLimit = "",
    space: SpaceName = "blox",
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Show where a network's or a file's time goes: by fragment, by op type, or node by node.

    Times are those of the runtime's own profiler, and are not stored. To compare latencies use 'harness measure'.
    """
    from harness.devices.runtimes import parse_cores
    from harness.models.file_names import GivenInputs
    from harness.models.names import check_names

    chosen = named_device(device, devices_file)
    check_names([architecture], space)
    from harness.models.profile import profile_network
    from harness.output.profile import print_profile
    from harness.output.progress import ProgressView

    with ProgressView() as view:
        found = profile_network(
            chosen,
            architecture,
            runtime=runtime,
            precision=precision,
            batch=batch,
            threads=threads,
            cores=parse_cores(cores),
            runs=runs,
            space=space,
            inputs=GivenInputs.parse(shape or (), inputs, None, signature),
            wait_s=patience_s(wait, wait_limit),
            on_progress=view.export,
            log=log,
        )
    print_profile(found, by or "", json_output=json_output)

"""`harness export`: export one network as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import ModelFormat, SpaceName, log
from space.atomic_files import check_output_file
from space.user_paths import check_is_there


def export(
    architecture: Annotated[
        str, typer.Argument(help="An architecture, its graph hash or its index.", metavar="ARCH")
    ],
    model_format: Annotated[ModelFormat, typer.Option("--format", help="Format of the file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    precision: Annotated[
        str, typer.Option("--precision", help="Precision of the model: fp32, fp16 or int8.")
    ] = "fp32",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            callback=check_is_there,
            help="Trained weights (a torch state dict). [default: seeded random weights]",
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            metavar="TASK|FILE.npz",
            help="Images of trained weights: a task as for 'harness train' (digits, synthetic:SEED, a folder with CIFAR, "
            "folder:PATH, npz:FILE), on which accuracies before and after are shown, too, or a file of training images, "
            "normalized. int8 needs one.",
        ),
    ] = "",
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE.csv",
            help="Table of accuracies to add the model's to, for 'harness search --accuracies'.",
        ),
    ] = None,
    space: SpaceName = "blox",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a stand-alone ONNX or TFLite file of one network."""
    from harness.devices.config import parse_precision
    from harness.models.names import check_names

    chosen = parse_precision(precision)
    check_names([architecture], space)
    check_output_file(output, is_text=False)
    check_output_file(table)
    from harness.models.exported import export_network
    from harness.output.export_text import print_export

    written = export_network(
        architecture,
        model_format.value,
        output,
        precision=chosen,
        checkpoint=checkpoint,
        calibration=calibration,
        table=table,
        space=space,
        force=force,
        log=log,
    )
    print_export(written)

"""`harness export`: export one network as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import ModelFormat, SpaceName, log
from space.atomic_files import check_output_file
from space.errors import ConfigError
from space.user_paths import check_is_there


def export(
    architecture: Annotated[
        str, typer.Argument(help="An architecture, its graph hash or its index.", metavar="ARCH")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    model_format: Annotated[
        ModelFormat | None,
        typer.Option("--format", help="Format of the file. [default: that of its suffix]"),
    ] = None,
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
    suffix = output.suffix.removeprefix(".")
    if model_format is None and suffix not in list(ModelFormat):
        raise ConfigError(f"{output}: has no suffix of a format; end it in .onnx or .tflite, or add --format")
    file_format = model_format or ModelFormat(suffix)
    check_names([architecture], space)
    check_output_file(output, is_text=False)
    check_output_file(table, is_text=False)  # what is no table is refused where it is read
    from harness.models.exported import export_network
    from harness.output.export_text import print_export

    written = export_network(
        architecture,
        file_format.value,
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

"""`harness export`: export one network as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.measure import ModelFormat
from harness.commands.options import SpaceName
from harness.version import __version__
from space.atomic_files import holds_file, write_file
from space.errors import ConfigError


def export(
    architecture: Annotated[str, typer.Argument(help="An architecture, its graph hash or its index.")],
    model_format: Annotated[ModelFormat, typer.Option("--format", help="Format of the file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="Trained weights (a torch state dict). [default: seeded random weights]"
        ),
    ] = None,
    space: SpaceName = "blox",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a stand-alone ONNX or TFLite file of one network."""
    from exporters import ConversionError, Weights, standalone
    from harness.models.exported import cache_folder
    from harness.models.names import select_architecture
    from space import find_space

    network = select_architecture(architecture, find_space(space))
    if holds_file(output) and not force:
        raise ConfigError(f"{output}: exists already; name another file or add --force")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    weights = Weights.seeded(0) if checkpoint is None else Weights.from_checkpoint(checkpoint, network)
    version = {"harness.version": __version__}
    data = standalone(
        network,
        model_format.value,
        weights=weights,
        cache_dir=cache_folder(),
        metadata=version,
    )
    write_file(output, data, error=ConversionError)
    source = "seeded random weights" if checkpoint is None else f"weights of {checkpoint}"
    typer.echo(f"{output}: {network} as {model_format.value}, {len(data) / 1e6:.1f} MB, {source}", err=True)

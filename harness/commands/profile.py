"""`harness profile`: a network's time on a device by fragment, op type or node."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

from harness.commands.measure import parse_cores
from harness.commands.options import DevicesFile, JsonFlag, SpaceName
from harness.devices.config import LOCAL, parse_runtime
from space.errors import ConfigError

PROFILED_RUNTIME: Final = "onnxruntime"
PROFILED_FORMAT: Final = "onnx"


class By(StrEnum):
    """Grouping of nodes."""

    fragment = "fragment"
    op = "op"
    node = "node"


def profile(
    architecture: Annotated[str, typer.Argument(help="A network: its architecture, hash or index.")],
    device: Annotated[str, typer.Option("--device", "-d", help="Device of devices.toml.")] = LOCAL,
    runtime: Annotated[
        str, typer.Option("--runtime", "-r", help="onnxruntime[:PROVIDER]; other runtimes have no profiler.")
    ] = "onnxruntime",
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, help="Threads of one inference. [default: 1]")
    ] = None,
    cores: Annotated[
        str,
        typer.Option("--cores", help="Cores to run on, e.g. 4-7 or 0,2. [default: of the fastest cluster]"),
    ] = "",
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=1000, help="Runs; the quietest quarter counts.")
    ] = 50,
    by: Annotated[By, typer.Option("--by", help="What to add the nodes up by.")] = By.fragment,
    space: SpaceName = "blox",
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Show where a network's time goes: by fragment, by op type, or node by node.

    The runtime's own profiler tells; nothing is stored. Latencies to compare are those of 'harness measure'.
    """
    from harness.devices.config import load_devices, select_device
    from harness.measurement.profile import take_profile
    from harness.models.exported import ExportedModels, with_named_nodes
    from harness.models.names import select_architecture
    from harness.output.profile import print_profile, profile_document
    from harness.output.progress import ProgressView
    from harness.output.tables import print_json
    from space import find_space

    chosen = select_device(load_devices(devices_file), device)
    _check_runtime(runtime)
    named_cores = parse_cores(cores)
    network = select_architecture(architecture, find_space(space))

    def say(text: str) -> None:
        typer.echo(f"{chosen.name}: {text}", err=True)

    with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:
        model = ExportedModels([network], progress=view.export).models(PROFILED_FORMAT)[0].assemble()
    taken = take_profile(
        chosen,
        with_named_nodes(model),
        runtime=runtime,
        threads=threads,
        cores=named_cores,
        runs=runs,
        say=say,
    )
    if json_output:
        print_json(profile_document(taken, network, chosen.name))
    else:
        print_profile(taken, by, network, chosen.name)


def _check_runtime(text: str) -> None:
    """Refuse a runtime without a profiler before a model is made for it. Raises: ConfigError."""
    try:
        name, _ = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    if name != PROFILED_RUNTIME:
        raise ConfigError(
            f"--runtime {text!r}: {name} has no profiler that can be reached from Python; use --runtime onnxruntime"
        )

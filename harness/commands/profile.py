"""`harness profile`: where a network's time goes on a device, by fragment, by op type or by node."""

from __future__ import annotations

import dataclasses
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.commands.measure import parse_cores
from harness.commands.options import DevicesFile, JsonFlag, SpaceName
from harness.devices import LOCAL, RUNTIMES, parse_runtime
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.assembly import Assembly
    from harness.profiles import Group, Profile
    from space import Architecture

PROFILED_FORMAT: Final = "onnx"
NS_PER_MS = 1e6
BUSY_SHARE = 0.2  # outside nodes; a quiet run has some 5 %


class By(StrEnum):
    """What the nodes are added up by."""

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
    from harness.commands.tables import print_json
    from harness.devices import load_devices, select_device
    from harness.models.names import select_architectures
    from harness.profiles import take_profile
    from space import find_space

    chosen = select_device(load_devices(devices_file), device)
    _check_runtime(runtime)
    named_cores = parse_cores(cores)
    networks = select_architectures([architecture], find_space(space))
    if len(networks) != 1:
        raise ConfigError(f"{architecture!r} names {len(networks)} networks; name one")

    def say(text: str) -> None:
        typer.echo(f"{chosen.name}: {text}", err=True)

    taken = take_profile(
        chosen,
        _named_model(networks[0], quiet=json_output and not sys.stderr.isatty()),
        runtime=runtime,
        threads=threads,
        cores=named_cores,
        runs=runs,
        say=say,
    )
    if json_output:
        groups = {str(way): [dataclasses.asdict(g) for g in _groups(taken, way, networks[0])] for way in By}
        document = {"architecture": str(networks[0]), "device": chosen.name, **dataclasses.asdict(taken)}
        print_json(document | {"outside_ns": taken.outside_ns, "by": groups})
    else:
        _print(taken, by, networks[0], chosen.name)


def _check_runtime(text: str) -> None:
    """Refuse a runtime without a profiler before a model is made for it. Raises: ConfigError."""
    try:
        name, _ = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    if RUNTIMES[name] != PROFILED_FORMAT:
        raise ConfigError(
            f"--runtime {text!r}: {name} has no profiler that can be reached from Python; use --runtime onnxruntime"
        )


def _named_model(architecture: Architecture, *, quiet: bool) -> Assembly:
    """Return the model with named nodes, by which the profiler's nodes are known again."""
    from exporters import Recipe, with_node_names
    from harness.commands.progress import ProgressView
    from harness.models.exported import ExportedModels

    with ProgressView(quiet=quiet) as view:
        model = ExportedModels([architecture], progress=view.export).models(PROFILED_FORMAT)[0].assemble()
    recipe = with_node_names(
        Recipe(
            format=PROFILED_FORMAT,
            alignment=model.alignment,
            skeleton=model.skeleton,
            parts=model.parts,
            dictionary=model.dictionary,
        )
    )
    return dataclasses.replace(model, skeleton=recipe.skeleton, digest=recipe.digest)


def _groups(taken: Profile, by: By, architecture: Architecture) -> list[Group]:
    from exporters import node_fragments
    from harness.profiles import group_nodes

    if by is By.fragment:
        return group_nodes(taken, node_fragments([node.name for node in taken.nodes], architecture))
    return group_nodes(taken, [node.op if by is By.op else node.name for node in taken.nodes])


def _print(taken: Profile, by: By, architecture: Architecture, device: str) -> None:
    from harness.commands.tables import print_table
    from harness.devices import short_provider

    ops = {node.name: node.op for node in taken.nodes}
    rows = [
        [
            group.name,
            ops.get(group.name, "") if by is By.node else str(group.nodes or ""),
            f"{group.time_ns / NS_PER_MS:.3f}",
            f"{100 * group.share:.1f}",
        ]
        for group in _groups(taken, by, architecture)
    ]
    count = "" if by is By.node else str(len(taken.nodes))
    rows.append(["whole run", count, f"{taken.wall_median_ns / NS_PER_MS:.3f}", "100.0"])
    where = (
        f"{taken.threads} thread{'s' if taken.threads > 1 else ''} on core {','.join(map(str, taken.cores))}"
    )
    print_table(
        f"{architecture} on {device}: {taken.runtime} {taken.version} {short_provider(taken.provider)}, "
        f"{where}, the quietest {taken.quiet_runs} of {taken.runs} runs",
        [str(by), "op" if by is By.node else "nodes", "ms", "%"],
        rows,
    )
    typer.echo(
        f"{taken.plain_median_ns / NS_PER_MS:.3f} ms without the profiler, which costs {100 * taken.profiler_share:.1f} %",
        err=True,
    )
    outside = taken.outside_ns / taken.wall_median_ns
    if outside > BUSY_SHARE:
        typer.echo(
            f"{100 * outside:.0f} % of the time passed outside nodes: if other processes held the runs up, profile "
            "again when the device is quiet",
            err=True,
        )
    if short_provider(taken.provider) in ("cuda", "tensorrt"):
        typer.echo("a node's time is that of its launch: the GPU computes beside the processor", err=True)

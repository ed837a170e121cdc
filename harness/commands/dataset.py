"""`harness dataset`: measured and predicted latencies in the published format."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    PriorId,
    RuntimeName,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
)
from space.atomic_files import write_file
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.prediction import Measured, SpaceTable
    from harness.commands.rows import SpaceRow

SIDECAR_VERSION = 1


class FileFormat(StrEnum):
    """The formats of the published files."""

    blox = "blox"
    csv = "csv"
    pickle = "pickle"


dataset = typer.Typer(
    name="dataset",
    help="Latencies in the published format of Blox.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataset.callback()
def options() -> None:
    """Latencies in the published format of Blox."""


@dataset.command()
def write(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    prior: PriorId = "",
    name: Annotated[
        str,
        typer.Option(
            "--name",
            help="Name of the device in the files: letters, digits and dashes. [default: the device's own]",
        ),
    ] = "",
    formats: Annotated[
        list[FileFormat] | None,
        typer.Option("--format", help="Only this format; repeatable. [default: blox, csv and pickle]"),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the files. [default: here]")
    ] = Path(),
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Leave out networks that were only predicted.")
    ] = False,
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
) -> None:
    """Write blox-bench-NAME.{blox,csv,pickle}: latency in seconds of every network, and a sidecar that says how it was got.

    The sidecar, blox-bench-NAME.json, holds for each row its interval, grade, and whether it was measured or predicted,
    and the conditions and versions of the measurement.
    """
    from harness.commands.options import open_store
    from harness.commands.prediction import doubt_text, load_measured, predict_space
    from harness.commands.rows import measured_rows, space_rows
    from harness.store.configurations import one_configuration, prior_configuration
    from space.dataset import bench_dataset, write_dataset

    if measured_only and prior:
        raise ConfigError(
            "--prior helps to predict, and --measured-only leaves out what is predicted; name one of them"
        )
    if not folder.is_dir():
        raise ConfigError(f"--output {folder}: no such folder; make it first")
    store = open_store(store_url)
    try:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        name = name or configuration.device
        if not re.fullmatch(r"[a-zA-Z0-9-]+", name):
            raise ConfigError(
                f"device name {name!r} cannot be published: letters, digits and dashes alone; give one with --name"
            )
        if measured_only:
            measured, table = load_measured(store, configuration, doubtful=doubtful), None
            rows = measured_rows(measured)
        else:
            table = predict_space(
                store, configuration, prior_configuration(store, prior, configuration), doubtful=doubtful
            )
            measured, rows = table.measured, space_rows(table)
        apart = measured.doubtful if table is None else table.doubtful
        conditions = store.sessions(configuration, [measured.rows[0].graph_hash])[-1]
    finally:
        store.close()
    if apart:
        typer.echo(f"note: {doubt_text(apart, configuration)}", err=True)
    latencies_s = [row.latency_ms / 1e3 for row in rows]
    data = bench_dataset(name, [row.index for row in rows], latencies_s, measured.config)
    for file_format in formats or list(FileFormat):
        path = folder / f"blox-bench-{name}.{file_format.value}"
        write_dataset(path, data)
        typer.echo(f"{path}: {len(rows)} networks", err=True)
    sidecar = _sidecar(name, measured, table, rows) | {
        "conditions": conditions.conditions_before,
        "agent": conditions.agent_digest,
        "doubtful": apart.to_json(),
    }
    path = folder / f"blox-bench-{name}.json"
    write_file(path, json.dumps(sidecar, separators=(",", ":")).encode())
    typer.echo(f"{path}: intervals, grades, sources, conditions and versions", err=True)


def _sidecar(
    name: str, measured: Measured, table: SpaceTable | None, rows: Sequence[SpaceRow]
) -> dict[str, object]:
    """Return what the published format has no room for; columns are in the order of the files' rows."""
    from dataclasses import asdict

    from harness import __version__
    from harness.commands.predict import summary

    return {
        "version": SIDECAR_VERSION,
        "device": name,
        "harness": __version__,
        "configuration": asdict(measured.configuration) | {"id": measured.configuration.digest},
        "reference_s": measured.reference_ms / 1e3,
        "prediction": None if table is None else summary(table),
        "meaning": {
            "conditions": "before the last session of the fastest measured network",
            "low_s, high_s": "95 % interval of a measured latency; 90 % prediction interval of a predicted one",
            "grade": "A to D of a measured latency, - of a predicted one",
        },
        "columns": {
            "graph_hash": [row.graph_hash for row in rows],
            "latency_s": [row.latency_ms / 1e3 for row in rows],
            "low_s": [None if row.low_ms is None else row.low_ms / 1e3 for row in rows],
            "high_s": [None if row.high_ms is None else row.high_ms / 1e3 for row in rows],
            "source": [row.source for row in rows],
            "grade": [row.grade for row in rows],
            "sessions": [row.sessions for row in rows],
        },
    }

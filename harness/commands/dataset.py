"""`harness dataset`: measured and predicted latencies in the published format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.help_pages import show_help_alone
from harness.commands.options import PriorId, StoreOption, TakeDoubtful, open_store


class FileFormat(StrEnum):
    """The formats of the published files."""

    blox = "blox"
    csv = "csv"
    pickle = "pickle"


dataset = typer.Typer(
    name="dataset",
    help="Latencies in the published format of Blox.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@dataset.callback()
def options(context: typer.Context) -> None:
    """Latencies in the published format of Blox."""
    show_help_alone(context)


@dataset.command()
@takes_choice
def write(
    options: ChoiceOptions,
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
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Leave out networks that were only predicted.")
    ] = False,
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
) -> None:
    """Write blox-bench-NAME.{blox,csv,pickle}: latency in seconds of every network, and a sidecar with its provenance.

    The sidecar, blox-bench-NAME.json, holds for each row its interval, grade, and whether it was measured or predicted,
    and the conditions and versions of the measurement.
    """
    from harness.prediction.request import BenchRequest

    request = BenchRequest(
        folder=folder, prior=prior, name=name, formats=tuple(formats or FileFormat), measured_only=measured_only,
        doubtful=doubtful,
    )  # fmt: skip
    with open_store(store_url) as store:
        options.check(store, prior)
        from harness.output.prediction import print_bench_files
        from harness.prediction.bench_files import write_bench_files

        found = write_bench_files(store, options.choice(), request)
    print_bench_files(found)

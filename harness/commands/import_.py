"""`harness import`: take the results of a packed job into the store that it was packed with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag, StoreOption, SustainedPlot, make_store
from space.user_paths import check_is_there


def import_results(
    results: Annotated[
        Path,
        typer.Argument(
            callback=check_is_there,
            help="What the job wrote: job-results.zip.",
            metavar="RESULTS",
            show_default=False,
        ),
    ],
    plot: SustainedPlot = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Take the results of a packed job into the store, and show its latencies; importing twice is importing once.

    A file that is damaged or altered, or is of a job that this store did not pack, is refused as a whole.
    """
    from harness.output.packed import print_imported
    from harness.output.plots.pictures import check_pictures
    from harness.output.progress import ProgressView
    from harness.prediction.pack import import_requested

    check_pictures(plot)
    with make_store(store_url) as store:
        with ProgressView() as view:
            found = import_requested(results, store, view)
        print_imported(found, json_output=json_output, figure=plot)
    raise typer.Exit(found.exit_status)

"""`harness report`: accuracies, costs and latencies of a whole space as one page to choose a network on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import FigureFile, StoreOption, log, open_store
from harness.commands.query_options import QueryOptions, takes_query
from space.atomic_files import check_output_file


@takes_query
def report(
    options: QueryOptions,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write; one there is replaced.")
    ] = Path("report.html"),
    show: Annotated[
        list[str] | None,
        typer.Option("--show", help="Show this cost, too: onnx-size, tflite-size, a device; repeatable."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = "",
    figure: FigureFile = None,
    store_url: StoreOption = "",
) -> None:
    """Write an interactive page: move limits and see the most accurate network within them.

    It shows the devices that --device or a limit names, else all that --store and --latencies have. Limits, with < or <=, are
    those that the page opens with. The page is one file that loads nothing from any network.

    Of a space too large to list it has the networks that were measured or have an accuracy.
    """
    if options.accuracies:
        options.check_accuracies()
    from harness.output.plots.pictures import check_pictures

    check_output_file(output, ".html", inputs=options.inputs)
    check_pictures(figure)
    with open_store(store_url) as store:
        options.check_stored(store, show or ())
        from harness.output.report.page import write_report

        write_report(
            output, store, options.query(show or ()), title=title, store_url=store_url, figure=figure, log=log
        )

"""`harness report`: accuracies, costs and latencies of a whole space as one page to choose a network on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import StoreOption, open_store
from harness.commands.query_options import QueryOptions, takes_query
from space.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


SHOWN_PROPERTIES = ("params", "macs", "memory")  # by arithmetic; sizes of files take an export


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
    store_url: StoreOption = "",
) -> None:
    """Write an interactive page: move limits and see the most accurate network within them.

    It shows the devices that --device or a limit names, else all that --store and --latencies have. Limits, with < or <=, are
    those that the page opens with. The page is one file that loads nothing from any network.
    """
    from harness.output.report.conditions import command_line
    from harness.output.report.page import build_page, report_of
    from space.atomic_files import write_file

    if not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    query = options.query(show or ())
    with open_store(store_url) as store:
        query = query.with_all_costs(store, SHOWN_PROPERTIES)
        limits = query.upper_limits()
        found = query.build_table(store, _log)
    given: Mapping[str, object] = {
        "--accuracies": options.accuracies,
        "--metric": options.metric,
        "--epoch": "" if options.epoch == "best" else options.epoch,
        "--training-seed": options.training_seed,
        "--accuracy-sd": options.accuracy_sd,
        "--allow-pickle": options.allow_pickle,
        "--latencies": options.latencies,
        "--measured-only": options.measured_only,
        "--doubtful": options.doubtful,
        "--runtime": options.runtime,
        "--threads": options.threads,
        "--store": "" if "://" in store_url else store_url,  # a password may stand in a URL
    }
    page = build_page(
        report_of(
            found,
            limits,
            confident=query.confident,
            title=title,
            command=command_line(["harness", "search"], given),
        )
    ).encode()
    write_file(output, page)
    _log(
        f"{output}: {len(found.table.config):,} networks, {', '.join(found.table.costs)}, {len(page) / 1e6:.1f} MB"
    )


def _log(text: str) -> None:
    typer.echo(text, err=True)

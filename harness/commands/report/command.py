"""`harness report`: accuracies, costs and latencies of a whole space as one page to choose a network on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    StoreOption,
)
from harness.commands.selection import Typed, select, takes_selection
from space.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.commands.joining import Joined
    from harness.commands.report.payload import Report
    from harness.commands.selection import Selection

SHOWN_PROPERTIES = ("params", "macs", "memory")  # by arithmetic; sizes of files take an export


@takes_selection
def report(
    typed: Typed,
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
    """Write a page on which limits are moved and the most accurate network within them is seen at once.

    It shows the devices that --device or a limit names, else all that --store and --latencies have. Limits, with < or <=, are
    those that the page opens with. The page is one file that loads nothing from any network.
    """
    from harness.commands.report.page import build_page
    from space.atomic_files import write_file

    if not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    asked = select(typed, show or ())
    selection = _with_all_costs(asked, store_url)
    limits = _limits(selection)
    joined = selection.join(store_url, _say)
    options: Mapping[str, object] = {
        "--accuracies": typed.accuracies,
        "--metric": typed.metric,
        "--epoch": "" if typed.epoch == "best" else typed.epoch,
        "--training-seed": typed.training_seed,
        "--accuracy-sd": typed.accuracy_sd,
        "--allow-pickle": typed.allow_pickle,
        "--latencies": typed.latencies,
        "--measured-only": typed.measured_only,
        "--doubtful": typed.doubtful,
        "--runtime": typed.runtime,
        "--threads": typed.threads,
        "--store": "" if "://" in store_url else store_url,  # a password may stand in a URL
    }
    page = build_page(_report(selection, joined, limits, options, title, store_url)).encode()
    write_file(output, page)
    _say(
        f"{output}: {len(joined.table.config):,} networks, {', '.join(joined.table.costs)}, {len(page) / 1e6:.1f} MB"
    )


def _with_all_costs(selection: Selection, store_url: str) -> Selection:
    """Return a selection with the properties, and with all devices that there are where none was named."""
    from dataclasses import replace

    from harness.prediction.bench_files import latency_files
    from search.constraints import PROPERTIES

    named = [name for name in selection.costs if name not in PROPERTIES]
    if not named:
        named = list(latency_files(selection.latencies.files))
        named += [name for name in _stored_names(selection, store_url) if name not in named]
    properties = [name for name in selection.costs if name in PROPERTIES]
    return replace(selection, costs=tuple(dict.fromkeys([*named, *properties, *SHOWN_PROPERTIES])))


def _stored_names(selection: Selection, store_url: str) -> list[str]:
    """Return for each stored configuration the shortest name that `harness search` knows it by."""
    from collections import Counter

    from harness.commands.options import open_store
    from harness.store.configurations import configuration_id, select_configurations

    store = open_store(store_url)
    try:
        found = [
            c
            for c in select_configurations(
                store,
                runtimes=[selection.latencies.runtime] if selection.latencies.runtime else [],
                threads=selection.latencies.threads,
            )
            if store.session_counts(c)
        ]
    finally:
        store.close()
    devices = Counter(c.device for c in found)
    runtimes = Counter((c.device, c.runtime) for c in found)
    return [
        c.device
        if devices[c.device] == 1
        else f"{c.device}:{c.runtime}"
        if runtimes[c.device, c.runtime] == 1
        else configuration_id(c)
        for c in found
    ]


def _limits(selection: Selection) -> dict[str, float]:
    """Return the upper limit of each cost, the tightest of several. Raises: ConfigError for a lower one."""
    limits: dict[str, float] = {}
    for limit in selection.constraints:
        if not limit.is_upper:
            raise ConfigError(
                f"--constraint {limit}: the page has upper limits only; leave it out here, or ask 'harness search'"
            )
        limits[limit.subject] = min(limit.limit, limits.get(limit.subject, limit.limit))
    return limits


def _report(
    selection: Selection,
    joined: Joined,
    limits: Mapping[str, float],
    options: Mapping[str, object],
    title: str,
    store_url: str,
) -> Report:
    from datetime import UTC, datetime

    from harness.commands.report.conditions import command_line, condition_lines
    from harness.commands.report.payload import Report
    from harness.version import __version__

    conditions = {name: condition_lines(behind) for name, behind in joined.behind.items()}
    table = joined.table
    place = f" on {', '.join(conditions)}" if conditions else ""
    return Report(
        table=table,
        title=title or f"{table.config.name}: {table.accuracy.label}{place}",
        made_utc=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        conditions=conditions,
        notes=joined.notes,
        versions=[("harness", __version__)],
        limits=limits,
        confident=selection.confident,
        command=command_line(["harness", "search"], options),
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)

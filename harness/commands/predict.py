"""`harness predict`: every network's latency from the measured ones, with honest errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    RuntimeName,
    StoreOption,
    ThreadCount,
)
from harness.devices import LOCAL
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.prediction import SpaceTable
    from search.latency.judging import Errors

SHOWN = 5  # of the fastest and of the slowest networks


def predict(
    device: DeviceName = LOCAL,
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    prior: Annotated[
        str,
        typer.Option(
            "--prior",
            help="Id of another configuration, of any device, whose coefficients serve as prior: 10 networks then do.",
        ),
    ] = "",
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Only these networks; written as for 'harness measure'."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the whole table to this CSV file.")
    ] = None,
    csv_output: Annotated[
        bool, typer.Option("--csv", help="Print the whole table as CSV on standard output.")
    ] = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Predict the latency of every network of the space from those measured on one configuration.

    A ladder of predictors is fitted and judged by cross-validation; the best one makes the table. Measured networks keep
    their measured latency; the others have an interval that a measurement falls into with 90 %.
    """
    from harness.commands.prediction import predict_space, space_rows
    from harness.commands.sources import select_architectures
    from harness.commands.stored import one_configuration, select_configurations
    from harness.commands.tables import print_csv, print_json, write_csv
    from harness.store import Store, default_url

    chosen = [a.index for a in select_architectures(models)] if models else None
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    store = Store(store_url or default_url())
    try:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        priors = select_configurations(store, identifier=prior) if prior else []
        if len(priors) > 1:
            raise ConfigError(
                f"--prior {prior!r}: {len(priors)} configurations begin so; write more of the id"
            )
        table = predict_space(store, configuration, priors[0] if priors else None)
    finally:
        store.close()
    if csv_output:
        print_csv([row.to_json() for row in space_rows(table, chosen)])
    elif json_output:
        rows = [] if chosen is None else space_rows(table, chosen)
        print_json(summary(table) | {"networks": [row.to_json() for row in rows]})
    else:
        print_report(table)
        _print_rows(table, chosen)
    if output is not None:
        rows = space_rows(table, chosen)
        write_csv(output, [row.to_json() for row in rows])
        typer.echo(f"{output}: {len(rows)} networks", err=True)


def summary(table: SpaceTable) -> dict[str, object]:
    """Return what was fitted, on what and how well, as plain values; errors are shares."""
    from dataclasses import asdict

    measured, held_out = table.measured, table.held_out
    return {
        "configuration": asdict(measured.configuration) | {"id": measured.configuration.digest},
        "reference_ms": measured.reference_ms,
        "measured_networks": len(measured.indices),
        "measured_segments": table.segments,
        "prior": None if table.prior is None else table.prior.digest,
        "rungs": [asdict(report) for report in table.ladder.reports],
        "chosen": table.ladder.chosen,
        "held_out": None if held_out is None else asdict(held_out),
        "repeatability": None if table.ceiling is None else asdict(table.ceiling),
    }


def print_report(table: SpaceTable) -> None:
    """Print how well each rung of the ladder does beside the repeatability of the measurements themselves."""
    from harness.commands.tables import describe, print_table
    from search.latency.rungs import RUNGS

    measured, meanings = table.measured, {rung.name: rung.meaning for rung in RUNGS}
    typer.echo(describe(measured.configuration))
    typer.echo(f"fitted on {len(measured.indices)} measured networks of {len(measured.config):,}")
    rows = []
    for report in table.ladder.reports:
        if report.errors is not None:
            mark = "*" if report.name == table.ladder.chosen else " "
            rows.append([f"{mark} {report.name}: {meanings[report.name]}", *_cells(report.errors)])
    if table.held_out is not None:
        label = f"  {table.ladder.chosen}, fitted without {table.held_out.errors.count} held-out networks"
        rows.append([label, *_cells(table.held_out.errors)])
    if table.ceiling is not None:
        label = f"  repeatability: two sessions of {table.ceiling.count} networks"
        rows.append([label, *_cells(table.ceiling)])
    columns = ["predictor, * chosen", "mean", "median", "in 5 %", "in 10 %", "Spearman", "Kendall"]
    print_table("errors against measurements, by cross-validation", columns, rows)
    if table.held_out is not None:
        low, high = table.held_out.mape_interval
        typer.echo(
            f"held out: mean error {table.held_out.errors.mape:.1%}, 95 % interval {low:.1%} to {high:.1%}; "
            f"{table.held_out.coverage:.0%} inside their 90 % intervals"
        )
    if table.ceiling is None:
        typer.echo(
            "repeatability unknown, and with it what error can be reached: measure 10 networks or more twice "
            "(--sessions 2)"
        )
    for report in table.ladder.reports:
        if report.errors is None:
            typer.echo(f"not fitted: {report.name}: {_remedy(report.skipped)}", err=True)
    grades = [row.grade for row in measured.rows]
    typer.echo("grades of the measured networks: " + ", ".join(f"{grades.count(g)} {g}" for g in "ABCD"))


def _remedy(skipped: str) -> str:
    """Return why a rung was skipped, in terms of what a person can type."""
    if "parts_sum" in skipped:
        return "needs the segments: harness measure --models segments --level quick"
    if "prior" in skipped:
        return "needs another configuration: --prior ID"
    return skipped


def _cells(errors: Errors) -> list[str]:
    ranks = ["" if rank is None else f"{rank:.3f}" for rank in (errors.spearman, errors.kendall)]
    return [
        f"{errors.mape:.1%}",
        f"{errors.median_ape:.1%}",
        f"{errors.within_5:.0%}",
        f"{errors.within_10:.0%}",
        *ranks,
    ]


def _print_rows(table: SpaceTable, chosen: Sequence[int] | None) -> None:
    from harness.commands.prediction import space_rows
    from harness.commands.tables import interval_text, print_table

    if chosen is None:
        order = table.prediction.ratios.argsort(kind="stable").tolist()
        groups = [(f"{SHOWN} fastest of all", order[:SHOWN]), (f"{SHOWN} slowest of all", order[-SHOWN:])]
    else:
        groups = [("networks", list(chosen))]
    for title, indices in groups:
        rows = [
            [
                row.architecture,
                f"{row.latency_ms:.3f}",
                interval_text(row.low_ms, row.high_ms),
                f"{row.coverage:.0%}",
                row.source,
                row.grade,
            ]
            for row in space_rows(table, indices)
        ]
        print_table(title, ["network", "latency ms", "interval", "of", "source", "grade"], rows)
    if chosen is None:
        typer.echo("the whole table: --csv, or --output FILE.csv", err=True)

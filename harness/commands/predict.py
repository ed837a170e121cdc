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
    PriorId,
    RuntimeName,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
)
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.prediction.space_prediction import HeldOut, SpaceTable
    from search.latency.judging import Errors

SHOWN = 5  # of the fastest and of the slowest networks
FAR = "predicted, far"  # from all that was measured


def predict(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    prior: PriorId = "",
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Show only these networks; written as for 'harness measure'."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the whole table, or --models, to this CSV file."),
    ] = None,
    csv_output: Annotated[
        bool, typer.Option("--csv", help="Print the whole table, or --models, as CSV on standard output.")
    ] = False,
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Predict the latency of every network of the space from those measured on one configuration.

    A ladder of predictors is fitted and judged by cross-validation; the best one makes the table. Measured networks keep
    their measured latency; the others have an interval meant to hold a measurement in 90 of 100 cases.
    """
    from harness.commands.options import open_store
    from harness.commands.tables import check_one_format, print_csv, print_json, write_csv
    from harness.models.names import select_architectures
    from harness.prediction.rows import COLUMNS
    from harness.prediction.space_prediction import predict_space, space_of, summary
    from harness.store.configurations import one_configuration, prior_configuration

    check_one_format(csv_output, json_output)
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    with open_store(store_url) as store:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        config = space_of(configuration)
        chosen = [a.index for a in select_architectures(models, config)] if models else None
        table = predict_space(
            store, configuration, prior_configuration(store, prior, configuration), doubtful=doubtful
        )
    for note in doubts(table):
        typer.echo(f"note: {note}", err=True)
    rows = table.rows(chosen) if csv_output or output is not None or chosen is not None else []
    documents = [row.to_json() for row in rows]
    if csv_output:
        print_csv(documents, COLUMNS)
    elif json_output:
        print_json(summary(table) | {"networks": documents if chosen is not None else []})
    else:
        print_report(table)
        _print_rows(table, chosen)
    if output is not None:
        write_csv(output, documents, COLUMNS)
        typer.echo(f"{output}: {len(rows)} networks", err=True)
    elif not csv_output and not json_output and chosen is None:
        typer.echo("the whole table: --csv, or --output FILE.csv", err=True)


def doubts(table: SpaceTable) -> list[str]:
    """Return what of grade D was left out or taken in, and what to do about it, in a sentence each."""
    from harness.prediction.space_prediction import doubt_text

    found = [doubt_text(table.doubtful, table.measured.configuration)] if table.doubtful else []
    if table.prior is not None and table.prior_doubtful:
        found.append(f"prior: {doubt_text(table.prior_doubtful, table.prior)}")
    return found


def print_report(table: SpaceTable) -> None:
    """Print how well each rung of the ladder does beside the repeatability of the measurements themselves."""
    import numpy as np

    from harness.commands.tables import print_table
    from harness.store.configurations import describe
    from search.latency.intervals import COVERAGE, guaranteed
    from search.latency.rungs import RUNGS
    from space import Architecture

    measured, meanings = table.measured, {rung.name: rung.meaning for rung in RUNGS}
    typer.echo(describe(measured.configuration))
    typer.echo(f"fitted on {len(measured.indices)} measured networks of {len(measured.config):,}")
    rows = []
    for report in table.ladder.reports:
        if report.errors is not None:
            mark = "*" if report.name == table.ladder.chosen else " "
            rows.append([f"{mark} {report.name}: {meanings[report.name]}", *_cells(report.errors)])
    if table.held_out is not None:
        label = f"  {table.ladder.chosen}, fitted without {_kept_apart(table.held_out)}"
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
            f"{table.held_out.coverage:.0%} of {_kept_apart(table.held_out)} inside their {COVERAGE:.0%} intervals"
        )
    typer.echo(
        f"{COVERAGE:.0%} intervals are made by CV+, which guarantees {guaranteed(COVERAGE):.0%}, of networks drawn like the "
        "measured ones: not of a design, of picks, or of a search's winners"
        + (
            ""
            if table.held_out is not None and table.held_out.random
            else f"; what they hold of random networks: {_judging(table)}"
        )
    )
    if far := np.flatnonzero(~table.prediction.supported).tolist():
        typer.echo(
            f"{len(far):,} networks are unlike any measured one, such as {Architecture.from_index(far[0], measured.config)}: "
            "their intervals are wider, by a guess; measure some of them"
        )
    if table.ceiling is None:
        typer.echo(
            "repeatability unknown, and with it what error can be reached: measure 10 networks or more twice "
            "(--sessions 2)"
        )
    skipped: dict[str, list[str]] = {}
    for report in table.ladder.reports:
        if report.errors is None:
            skipped.setdefault(_remedy(report.skipped, table), []).append(report.name)
    for remedy, names in skipped.items():
        typer.echo(f"not fitted: {', '.join(names)}: {remedy}", err=True)
    grades = [row.grade for row in measured.rows]
    typer.echo("grades of the measured networks: " + ", ".join(f"{grades.count(g)} {g}" for g in "ABCD"))


def _kept_apart(held_out: HeldOut) -> str:
    return f"{held_out.errors.count} {'random' if held_out.random else 'of the measured'} networks kept apart"


def _judging(table: SpaceTable) -> str:
    """Return the line that measures a random sample to judge by."""
    from harness.prediction.space_prediction import JUDGES
    from harness.store.configurations import measure_command

    seed = JUDGES.partition("@")[2]
    return f"{measure_command(table.measured.configuration)} --models sample:24@{seed}"


def _remedy(skipped: str, table: SpaceTable) -> str:
    """Return why a rung was skipped, in terms of what a person can type."""
    from harness.store.configurations import measure_command
    from space.segments import all_segments

    measured = table.measured
    if "parts_sum" in skipped:
        line = f"{measure_command(measured.configuration)} --models segments --level quick"
        return f"needs the segments ({table.segments} of {len(all_segments(measured.config))} are measured): {line}"
    if "prior" in skipped:
        return "needs another configuration's prediction: --prior ID, ids as in 'harness results'"
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
                row.source if row.supported else FAR,
                row.grade,
            ]
            for row in table.rows(indices)
        ]
        print_table(title, ["network", "latency ms", "interval", "holds", "source", "grade"], rows)

"""Predicted latencies of a space as text: errors of each candidate predictor, and rows of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.output.tables import echo, interval_text, print_table
from harness.prediction.space_prediction import JUDGES, doubt_text
from harness.store.configurations import describe, measure_command

if TYPE_CHECKING:
    from harness.prediction.space_prediction import HeldOut, SpaceTable
    from search.latency.evaluation import Errors

SHOWN = 5  # of the fastest and of the slowest networks
FAR = "predicted, far"  # from all that was measured


def doubts(table: SpaceTable) -> list[str]:
    """Return notes on latencies of grade D that were left out or included, each with its remedy."""

    found = [doubt_text(table.doubtful, table.measured.configuration)] if table.doubtful else []
    if table.prior is not None and table.prior_doubtful:
        found.append(f"prior: {doubt_text(table.prior_doubtful, table.prior)}")
    return found


def print_report(table: SpaceTable) -> None:
    """Print cross-validated errors of each candidate predictor, and the repeatability of the measurements."""
    import numpy as np

    from search.latency.candidates import all_candidates
    from search.latency.intervals import COVERAGE, guaranteed
    from space import Architecture

    measured, meanings = table.measured, {candidate.name: candidate.meaning for candidate in all_candidates()}
    echo(describe(measured.configuration))
    echo(f"fitted on {len(measured.indices)} measured networks of {len(measured.config):,}")
    rows = []
    for report in table.predictor.reports:
        if report.errors is not None:
            mark = "*" if report.name == table.predictor.chosen else " "
            rows.append([f"{mark} {report.name}: {meanings[report.name]}", *_cells(report.errors)])
    if table.held_out is not None:
        label = f"  {table.predictor.chosen}, fitted without {_held_out(table.held_out)}"
        rows.append([label, *_cells(table.held_out.errors)])
    if table.ceiling is not None:
        label = f"  repeatability: two sessions of {table.ceiling.count} networks"
        rows.append([label, *_cells(table.ceiling)])
    columns = ["predictor, * chosen", "mean", "median", "in 5 %", "in 10 %", "Spearman", "Kendall"]
    print_table("errors against measurements, by cross-validation", columns, rows)
    if table.held_out is not None:
        low, high = table.held_out.mape_interval
        echo(
            f"held out: mean error {table.held_out.errors.mape:.1%}, 95 % interval {low:.1%} to {high:.1%}; "
            f"{table.held_out.coverage:.0%} of {_held_out(table.held_out)} inside their {COVERAGE:.0%} intervals"
        )
    echo(
        f"{COVERAGE:.0%} intervals are made by CV+, which guarantees {guaranteed(COVERAGE):.0%}, of networks drawn like the "
        "measured ones: not of a design, of picks, or of a search's winners"
        + (
            ""
            if table.held_out is not None and table.held_out.random
            else f"; what they hold of random networks: {_judging(table)}"
        )
    )
    if far := np.flatnonzero(~table.prediction.supported).tolist():
        echo(
            f"{len(far):,} networks are unlike any measured one, such as {Architecture.from_index(far[0], measured.config)}: "
            "their intervals are wider, by a guess; measure some of them"
        )
    if table.ceiling is None:
        echo(
            "repeatability unknown, and with it what error can be reached: measure 10 networks or more twice "
            "(--sessions 2)"
        )
    skipped: dict[str, list[str]] = {}
    for report in table.predictor.reports:
        if report.errors is None:
            skipped.setdefault(_remedy(report.skipped, table), []).append(report.name)
    for remedy, names in skipped.items():
        echo(f"not fitted: {', '.join(names)}: {remedy}", err=True)
    grades = [row.grade for row in measured.rows]
    echo("grades of the measured networks: " + ", ".join(f"{grades.count(g)} {g}" for g in "ABCD"))


def _held_out(held_out: HeldOut) -> str:
    return f"{held_out.errors.count} {'random' if held_out.random else 'of the measured'} held-out networks"


def _judging(table: SpaceTable) -> str:
    """Return the line that measures a random sample to judge by."""
    seed = JUDGES.partition("@")[2]
    return f"{measure_command(table.measured.configuration)} --models sample:24@{seed}"


def _remedy(skipped: str, table: SpaceTable) -> str:
    """Return why a candidate was skipped, with the command that helps."""
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


def print_rows(table: SpaceTable, chosen: Sequence[int] | None) -> None:
    """Print the chosen networks, or where None the fastest and the slowest of the space."""
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

"""Predicted latencies of a space as text: errors of each candidate predictor, and rows of networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import (
    interval_text,
    ms_text,
    print_csv,
    print_json,
    print_table,
    print_tables,
    write_csv,
)
from harness.output.terminal import echo
from harness.prediction.fresh_costs import unpredicted
from harness.prediction.provenance import doubt_text
from harness.prediction.space_latencies import COLUMNS, FAR, SpaceRow
from harness.prediction.space_prediction import JUDGES, summary, unmeasured_text
from harness.store.configurations import describe, measure_command
from search.latency.candidates import all_candidates
from search.latency.model_selection import COVERAGE, guaranteed
from search.table.constraints import FRESH
from space import Architecture
from space.segments import all_segments
from space.text import counted
from space.text_files import suffix_of

if TYPE_CHECKING:
    from harness.prediction.bench_files import BenchFiles
    from harness.prediction.provenance import Provenance
    from harness.prediction.space_prediction import HeldOutErrors, SpaceTable
    from search.latency.evaluation import Errors

SHOWN = 5  # of the fastest and of the slowest networks
HALF_MICROSECOND_MS = 0.0005
ROUNDED_SHARE = 0.005  # of a latency that a file rounds away, from which on that is told


def print_prediction(table: SpaceTable, *, csv_output: bool, json_output: bool, output: Path | None) -> None:
    """Print a space's errors and some rows, or the chosen networks or all as CSV or JSON; write them to a CSV file.

    Raises: ArchitectureError where all are asked for and are too many to list.
    """
    for note in doubts(table):
        echo(f"note: {note}", err=True)
    is_plain = not (csv_output or json_output)
    rows = table.rows(table.chosen) if csv_output or output is not None or table.chosen is not None else []
    documents = [row.to_json() for row in rows]
    if csv_output:
        print_csv(documents, COLUMNS)
    elif json_output:
        print_json(summary(table) | {"networks": documents if table.chosen is not None else []})
    else:
        print_report(table)
        _print_rows(table)
    if output is not None:
        write_csv(output, documents, COLUMNS)
        echo(f"{output}: {counted(len(rows), 'network')}", err=True)
    elif is_plain and table.chosen is None and table.everywhere is not None:
        echo("the whole table: --csv, or --output FILE.csv", err=True)
    elif is_plain and table.chosen is None:
        echo("networks by name, or a selection of them: --models, e.g. sample:20", err=True)


def print_bench_files(found: BenchFiles) -> None:
    """Print on standard error the files written, and what was left out of them or is doubtful."""
    if found.doubtful:
        echo(f"note: {doubt_text(found.doubtful, found.configuration)}", err=True)
    for path in found.paths:
        echo(f"{path}: {counted(len(found.rows), 'network')}", err=True)
    echo(f"{found.sidecar}: intervals, grades, sources, conditions and versions", err=True)
    off = HALF_MICROSECOND_MS / min(row.latency_ms for row in found.rows if row.latency_ms is not None)
    if off > ROUNDED_SHARE and any(suffix_of(path) == ".blox" for path in found.paths):
        echo(
            f"note: .blox holds whole microseconds, here up to {off:.1%} of a latency; the sidecar beside it has all digits",
            err=True,
        )


def doubts(table: SpaceTable) -> list[str]:
    """Return notes on latencies of grade D that were left out or included, each with its remedy."""

    found = [doubt_text(table.doubtful, table.measured.configuration)] if table.doubtful else []
    if table.prior is not None and table.prior_doubtful:
        found.append(f"prior: {doubt_text(table.prior_doubtful, table.prior)}")
    return found


def print_report(table: SpaceTable) -> None:
    """Print cross-validated errors of each candidate predictor, and the repeatability of the measurements."""
    measured = table.measured
    echo(describe(measured.configuration))
    echo(f"fitted on {len(measured.indices)} measured networks of {len(measured.config):,}")
    print_table(_errors_table(table))
    _print_intervals(table)
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
    for fresh, cost in table.costs.items():
        echo(_cost_line(fresh, cost.about, cost.sensor))
    if table.unpredicted:
        costs = ", ".join(FRESH[fresh].title for fresh in table.unpredicted)
        echo(
            f"{costs}: not predicted in a space too large to list; see 'harness results' for what is measured"
        )
    grades = [row.grade for row in measured.rows]
    echo("grades of the measured networks: " + ", ".join(f"{grades.count(g)} {g}" for g in "ABCD"))


def _errors_table(table: SpaceTable) -> PrintedTable:
    """Return the errors of each candidate that was fitted, of the chosen one on held-out networks, and of two sessions."""
    meanings = {candidate.name: candidate.meaning for candidate in all_candidates()}
    chosen = table.predictor.chosen
    rows = [
        [f"{'*' if one.name == chosen else ' '} {one.name}: {meanings[one.name]}", *_cells(one.errors)]
        for one in table.predictor.reports
        if one.errors is not None
    ]
    if table.held_out is not None:
        label = f"  {chosen}, fitted without {_held_out(table.held_out)}"
        rows.append([label, *_cells(table.held_out.errors)])
    if table.ceiling is not None:
        label = f"  repeatability: two sessions of {counted(table.ceiling.count, 'network')}"
        rows.append([label, *_cells(table.ceiling)])
    return PrintedTable(
        title="errors against measurements, by cross-validation",
        columns=["predictor, * chosen", "mean", "median", "in 5 %", "in 10 %", "Spearman", "Kendall"],
        rows=rows,
        folds=(0,),
        spare=("Kendall", "in 10 %", "median", "in 5 %"),
    )


def _print_intervals(table: SpaceTable) -> None:
    """Print how good the predictions and their intervals are: on held-out networks, by their guarantee, and far from all."""
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
            else f"; what they hold of random networks: {measure_command(table.measured.configuration)} --models "
            f"sample:24@{JUDGES.partition('@')[2]}"
        )
    )
    if far := _far(table):
        echo(far)


def _far(table: SpaceTable) -> str:
    """Return which networks are unlike any measured one; of a space too large to list, which blocks no measured one tells of."""
    measured, wider = table.measured, "their intervals are wider, by a guess; measure some of them"
    far = table.far_networks()
    if far is None:
        places = table.unmeasured_places()
        line = f"{measure_command(measured.configuration)} --models design:1"
        return (
            f"{unmeasured_text(places)}: networks with them are far from all measured ones, {wider}: {line} has each once"
            if places
            else ""
        )
    if not far:
        return ""
    unlike = f"{counted(len(far), 'network is', 'networks are')} unlike any measured one"
    return f"{unlike}, such as {Architecture.from_index(far[0], measured.config)}: {wider}"


def _cost_line(fresh: str, about: Provenance, sensor: str) -> str:
    """Return how many networks have a cost besides time, and how the others were predicted."""
    line = f"{FRESH[fresh].title}: {about.measured:,} measured{f' by {sensor}' if sensor else ''}"
    if about.predictor is None:
        return f"{line}, unknown of the others {unpredicted(fresh)}"
    return f"{line}, {about.predicted:,} predicted (~) by {about.predictor}, mean error {about.error:.1%}"


def _held_out(held_out: HeldOutErrors) -> str:
    return f"{held_out.errors.count} {'random' if held_out.random else 'of the measured'} held-out networks"


def _remedy(skipped: str, table: SpaceTable) -> str:
    """Return why a candidate was skipped, with the command that helps."""
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


def _print_rows(table: SpaceTable) -> None:
    """Print the chosen networks, or where none are the fastest and the slowest of the space."""
    if table.chosen is None:
        fastest, slowest = table.ends(SHOWN)
        is_part = table.everywhere is None and table.unmeasured_places()
        of = "of what measured networks tell of" if is_part else "of all"
        groups = [(f"{SHOWN} fastest {of}", fastest), (f"{SHOWN} slowest {of}", slowest)]
    else:
        groups = [("networks asked for", list(table.chosen))]
    print_tables(_rows_table(table, *group) for group in groups)


def _rows_table(table: SpaceTable, title: str, indices: list[int]) -> PrintedTable:
    shown = list(table.costs)
    rows = [
        [
            row.architecture,
            *_latency_cells(row),
            row.grade,
            *(_cost_cell(row, fresh) for fresh in shown),
        ]
        for row in table.rows(indices)
    ]
    columns = ["network", "latency ms", "interval", "holds", "source", "grade"]
    columns += [FRESH[fresh].column for fresh in shown]
    spare = ("first run ms", "load ms", "holds", "interval", "grade", "energy mJ", "memory MB")
    return PrintedTable(title=title, columns=columns, rows=rows, spare=spare)


def _latency_cells(row: SpaceRow) -> list[str]:
    """Return a network's latency, its interval and what that holds, and the source; of a failed one the source alone."""
    if row.latency_ms is None:
        return ["", "", "", row.source]
    source = row.source if row.supported else FAR
    return [ms_text(row.latency_ms), interval_text(row.low_ms, row.high_ms), f"{row.coverage:.0%}", source]


def _cost_cell(row: SpaceRow, fresh: str) -> str:
    """Return a network's cost besides time, with ~ where it is predicted, and a word where far; empty where it is not known."""
    kind = FRESH[fresh]
    value = getattr(row, kind.field)
    source = getattr(row, f"{fresh}_source") if kind.is_predicted else "measured"
    far = " far" * (source == FAR)
    return "" if value is None else f"{'' if source == 'measured' else '~'}{value / kind.scale:.4g}{far}"

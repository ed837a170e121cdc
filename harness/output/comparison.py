"""A comparison of search methods as text and JSON; synthetic values are always marked so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.plots.pictures import write_picture
from harness.output.plots.regret import regret_picture
from harness.output.plots.regret_page import regret_html
from harness.output.search_text import accuracy_document
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo
from harness.prediction.provenance import provenance_document
from harness.query.rows import network_row
from search.methods.regret import steps
from search.statistics import finite
from space import Architecture
from space.atomic_files import write_file

if TYPE_CHECKING:
    from harness.query.run import SearchComparison
    from search.methods.comparison import MethodComparison
    from search.methods.regret import MethodRegret, RegretRun
    from search.statistics import Estimate

TESTED = "95 % between seeds"
SHOWN_THRESHOLD = 0.1  # points of regret that the table counts evaluations to


def print_comparison(
    compared: SearchComparison,
    *,
    json_output: bool,
    output: Path | None,
    figure: Path | None = None,
) -> None:
    """Print a comparison of search methods, and write its figures and its document to a folder, its figure to a file."""
    document = _document(compared)
    if output is not None:
        _write(output, compared.methods, document)
    if figure is not None:
        write_picture(figure, regret_picture(compared.methods))
    if json_output:
        print_json(document)
        return
    _print_methods(compared)
    if output is None and figure is None:
        echo("the curves: --output DIR writes regret.png, regret.html and regret.json there", err=True)


def _write(folder: Path, found: MethodComparison, document: dict[str, object]) -> None:
    """Write the files, each whole; the numbers before the pictures, which rest on other libraries."""
    files: dict[str, Callable[[], bytes]] = {
        "regret.json": lambda: json.dumps(document, indent=1).encode(),
        "regret.html": lambda: regret_html(found).encode(),
    }
    for name, make in files.items():
        data = make()
        write_file(folder / name, data)
        echo(f"{folder / name}: {len(data) / 1e6:.2f} MB", err=True)
    write_picture(folder / "regret.png", regret_picture(found))


def _print_methods(compared: SearchComparison) -> None:
    """Print the table searched, its best network, and a row for each method."""
    table, found, scored = compared.table, compared.methods, compared.scored
    accuracy = table.table.accuracy
    echo(f"accuracy: {accuracy.label}, from {', '.join(accuracy.origin)}")
    for name, provenance in table.provenance.items():
        echo(f"{name}: {provenance}")
    for note in table.notes:
        echo(f"note: {note}")
    within = f"within {' and '.join(found.limits)}" if found.limits else "without limits"
    echo(f"{within}: {found.allowed:,} of {found.networks:,} networks")
    best = Architecture.from_index(found.best, table.table.config)
    echo(f"the most accurate of them: {best}, {found.label} {found.best_accuracy:.2f} %")
    if scored is not None:
        echo(f"proxies: {scored.pool:,} random networks scored on {scored.images} images of {scored.origin}")
    if found.random_evaluations:
        each = ", ".join(f"{method} {count}" for method, count in found.random_evaluations.items())
        echo(f"not comparable with random search until they choose, after as many random networks: {each}")
    word = "synthetic " if accuracy.synthetic else ""
    counts = shown_evaluations(found.budget)
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "1 seed"
    columns = [
        "method",
        *(f"at {count}" for count in counts),
        "95 % interval",
        f"to {SHOWN_THRESHOLD:g} (runs)",
        "best",
        "seconds",
    ]
    title = f"{word}regret in points of {found.label}, mean over {seeds}, by number of evaluations"
    rows = [_cells(one, counts) for one in found.methods]
    spare = ["seconds", *columns[1 : len(counts)], "best"]
    if found.tested_label:
        columns += [found.tested_label, TESTED]
        rows = [[*row, *_tested_cells(one.tested)] for row, one in zip(rows, found.methods, strict=True)]
        spare = [*spare, TESTED]
        title += f"; found by {found.label}, and shown by {found.tested_label}"
    print_table(PrintedTable(title=title, columns=columns, rows=rows, spare=spare))


def _document(compared: SearchComparison) -> dict[str, object]:
    """Return a comparison as plain values; the keys of synthetic values hold the word.

    A `curve` has a row [evaluations, mean, low, high] wherever one changes, `improvements` a row [evaluations, regret].
    """
    query, joined, found, scored = compared.query, compared.table, compared.methods, compared.scored
    table, accuracy = joined.table, joined.table.accuracy
    word = "synthetic_" if accuracy.synthetic else ""
    points = f"{word}regret_points"

    def of_run(run: RegretRun) -> dict[str, object]:
        return {
            "seed": run.trace.seed,
            "look_ups": len(run.trace.indices),
            "seconds": run.trace.seconds,
            "meets_constraints": run.meets,
            "network": network_row(table, run.trace.best),
            points: float(run.regret[-1]),
            "improvements": [[count, *values] for count, values in steps(run.regret)],
        }

    def of_method(one: MethodRegret) -> dict[str, object]:
        curve = [[count, *map(finite, values)] for count, values in steps(one.mean, one.low, one.high)]
        at = [[count, *map(finite, _ends(one, count))] for count in shown_evaluations(found.budget)]
        return {
            "method": one.method,
            "seconds": one.seconds,
            "found_best": one.found,
            **({f"{word}tested_percent": one.tested.to_plain()} if found.tested_label else {}),
            "of": len(one.runs),
            points: {"columns": ["look_ups", "mean", "low", "high"], "at": at, "curve": curve},
            "reached": [
                {points: r.threshold, "median_look_ups": finite(r.median), "runs": r.reached}
                for r in one.reached
            ],
            "runs": [of_run(run) for run in one.runs],
        }

    return {
        "accuracy": accuracy_document(accuracy),
        "constraints": list(found.limits),
        "by": "interval" if query.confident else "estimate",
        "coverage": query.latencies.coverage if query.confident else None,
        **provenance_document(joined.provenance),
        "notes": list(joined.notes),
        "networks": found.networks,
        "networks_within_limits": found.allowed,
        "best": network_row(table, found.best),
        "budget": found.budget,
        "seeds": list(found.seeds),
        "proxies": None if scored is None else asdict(scored),
        "random_look_ups": found.random_evaluations,
        "methods": [of_method(one) for one in found.methods],
    }


def shown_evaluations(budget: int) -> list[int]:
    """Return the numbers of evaluations that regret is shown for: a quarter, half and all of the budget."""
    return sorted({max(1, budget // 4), max(1, budget // 2), budget})


def _cells(one: MethodRegret, counts: Sequence[int]) -> list[str]:
    _, low, high = _ends(one, counts[-1])
    reached = next(r for r in one.reached if r.threshold == SHOWN_THRESHOLD)
    median = f"{reached.median:g}" if reached.median < float("inf") else f"> {counts[-1]}"
    return [
        one.method,
        *(f"{one.mean[count - 1]:.3f}" for count in counts),
        _interval_text(low, high),
        f"{median} ({reached.reached})",
        f"{one.found} of {len(one.runs)}",
        f"{one.seconds:.2g}",
    ]


def _tested_cells(tested: Estimate) -> list[str]:
    """Return the mean test accuracy of the networks found, and its interval between seeds."""
    if tested.value != tested.value:
        return ["unknown", ""]
    ends = "" if tested.low != tested.low else f"{tested.low:.2f} .. {tested.high:.2f}"
    return [f"{tested.value:.2f}", ends or "alike in all"]


def _interval_text(low: float, high: float) -> str:
    if low != low:
        return "none of 1 seed"
    # 0 in all runs is no interval: see `mean_interval`.
    return f"{low:.3f} .. {high:.3f}" if high else "0 in all runs"


def _ends(one: MethodRegret, count: int) -> tuple[float, float, float]:
    return float(one.mean[count - 1]), float(one.low[count - 1]), float(one.high[count - 1])

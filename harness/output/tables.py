"""Lines and tables on standard output: aligned for a terminal, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from harness.estimates.findings import Finding
from harness.estimates.latency import LATENCY_COLUMNS, Latency, LatencyTable, to_json
from harness.records import Failure
from harness.store import Store
from harness.store.configurations import describe
from space.atomic_files import write_file
from space.errors import ConfigError

# What a narrow terminal does without, in this order.
SPARE_COLUMNS = ("p90 ms", "wall ms", "ratio", "sessions", "95 % interval")
PAGE_WIDTH = 200  # of a table that goes to a file or a pipe
LEAST_WIDTH = 10  # to which a column of text is folded, but for its words
LONGEST_WORD = 40  # that is kept whole
FAILURE_COLUMNS = ("device", "runtime", "architecture", "graph_hash", "kind", "message", "time_utc")


def echo(text: str, *, err: bool = False) -> None:
    """Print a line on standard output, or on standard error."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


def print_json(document: object) -> None:
    """Print a JSON document."""
    echo(json.dumps(document, indent=2))


def print_latencies(rows: Sequence[Latency], *, json_output: bool = False, csv_output: bool = False) -> None:
    """Print latencies, one table a configuration, fastest first."""
    if json_output:
        print_json(to_json(rows))
        return
    if csv_output:
        cores = (" ".join(map(str, row.configuration.cores)) for row in rows)
        kinds = (" ".join(finding.kind for finding in row.findings) for row in rows)
        flat = zip(to_json(rows), cores, kinds, strict=True)
        print_csv(
            [document | {"cores": text, "findings": kind} for document, text, kind in flat], LATENCY_COLUMNS
        )
        return
    for configuration, group in groupby(rows, key=lambda row: row.configuration):
        print_table(
            describe(configuration),
            [
                "network",
                "latency ms",
                "95 % interval",
                "+-",
                "grade",
                "ratio",
                "wall ms",
                "p90 ms",
                "sessions",
            ],
            [_cells(row) for row in group],
            spare=SPARE_COLUMNS,
        )
    _print_findings(rows)


def print_results(table: LatencyTable, store: Store, *, json_output: bool, csv_output: bool) -> None:
    """Print stored latencies; where there is none, why, and the command that measures, on standard error."""
    if table or json_output or csv_output:
        print_latencies(table, json_output=json_output, csv_output=csv_output)
        return
    fits = f"nothing is stored that fits ({store.name})"
    why = fits if store.configurations() else "nothing is measured yet"
    echo(f"{why}; measure first: harness measure", err=True)


def first_numbers(rows: Sequence[Latency], height: int) -> Table:
    """Return latencies as a table of at most `height` lines that fits 80 columns: the fastest, each with half-width and grade."""
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True, overflow="ellipsis")
    for title in ("ms", "+-", "grade"):
        table.add_column(title, justify="right", no_wrap=True)
    shown = rows[: max(1, height - 2)]
    for row in shown:
        name, latency_ms, _, half, grade, *_ = _cells(row)
        table.add_row(_plain(name), latency_ms, half, grade)
    if len(shown) < len(rows):
        table.add_row(f"... and {len(rows) - len(shown)} slower ones", "", "", "")
    return table


def _print_findings(rows: Sequence[Latency]) -> None:
    """Print the findings on rows on standard error, each kind once, with an example and the remedy."""
    kinds: dict[str, list[tuple[Latency, Finding]]] = {}
    for row in rows:
        for finding in row.findings:
            kinds.setdefault(finding.kind, []).append((row, finding))
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        row, finding = found[0]
        networks = "network" if len(rows) == 1 else "networks"
        count = len({id(row) for row, _ in found})  # one may be slower here and faster there
        echo(
            f"{kind}: {count} of {len(rows)} {networks}, e.g. {row.architecture}: {finding.message}; "
            f"{finding.remedy}",
            err=True,
        )


def print_failures(
    failures: Sequence[Failure], *, json_output: bool = False, csv_output: bool = False
) -> None:
    """Print failures, oldest first."""
    if not failures and not (json_output or csv_output):
        echo("no failure is stored that fits", err=True)
        return
    documents = [
        {
            "device": failure.configuration.device,
            "runtime": failure.configuration.runtime,
            "architecture": failure.architecture,
            "graph_hash": failure.graph_hash,
            "kind": failure.kind,
            "message": failure.message,
            "time_utc": failure.time_utc,
        }
        for failure in failures
    ]
    if json_output:
        print_json(documents)
        return
    if csv_output:
        print_csv(documents, FAILURE_COLUMNS)
        return
    print_table(
        "failures",
        ["time (UTC)", "device", "runtime", "network", "kind", "message"],
        [
            [
                f.time_utc[:19],
                f.configuration.device,
                f.configuration.runtime,
                f.architecture,
                f.kind,
                f.message,
            ]
            for f in failures
        ],
        right=(),
    )


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] | None = None,
    spare: Sequence[str] = (),
) -> None:
    """Print a table; the columns `right` (default: all but the first) are aligned to the right.

    A terminal too narrow for it gets it without columns of `spare`, as many of the first ones as need be, and a line on
    standard error names them. Where that does not do, the terminal folds the lines; names, numbers and words are never folded.
    """
    aligned = set(range(1, len(columns)) if right is None else right)
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    words = [max(map(_longest_word, cells)) for cells in zip(columns, *rows, strict=True)]
    least = [
        width if number == 0 or number in aligned else min(width, max(words[number], LEAST_WIDTH))
        for number, width in enumerate(widths)
    ]
    console = Console(file=sys.stdout, highlight=False)
    width = console.width if console.is_terminal else PAGE_WIDTH
    left_out = _too_many(columns, least, spare, width) if console.is_terminal else []
    shown = [number for number, column in enumerate(columns) if column not in left_out]
    table = Table(box=None, pad_edge=False)
    for number in shown:
        table.add_column(
            _plain(columns[number]),
            justify="right" if number in aligned else "left",
            overflow="fold",
            no_wrap=number == 0 or number in aligned,
            min_width=least[number],
        )
    for row in rows:
        table.add_row(*(_plain(row[number]) for number in shown))
    width = max(width, _total(least, shown))
    console = Console(file=sys.stdout, highlight=False, width=width, height=console.height)
    console.print(
        title, style="bold", markup=False, soft_wrap=True
    )  # not the table's title: that folds at its width
    console.print(table)
    if left_out:
        echo(f"a wider terminal or --json also shows: {', '.join(left_out)}", err=True)


def _longest_word(text: str) -> int:
    """Return the width of the longest word, but of one too long for any terminal that of half a narrow one."""
    return min(max(map(cell_len, text.split()), default=0), LONGEST_WORD)


def _too_many(columns: Sequence[str], least: Sequence[int], spare: Sequence[str], width: int) -> list[str]:
    """Return the first columns of `spare` without which the others, of widths `least`, fit; all of it where none do."""
    for count in range(len(spare)):
        shown = [number for number, column in enumerate(columns) if column not in spare[:count]]
        if _total(least, shown) <= width:
            return list(spare[:count])
    return list(spare)


def _total(least: Sequence[int], shown: Sequence[int]) -> int:
    """Return the width of a table of the columns `shown`, two spaces between them."""
    return sum(least[number] + 2 for number in shown) - 2


def check_one_format(csv_output: bool, json_output: bool) -> None:
    """Raise ConfigError when both are asked for: standard output holds one of them."""
    if csv_output and json_output:
        raise ConfigError("--csv and --json: standard output takes one of them; leave the other out")


def print_csv(documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print CSV with a title row, which is there when there is no other row, too."""
    _write_csv(sys.stdout, documents, columns)


def write_csv(path: Path, documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write a CSV file with a title row, whole or not at all.

    Raises: ConfigError when the file cannot be written.
    """
    text = io.StringIO(newline="")
    _write_csv(text, documents, columns)
    write_file(path, text.getvalue().encode())


def _write_csv(file: TextIO, documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(file, fieldnames=columns)
    writer.writeheader()
    writer.writerows(documents)


def _cells(row: Latency) -> list[str]:
    low_ms, high_ms = row.interval_ms or (None, None)
    half = "" if low_ms is None or high_ms is None else f"{(high_ms - low_ms) / 2 / row.latency_ms:.1%}"
    p90 = "" if row.wall.p90_ms is None else f"{row.wall.p90_ms:.3f}"
    return [
        row.architecture,
        f"{row.latency_ms:.3f}",
        interval_text(low_ms, high_ms),
        half,
        row.grade,
        f"{row.estimate.ratio:.4f}",
        f"{row.wall.median_ms:.3f}",
        p90,
        str(row.estimate.sessions),
    ]


def interval_text(low_ms: float | None, high_ms: float | None) -> str:
    """Return an interval for people; there is none where too few slices were measured."""
    return "too few slices" if low_ms is None or high_ms is None else f"{low_ms:.3f} .. {high_ms:.3f}"


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)

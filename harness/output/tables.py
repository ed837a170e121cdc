"""Lines and tables on standard output: aligned for a terminal, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import floor, inf, log10
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len

from harness.estimates.energy import Amount
from harness.estimates.estimate import half_width
from harness.estimates.findings import Finding
from harness.estimates.latency import LATENCY_COLUMNS, Latency, LatencyTable, to_json
from harness.output.layout import PrintedTable, lay_out
from harness.output.terminal import bold, console, echo, named, plain, put, width_of, wrap
from harness.records import Failure
from space.atomic_files import write_file
from space.text import counted

if TYPE_CHECKING:
    from harness.store import Store

# Columns of latencies that a narrow terminal does without, in this order.
SPARE_COLUMNS = (
    "above idle mJ",
    "first run ms",
    "load ms",
    "memory MB",
    "p90 ms",
    "device ms",
    "wall ms",
    "ratio +-",
    "ratio",
    "sessions",
    "sensor",
    "95 % interval",
    "+-",
    "images/s",
)
FAILURE_COLUMNS = ("device", "runtime", "architecture", "graph_hash", "kind", "message", "time_utc")


def print_json(document: object) -> None:
    """Print a JSON document."""
    put(json.dumps(document, indent=2), sys.stdout)


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
    from harness.store.configurations import describe  # late: commands without a store load no SQLAlchemy

    groups = groupby(rows, key=lambda row: row.configuration)
    batched = any(row.configuration.batch > 1 for row in rows)
    print_tables((_latency_table(describe(one), list(group), batched) for one, group in groups))
    _print_findings(rows)
    _print_sensors(rows)


def _print_sensors(rows: Sequence[Latency]) -> None:
    """Print on standard error the sensors of energies, and which energies include another program's."""
    energies = [row.energy for row in rows if row.energy is not None]
    sensors = dict.fromkeys((one.sensor, one.scope) for one in energies)
    for sensor, scope in sensors:
        echo(f"energy ({sensor}): of {scope}", err=True)
    if len(sensors) > 1:
        echo("energy: what one sensor tells does not compare with what another does", err=True)
    if doubtful := sum(one.is_doubtful for one in energies):
        echo(
            f"energy: of {doubtful} of {counted(len(energies), 'network')}, other cores were busy as well, or nothing tells "
            "whether they were: theirs is in the numbers; stop what else runs and measure again with --fresh",
            err=True,
        )


def print_results(table: LatencyTable, store: Store, *, json_output: bool, csv_output: bool) -> None:
    """Print stored latencies; where there is none, why, and the command that measures, on standard error."""
    if table or json_output or csv_output:
        print_latencies(table, json_output=json_output, csv_output=csv_output)
        return
    if store.configurations():
        echo(f"nothing is stored that fits ({store.name}); all of it: harness results", err=True)
    else:
        echo("nothing is measured yet; measure first: harness measure", err=True)


def first_numbers(rows: Sequence[Latency], width: int | None, height: int) -> list[str]:
    """Return latencies as a table of at most `height` lines, or one network: the fastest, with half-widths and grades."""
    count = min(len(rows), max(1, height - 2))
    while True:
        cells = {title: _CELLS[title] for title in ("network", "latency ms", "+-", "grade")}
        table = PrintedTable.of("", rows[:count], cells, spare=["+-"])
        found = lay_out(_printable(table), width)
        rest = [f"... and {counted(len(rows) - count, 'slower one')}"] if count < len(rows) else []
        lines = [*found.head, *found.body, *rest]
        folded = sum((cell_len(line) - 1) // width for line in lines if line) if width else 0
        if len(lines) + folded <= height or count <= 1:
            return lines
        count = count * 2 // 3


def _latency_table(title: str, rows: Sequence[Latency], batched: bool) -> PrintedTable:
    """Return the table of a configuration; `batched`: with images a second, as tables of batches are shown."""
    is_shown = {
        "images/s": batched,
        "arithmetic": any(row.arithmetic not in ("unknown", row.configuration.precision) for row in rows),
        "device ms": any(row.device_ms is not None for row in rows),
        **dict.fromkeys(("memory MB", "load ms", "first run ms"), any(row.fresh for row in rows)),
        **dict.fromkeys(("energy mJ", "above idle mJ", "sensor"), any(row.energy for row in rows)),
    }
    cells = {name: cell for name, cell in _CELLS.items() if is_shown.get(name, True)}
    return PrintedTable.of(title, rows, cells, spare=SPARE_COLUMNS)


def with_error(value: float, error: float) -> str:
    """Return a value and its error, both to the error's second digit."""
    places = min(6, max(0, 1 - floor(log10(error)))) if error > 0 else 3
    return f"{value:.{places}f} +- {error:.{places}f}"


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
        {"device": one.configuration.device, "runtime": one.configuration.runtime}
        | {name: getattr(one, name) for name in FAILURE_COLUMNS[2:]}
        for one in failures
    ]
    if json_output:
        print_json(documents)
        return
    if csv_output:
        print_csv(documents, FAILURE_COLUMNS)
        return
    cells: Mapping[str, Callable[[Failure], str]] = {
        "network": lambda one: one.architecture,
        "kind": lambda one: one.kind,
        "device": lambda one: one.configuration.device,
        "runtime": lambda one: one.configuration.runtime,
        "time (UTC)": lambda one: one.time_utc[:19],
        "message": lambda one: one.message,
    }
    spare = ["time (UTC)", "runtime", "device"]
    print_table(PrintedTable.of("failures", failures, cells, right=(), folds=(5,), spare=spare))


def print_table(table: PrintedTable) -> None:
    """Print a table, as `print_tables` does."""
    print_tables([table])


def print_tables(tables: Iterable[PrintedTable]) -> None:
    """Print tables: the columns that fit a terminal, all of them with --wide, or for a file or a pipe.

    A line on standard error names those left out.
    """
    width, left_out = width_of(sys.stdout), dict[str, None]()
    for table in tables:
        found = lay_out(_printable(table), None if console.is_wide else width)
        for line in [table.title] if width is None else wrap(table.title, width):
            put(bold(line, sys.stdout), sys.stdout)
        for line in found.head:
            put(bold(line, sys.stdout), sys.stdout)
        for line in found.body:
            put(line, sys.stdout)
        left_out |= dict.fromkeys(found.left_out)
    if left_out:
        echo(f"left out for lack of room: {', '.join(left_out)} (--wide shows all)", err=True)


def _printable(table: PrintedTable) -> PrintedTable:
    """Return a table whose cells are one line each, without control characters."""
    return replace(
        table,
        title=plain(table.title),
        columns=[plain(title) for title in table.columns],
        rows=[[plain(cell) for cell in row] for row in table.rows],
    )


def print_csv(documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print CSV with a title row, which is there when there is no other row, too."""
    with named(sys.stdout):
        _write_csv(sys.stdout, documents, columns)


def write_csv(path: Path, documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write a CSV file with a title row, whole or not at all.

    Raises: ConfigError when the file cannot be written.
    """
    text = io.StringIO(newline="")
    _write_csv(text, documents, columns)
    write_file(path, text.getvalue().encode())


def _write_csv(file: TextIO, documents: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([document[column] for column in columns] for document in documents)


# Of a latency, by the titles of their columns, in order.
_CELLS: Mapping[str, Callable[[Latency], str]] = {
    "network": lambda row: row.architecture,
    "latency ms": lambda row: ms_text(row.latency_ms),
    "images/s": lambda row: f"{row.images_per_s:.1f}",
    "95 % interval": lambda row: interval_text(*(row.interval_ms or (None, None))),
    "+-": lambda row: _half_text(row.latency_ms, row.interval_ms),
    "grade": lambda row: row.grade,
    "ratio": lambda row: ratio_text(row.estimate.ratio),
    "ratio +-": lambda row: _half_text(row.estimate.ratio, row.estimate.interval),
    "wall ms": lambda row: ms_text(row.wall.median_ms),
    "p90 ms": lambda row: "" if row.wall.p90_ms is None else ms_text(row.wall.p90_ms),
    "sessions": lambda row: str(row.estimate.sessions),
    "arithmetic": lambda row: row.arithmetic,
    "device ms": lambda row: "" if row.device_ms is None else ms_text(row.device_ms),
    "memory MB": lambda row: "" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.2f}",
    "load ms": lambda row: "" if row.load_ms is None else f"{row.load_ms:.2f}",
    "first run ms": lambda row: "" if row.fresh_first_run_ms is None else f"{row.fresh_first_run_ms:.2f}",
    "energy mJ": lambda row: "" if row.energy is None else _energy_text(row.energy.total),
    "above idle mJ": lambda row: "" if row.energy is None else _energy_text(row.energy.above_idle),
    "sensor": lambda row: "" if row.energy is None else row.energy.sensor,
}


def _energy_text(amount: Amount) -> str:
    """Return mJ of an inference with half the width of their interval."""
    return with_error(amount.value, (amount.high - amount.low) / 2)


def _half_text(value: float, ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{half_width(value, ends):.1%}"


def interval_text(low_ms: float | None, high_ms: float | None) -> str:
    """Return an interval for people; there is none where too few slices were measured."""
    return (
        "too few slices" if low_ms is None or high_ms is None else f"{ms_text(low_ms)} .. {ms_text(high_ms)}"
    )


def ms_text(ms: float) -> str:
    """Return a latency, or a ratio, for people: to three places, and of less than 0.1 to three digits."""
    return _to_digits(ms, 3)


def ratio_text(ratio: float) -> str:
    """Return a ratio for people that compare it: to four places, and of less than 0.1 to four digits."""
    return _to_digits(ratio, 4)


def _to_digits(value: float, digits: int) -> str:
    places = digits - 1 - floor(log10(abs(value))) if 0 < abs(value) < inf else digits
    return f"{value:.{min(max(digits, places), 9)}f}"

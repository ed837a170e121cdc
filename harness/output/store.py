"""Stored sessions as text: what a check found, lines about sessions, one session or failure whole; and exported files."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.output.layout import PrintedTable
from harness.output.tables import ms_text, print_csv, print_failures, print_json, print_table, write_csv
from harness.output.terminal import echo, named
from harness.records import Failure
from harness.store.maintenance import (
    BLOCK_COLUMNS,
    EXPORT_COLUMNS,
    CheckReport,
    SessionSummary,
    StoredSession,
    Trouble,
    flat_document,
)
from space.atomic_files import check_output_file, write_file
from space.errors import ConfigError
from space.text import counted

FORMATS = ("jsonl", "csv", "parquet")  # the first where no suffix tells
_ID_SHOWN = 8  # characters of a session's id in tables


def print_check(report: CheckReport, name: str, *, json_output: bool = False) -> None:
    """Print what a check found: a table of what is wrong, and a line on standard error."""
    if json_output:
        print_json(asdict(report))
        return
    if report.troubles:
        cells: Mapping[str, Callable[[Trouble], str]] = {
            "row": _row,
            "device": lambda one: one.device,
            "network": lambda one: one.network,
            "problem": lambda one: one.problem,
        }
        spare = ("device", "network")
        print_table(PrintedTable.of(name, report.troubles, cells, right=(), folds=(3,), spare=spare))
    counts = [f"{counted(report.rows, 'row')} read", f"{len(report.troubles)} wrong"]
    counts += [f"{report.quarantined} quarantined"] if report.quarantined else []
    counts += (
        [f"{counted(report.waiting, 'session waits', 'sessions wait')} for the store"]
        if report.waiting
        else []
    )
    remedy = "; 'harness store quarantine --unreadable' sets sessions apart" if report.troubles else ""
    echo(f"{name}: {', '.join(counts)}{remedy}", err=True)


def print_sessions(rows: Sequence[StoredSession], *, json_output: bool = False) -> None:
    """Print a line about each session, oldest first."""
    if json_output:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        echo("no session is stored that fits", err=True)
        return
    cells: Mapping[str, Callable[[StoredSession], str]] = {
        "session": lambda one: one.id[:_ID_SHOWN],
        "network": lambda one: one.network,
        "purpose": lambda one: f"{one.purpose}{' (quarantined)' if one.quarantined else ''}",
        "device": lambda one: one.device,
        "runtime": lambda one: one.runtime,
        "started (UTC)": lambda one: one.started_utc[:19],
        "s": lambda one: f"{one.elapsed_s:.1f}",
    }
    spare = ("s", "runtime", "device", "started (UTC)", "purpose")
    print_table(PrintedTable.of("sessions", rows, cells, right=(6,), spare=spare))


def print_session(summary: SessionSummary, *, json_output: bool = False) -> None:
    """Print one session: its network and configuration, a summary of its raw times, and its conditions."""
    if json_output:
        print_json(asdict(summary))
        return
    stored = summary.stored
    texts: dict[str, Any] = {
        "session": stored.id,
        "started (UTC)": stored.started_utc,
        "network": stored.network,
        "graph hash": summary.graph_hash,
        "purpose": f"{stored.purpose}{', quarantined' if stored.quarantined else ''}",
        "campaign": summary.campaign_id,
        "configuration": summary.configuration,
        "network's runs": f"{summary.runs} in {summary.slices} slices, ended by {summary.stop}, {stored.elapsed_s:.1f} s",
        "median, fastest ms": f"{ms_text(summary.network_ms)}, {ms_text(summary.fastest_ms)}",
        "reference's median ms": ms_text(summary.reference_ms),
        "load, first run ms": f"{ms_text(summary.load_ms)}, {ms_text(summary.first_run_ms)}",
        "scheduling": summary.scheduling,
        "gate": summary.gate,
        "conditions before": summary.conditions_before,
        "conditions after": summary.conditions_after,
    }
    for name, value in texts.items():
        if isinstance(value, dict):
            echo(f"{name}:")
            for key, one in value.items():
                echo(f"  {key}: {one if isinstance(one, str) else json.dumps(one)}")
        else:
            echo(f"{name}: {value}")


def print_shown(found: Failure | SessionSummary | Sequence[StoredSession], *, json_output: bool) -> None:
    """Print a failure, a session, or a line about each of several."""
    if isinstance(found, Failure):
        print_failures([found], json_output=json_output)
    elif isinstance(found, SessionSummary):
        print_session(found, json_output=json_output)
    else:
        print_sessions(found, json_output=json_output)


def print_changed(ids: Sequence[str], done: str, *, json_output: bool = False) -> None:
    """Print which sessions were changed, and how."""
    if json_output:
        print_json({"sessions": list(ids), "done": done})
        return
    echo(f"sessions {done}: {len(ids)}", err=True)


def export_records(
    documents: Iterable[dict[str, Any]],
    path: Path | None,
    file_format: str | None = None,
    *,
    are_blocks: bool = False,
) -> None:
    """Write sessions, or runs of blocks, one a line or row, to a file, or text to standard output; say how many.

    The format is jsonl, csv or parquet: where none is given that of the file's suffix, else jsonl.

    Raises: ConfigError when the file cannot be written, or Parquet is asked for without its package or a file.
    """
    suffix = path.suffix.lower()[1:] if path is not None else ""
    chosen = file_format or (suffix if suffix in FORMATS else FORMATS[0])
    check_output_file(path, is_text=chosen != "parquet")
    count = _export(documents, path, chosen, BLOCK_COLUMNS if are_blocks else EXPORT_COLUMNS)
    what = counted(count, "run of blocks", "runs of blocks") if are_blocks else counted(count, "session")
    echo(f"{path or 'standard output'}: {what}", err=True)


def _export(
    documents: Iterable[dict[str, Any]], path: Path | None, file_format: str, columns: Sequence[str]
) -> int:
    if file_format == "jsonl":
        lines = [json.dumps(document, separators=(",", ":")) for document in documents]
        if path is None:
            with named(sys.stdout):
                sys.stdout.writelines(f"{line}\n" for line in lines)
        else:
            write_file(path, "".join(f"{line}\n" for line in lines).encode())
        return len(lines)
    rows = [flat_document(document, columns) for document in documents]
    if file_format == "csv":
        if path is None:
            print_csv(rows, columns)
        else:
            write_csv(path, rows, columns)
        return len(rows)
    if path is None:
        raise ConfigError("--format parquet: standard output takes text; name a file with --output")
    write_file(path, _parquet(rows, columns))
    return len(rows)


def _row(trouble: Trouble) -> str:
    """Return which row is meant: a session by the beginning of its id."""
    if trouble.table == "sessions":
        return trouble.id[:_ID_SHOWN]
    return f"{trouble.table} {trouble.id}".strip().replace("_", " ")


def _parquet(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("--format parquet needs a package: pip install 'harness[parquet]'") from error
    columns = {name: [row[name] for row in rows] for name in names}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()

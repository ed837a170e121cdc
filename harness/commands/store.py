"""`harness store`: check, show, set apart, delete and export stored sessions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.help_pages import show_help_alone
from harness.commands.options import (
    ConfigurationId,
    DevicesFile,
    JsonFlag,
    StoredDevices,
    StoreOption,
    WideFlag,
    log,
    open_store,
    open_store_to_change,
)
from space.text import counted

if TYPE_CHECKING:
    from harness.store.selection import Selection


class ExportFormat(StrEnum):
    """The formats of exported sessions."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


Sessions = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION", help="Ids of sessions, or their beginnings.")
]
Runtimes = Annotated[
    list[str] | None, typer.Option("--runtime", "-r", help="Only sessions of this runtime; repeatable.")
]
Precisions = Annotated[
    list[str] | None,
    typer.Option("--precision", help="Only sessions of models in this precision; repeatable."),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=1, help="Only sessions of runs of this many images.")
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        "-m",
        help="Only sessions of this network: as it is stored, or its graph hash; repeatable.",
    ),
]
Since = Annotated[str, typer.Option("--since", help="Only sessions begun at this time (UTC) or later.")]
Before = Annotated[str, typer.Option("--before", help="Only sessions begun before this time (UTC).")]
Unreadable = Annotated[bool, typer.Option("--unreadable", help="Only sessions that cannot be read.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

store = typer.Typer(
    name="store",
    help="Look after stored sessions: check, show, quarantine, delete, export.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@store.callback()
def options(context: typer.Context) -> None:
    """Look after stored sessions: check, show, quarantine, delete, export."""
    show_help_alone(context)


@store.command()
def check(
    sessions: Sessions = None,
    device: StoredDevices = None,
    runtime: Runtimes = None,
    precision: Precisions = None,
    batch: Batch = None,
    models: Networks = None,
    identifier: ConfigurationId = "",
    since: Since = "",
    before: Before = "",
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Read every row and say what is wrong; exit status 1 when something is."""
    from harness.output.store import print_check
    from harness.store.maintenance import check_store

    selection = _selection(
        sessions, device, devices_file, runtime, precision, batch, models, identifier, since, before
    )
    with open_store(store_url) as opened:
        report = check_store(opened, selection)
        print_check(report, opened.name, json_output=json_output, wide=wide)
    if report.troubles:
        raise typer.Exit(1)


@store.command()
def show(
    sessions: Sessions = None,
    failure: Annotated[
        int | None,
        typer.Option("--failure", min=1, help="Show the failure of this number instead: 1 is the oldest."),
    ] = None,
    device: StoredDevices = None,
    runtime: Runtimes = None,
    precision: Precisions = None,
    batch: Batch = None,
    models: Networks = None,
    identifier: ConfigurationId = "",
    since: Since = "",
    before: Before = "",
    unreadable: Unreadable = False,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Show one session or failure with its raw times and conditions; else a line about each session that fits."""
    from harness.output.store import print_failure, print_session, print_sessions
    from harness.store.maintenance import list_sessions, show_failure, show_session

    selection = _selection(
        sessions,
        device,
        devices_file,
        runtime,
        precision,
        batch,
        models,
        identifier,
        since,
        before,
        unreadable,
    )
    with open_store(store_url) as opened:
        if failure is not None:
            print_failure(show_failure(opened, failure), json_output=json_output, wide=wide)
        elif sessions and len(sessions) == 1:
            print_session(show_session(opened, sessions[0]), json_output=json_output)
        else:
            print_sessions(list_sessions(opened, selection), json_output=json_output, wide=wide)


@store.command()
def quarantine(
    sessions: Sessions = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: estimate from them again.")] = False,
    device: StoredDevices = None,
    runtime: Runtimes = None,
    precision: Precisions = None,
    batch: Batch = None,
    models: Networks = None,
    identifier: ConfigurationId = "",
    since: Since = "",
    before: Before = "",
    unreadable: Unreadable = False,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Set sessions apart: nothing is estimated from them, and they are measured again; --undo takes it back."""
    from harness.output.store import print_changed
    from harness.store import maintenance

    selection = _selection(
        sessions,
        device,
        devices_file,
        runtime,
        precision,
        batch,
        models,
        identifier,
        since,
        before,
        unreadable,
    )
    with open_store_to_change(store_url) as opened:
        changed = maintenance.quarantine(opened, selection, undo=undo)
    print_changed(changed, "taken back" if undo else "quarantined", json_output=json_output)


@store.command()
def delete(
    sessions: Sessions = None,
    device: StoredDevices = None,
    runtime: Runtimes = None,
    precision: Precisions = None,
    batch: Batch = None,
    models: Networks = None,
    identifier: ConfigurationId = "",
    since: Since = "",
    before: Before = "",
    unreadable: Unreadable = False,
    yes: Yes = False,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Delete sessions for good; asks before, unless --yes is given."""
    from harness.output.store import print_changed
    from harness.store import maintenance

    selection = _selection(
        sessions,
        device,
        devices_file,
        runtime,
        precision,
        batch,
        models,
        identifier,
        since,
        before,
        unreadable,
    )
    with open_store_to_change(store_url) as opened:
        deleted = maintenance.delete(opened, selection, _need_not_agree if yes else _agree)
    print_changed(deleted, "deleted", json_output=json_output)


@store.command()
def export(
    sessions: Sessions = None,
    file_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="jsonl, csv or parquet. [default: by the file's suffix, else jsonl]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. [default: standard output]")
    ] = None,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Write runs under load and of energy in place of sessions.")
    ] = False,
    device: StoredDevices = None,
    runtime: Runtimes = None,
    precision: Precisions = None,
    batch: Batch = None,
    models: Networks = None,
    identifier: ConfigurationId = "",
    since: Since = "",
    before: Before = "",
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
) -> None:
    """Write sessions with their raw times, one a line or row: JSON lines, CSV or Parquet."""
    from harness.output.store import export_records
    from harness.store.maintenance import export_block_runs, export_documents

    selection = _selection(
        sessions, device, devices_file, runtime, precision, batch, models, identifier, since, before
    )
    suffix = output.suffix.lower()[1:] if output is not None else ""
    chosen = file_format or (ExportFormat(suffix) if suffix in list(ExportFormat) else ExportFormat.jsonl)
    with open_store(store_url) as opened:
        documents = (export_block_runs if blocks else export_documents)(opened, selection)
        export_records(documents, output, chosen.value, are_blocks=blocks)


def _selection(
    sessions: list[str] | None,
    device: list[str] | None,
    devices_file: Path | None,
    runtime: list[str] | None,
    precision: list[str] | None,
    batch: int | None,
    models: list[str] | None,
    identifier: str,
    since: str,
    before: str,
    unreadable: bool = False,
) -> Selection:
    from harness.store.selection import Selection

    return Selection(
        sessions=sessions or (),
        devices=device or (),
        devices_file=devices_file,
        runtimes=runtime or (),
        precisions=precision or (),
        batch=batch,
        networks=models or (),
        configuration=identifier,
        since=since,
        before=before,
        unreadable=unreadable,
    )


def _agree(count: int, name: str) -> None:
    _ask(f"delete {counted(count, 'session')} of {name} for good?")


def _ask(question: str) -> None:
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        log("nothing is deleted; --yes deletes without asking")
        raise typer.Exit(1) from None


def _need_not_agree(count: int, name: str) -> None:
    """Take it for agreed."""

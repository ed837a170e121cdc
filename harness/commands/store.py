"""`harness store`: check, show, set apart, delete and export stored sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.help_pages import show_help_alone
from harness.commands.option_groups import takes
from harness.commands.options import (
    ConfigurationId,
    DevicesFile,
    JsonFlag,
    StoredDevices,
    StoreOption,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionOptions:
    """Options that select stored sessions, as given on the command line."""

    sessions: Annotated[
        list[str] | None, typer.Argument(metavar="SESSION", help="Ids of sessions, or their beginnings.")
    ] = None
    device: StoredDevices = None
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", "-r", help="Only sessions of this runtime, with or without :PROVIDER; repeatable."
        ),
    ] = None
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Only sessions of models in this precision; repeatable."),
    ] = None
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Only sessions of runs of this many images.")
    ] = None
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Only sessions of this network: as it is stored, or its graph hash; repeatable.",
        ),
    ] = None
    identifier: ConfigurationId = ""
    since: Annotated[
        str, typer.Option("--since", help="Only sessions begun at this time (UTC) or later.")
    ] = ""
    before: Annotated[str, typer.Option("--before", help="Only sessions begun before this time (UTC).")] = ""
    devices_file: DevicesFile = None

    def selection(self, *, unreadable: bool = False) -> Selection:
        """Return the selection. Raises: ConfigError for what is no id, or no time."""
        from harness.store.selection import Selection

        return Selection(
            sessions=self.sessions or (),
            devices=self.device or (),
            devices_file=self.devices_file,
            runtimes=self.runtime or (),
            precisions=self.precision or (),
            batch=self.batch,
            networks=self.models or (),
            configuration=self.identifier,
            since=self.since,
            before=self.before,
            unreadable=unreadable,
        )


takes_selection = takes(SelectionOptions, "options")  # gives a command these options
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
@takes_selection
def check(
    *,
    options: SelectionOptions,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Read every row and say what is wrong; exit status 1 when something is."""
    from harness.output.store import print_check
    from harness.store.maintenance import check_store

    selection = options.selection()
    with open_store(store_url) as opened:
        report = check_store(opened, selection)
        print_check(report, opened.name, json_output=json_output)
    if report.troubles:
        raise typer.Exit(1)


@store.command()
@takes_selection
def show(
    *,
    failure: Annotated[
        int | None,
        typer.Option("--failure", min=1, help="Show the failure of this number instead: 1 is the oldest."),
    ] = None,
    options: SelectionOptions,
    unreadable: Unreadable = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Show one session or failure with its raw times and conditions; else a line about each session that fits."""
    from harness.output.store import print_shown
    from harness.store.maintenance import show_stored

    selection = options.selection(unreadable=unreadable)
    with open_store(store_url) as opened:
        print_shown(show_stored(opened, selection, failure), json_output=json_output)


@store.command()
@takes_selection
def quarantine(
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Use the sessions again.")] = False,
    options: SelectionOptions,
    unreadable: Unreadable = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Set sessions apart: nothing is estimated from them, and they are measured again; --undo takes it back."""
    from harness.output.store import print_changed
    from harness.store import maintenance

    selection = options.selection(unreadable=unreadable)
    with open_store_to_change(store_url) as opened:
        changed = maintenance.quarantine(opened, selection, undo=undo)
    print_changed(changed, "taken back" if undo else "quarantined", json_output=json_output)


@store.command()
@takes_selection
def delete(
    *,
    options: SelectionOptions,
    unreadable: Unreadable = False,
    yes: Yes = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Delete sessions for good; asks before, unless --yes is given."""
    from harness.output.store import print_changed
    from harness.store import maintenance

    selection = options.selection(unreadable=unreadable)
    with open_store_to_change(store_url) as opened:
        deleted = maintenance.delete(opened, selection, None if yes else _agree)
    print_changed(deleted, "deleted", json_output=json_output)


@store.command()
@takes_selection
def export(
    *,
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
    options: SelectionOptions,
    store_url: StoreOption = "",
) -> None:
    """Write sessions with their raw times, one a line or row: JSON lines, CSV or Parquet."""
    from harness.output.store import export_records
    from harness.store.maintenance import export_documents

    selection = options.selection()
    with open_store(store_url) as opened:
        documents = export_documents(opened, selection, are_blocks=blocks)
        export_records(documents, output, file_format, are_blocks=blocks)


def _agree(count: int, name: str) -> None:
    _ask(f"delete {counted(count, 'session')} of {name} for good?")


def _ask(question: str) -> None:
    try:
        is_agreed = typer.confirm(question, err=True)
    except typer.Abort:  # no answer: the question's line is still open
        log("")
        is_agreed = False
    if not is_agreed:
        log("nothing is deleted; --yes deletes without asking")
        raise typer.Exit(1)

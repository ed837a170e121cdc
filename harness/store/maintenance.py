"""Looking after a store: check every row, show, set apart, delete and export sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from typing import Any

import sqlalchemy as sa

from device_agents.names import short_provider
from harness.devices.config import parse_precision
from harness.errors import StoreError
from harness.records import BlockRun, Configuration, Failure, SessionRecord
from harness.store import Store
from harness.store.configurations import check_id, runtime_meant, stored_devices
from harness.store.documents import document_of
from harness.store.rows import (
    QUARANTINED,
    is_level,
    read_block_run,
    read_configuration,
    read_failure,
    read_fresh_run,
    read_session,
)
from harness.store.selection import Selection, is_quarantined
from harness.store.tables import BLOCK_RUNS, CONFIGURATIONS, METADATA, SESSIONS
from space.errors import ConfigError

_ROWS_AT_ONCE = 100  # whose raw times are in memory
_NOT_RAW = [column for column in SESSIONS.columns if column.name != "raw"]
_OF_CONFIGURATION = [column for column in CONFIGURATIONS.columns if column.name != "id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One row that is wrong. `table`: where; `id`: its key; `device` and `network` as far as they can be read."""

    table: str
    id: str
    device: str
    network: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Result of a check: rows read, rows set apart, sessions that wait for the store, and what is wrong."""

    rows: int
    quarantined: int
    waiting: int
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """One line about a stored session, without its raw times. `quarantined`: set apart, whatever its purpose was."""

    id: str
    started_utc: str
    device: str
    runtime: str
    network: str
    purpose: str
    quarantined: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """A stored session with a summary of its raw times, in ms, and its conditions."""

    stored: StoredSession
    campaign_id: str
    configuration: dict[str, Any]
    graph_hash: str
    stop: str
    slices: int
    runs: int
    network_ms: float
    fastest_ms: float
    reference_ms: float
    load_ms: float
    first_run_ms: float
    scheduling: dict[str, Any]
    gate: dict[str, Any]
    conditions_before: dict[str, Any]
    conditions_after: dict[str, Any]


def check_store(store: Store, selection: Selection | None = None) -> CheckReport:
    """Read every row, or the sessions of a selection alone, and say what is wrong. What is set apart already is only counted."""
    troubles: list[Trouble] = []
    rows = quarantined = 0
    whole = selection is None or selection.is_everything
    if whole:
        for table, check in _CHECKS.items():
            for row in _others(store, table):
                rows += 1
                troubles += _checked(table, row, check)
        troubles += _check_file(store)
    for row in _session_rows(store, selection or Selection(), raw=True):
        rows += 1
        if is_quarantined(row["purpose"]):
            quarantined += 1
            continue
        troubles += _checked("sessions", row, _check_session)
    return CheckReport(rows=rows, quarantined=quarantined, waiting=store.waiting, troubles=tuple(troubles))


def list_sessions(store: Store, selection: Selection) -> list[StoredSession]:
    """Return a line about each session of a selection, oldest first."""
    wanted = _unreadable_ids(store, selection) if selection.unreadable else None
    return [
        _stored(row)
        for row in _session_rows(store, selection, raw=False)
        if wanted is None or row["id"] in wanted
    ]


def show_session(store: Store, selection: Selection) -> SessionSummary:
    """Return the session of a selection that names one, by its id or the beginning of it.

    Raises: ConfigError when none or several begin so, or it does not fit the rest of the selection; StoreError with the reason
    when it cannot be read.
    """
    (identifier,) = selection.sessions
    rows = list(_session_rows(store, selection, raw=True))
    if len(rows) != 1:
        is_alone = replace(selection, sessions=()).is_everything
        none = "no session has it" if is_alone else "no session that fits the rest has it"
        found = f"{len(rows)} sessions begin so: write more of it" if rows else none
        raise ConfigError(f"session {identifier!r}: {found}; see 'harness store show'")
    (row,) = rows
    try:
        session = read_session(row, read_configuration(row))
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"session {row['id']}: {error}; set it apart with 'harness store quarantine {row['id']}', or delete it"
        ) from error
    return _summary(_stored(row), session)


def show_failure(store: Store, number: int) -> Failure:
    """Return one failure by its number. Raises: ConfigError when there is none; StoreError when it cannot be read."""
    for row in _others(store, "failures", number):
        try:
            return read_failure(row, read_configuration(row))
        except (TypeError, ValueError) as error:
            raise StoreError(f"failure {number}: {error}") from error
    raise ConfigError(f"failure {number}: there is none of this number; see 'harness results --failures'")


def show_stored(
    store: Store, selection: Selection, failure: int | None = None
) -> Failure | SessionSummary | list[StoredSession]:
    """Return one failure by its number; or the one session whose id is given; else a line about each session of a selection.

    Raises: ConfigError, also for a number beside a selection; StoreError for what cannot be read.
    """
    if failure is None:
        is_one = len(selection.sessions) == 1
        return show_session(store, selection) if is_one else list_sessions(store, selection)
    if not selection.is_everything:
        raise ConfigError(
            f"--failure {failure}: shows a failure by its number; leave out what selects sessions"
        )
    return show_failure(store, failure)


def quarantine(store: Store, selection: Selection, *, undo: bool = False) -> list[str]:
    """Set the sessions of a selection apart, so that nothing is estimated from them, or take that back; return their ids."""
    chosen = [one.id for one in _named_sessions(store, selection) if one.quarantined == undo]
    column = SESSIONS.c.purpose
    value = sa.func.substr(column, len(QUARANTINED) + 1) if undo else sa.literal(QUARANTINED) + column
    with store.begin() as connection:
        for identifier in chosen:
            connection.execute(SESSIONS.update().where(SESSIONS.c.id == identifier).values(purpose=value))
    return chosen


def delete(
    store: Store, selection: Selection, agree: Callable[[int, str], object] | None = None
) -> list[str]:
    """Delete the sessions of a selection for good; return their ids.

    `agree`, if given, takes the number and the store's name, and raises to keep them.
    Raises: ConfigError when nothing narrows the selection.
    """
    chosen = [one.id for one in _named_sessions(store, selection)]
    if chosen and agree is not None:
        agree(len(chosen), store.name)
    with store.begin() as connection:
        for identifier in chosen:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.id == identifier))
    return chosen


def export_documents(
    store: Store, selection: Selection, *, are_blocks: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the sessions of a selection as documents (`harness.store.documents`), oldest first; unreadable ones are left out.

    `are_blocks`: runs under load and of energy in their place; ids of a selection are theirs.
    """
    if are_blocks:
        yield from _block_documents(store, selection)
        return
    for row in _session_rows(store, selection, raw=True):
        try:
            session = read_session(row, read_configuration(row))
        except (TypeError, ValueError) as error:
            store.unreadable[f"session {row['id']} of {row['architecture']}"] = str(error)
            continue
        yield document_of(session) | {"quarantined": is_quarantined(row["purpose"])}


def _block_documents(store: Store, selection: Selection) -> Iterator[dict[str, Any]]:
    for key in _keys(store, selection, BLOCK_RUNS):
        (row,) = _others(store, "block_runs", key)
        try:
            run = read_block_run(row, read_configuration(row))
        except (TypeError, ValueError) as error:
            store.unreadable[f"run of blocks {key}"] = str(error)
            continue
        yield document_of(run)


EXPORT_COLUMNS = (*(field.name for field in fields(SessionRecord)), "version", "quarantined")
BLOCK_COLUMNS = (*(field.name for field in fields(BlockRun)), "version")


def flat_document(document: dict[str, Any], columns: Sequence[str] = EXPORT_COLUMNS) -> dict[str, Any]:
    """Return an exported record as one row of a table: text and numbers, all else as JSON text."""
    return {
        name: value if type(value) in (str, int, float) else json.dumps(value, separators=(",", ":"))
        for name, value in ((name, document[name]) for name in columns)
    }


def _named_sessions(store: Store, selection: Selection) -> list[StoredSession]:
    """Return the sessions to change. Raises: ConfigError where nothing narrows the selection, and for an id that none has."""
    if selection.is_everything:
        raise ConfigError(
            "this would take every session; say which, by ids, --device, --models, --since or --unreadable"
        )
    found = list_sessions(store, selection)
    for text in selection.sessions:
        if not any(one.id.startswith(text.lower()) for one in found):
            raise ConfigError(
                f"session {text!r}: none that fits the rest has this id; see 'harness store show'"
            )
    return found


def _configurations(store: Store, selection: Selection) -> list[int] | None:
    """Return the rows of configurations that fit a selection, None where nothing narrows them; damaged ones count.

    Raises: ConfigError for a device or an id of which nothing is stored, and a runtime or precision that is none.
    """
    asked = (selection.devices, selection.runtimes, selection.precisions, selection.configuration)
    if selection.batch is None and not any(asked):
        return None
    with store.begin() as connection:
        rows = connection.execute(sa.select(CONFIGURATIONS)).mappings().all()
    devices, runtimes, precisions, digests = (
        sorted({str(row[name]) for row in rows}) for name in ("device", "runtime", "precision", "digest")
    )
    named = stored_devices(devices, selection.devices, selection.devices_file)
    wanted = {(text, "") if text in runtimes else runtime_meant(text) for text in selection.runtimes}
    for text in selection.precisions:
        if text not in precisions:
            parse_precision(text)
    check_id(selection.configuration, digests)
    return [
        row["id"]
        for row in rows
        if (not named or row["device"] in named)
        and (
            not wanted
            or wanted & {(row["runtime"], ""), (row["runtime"], short_provider(str(row["provider"])))}
        )
        and row["precision"] in (selection.precisions or [row["precision"]])
        and selection.batch in (None, row["batch"] or 1)
        and str(row["digest"]).startswith(selection.configuration.lower())
    ]


def _keys(store: Store, selection: Selection, of: sa.Table) -> list[str]:
    """Return the ids of a selection's rows of a table, oldest first."""
    conditions = selection.conditions(_configurations(store, selection), of)
    query = sa.select(of.c.id).outerjoin(CONFIGURATIONS).where(*conditions)
    with store.begin() as connection:
        return list(connection.execute(query.order_by(of.c.started_utc, of.c.id)).scalars())


def _session_rows(store: Store, selection: Selection, *, raw: bool) -> Iterator[sa.RowMapping]:
    """Yield rows of sessions with their configurations', oldest first, read in batches."""
    columns = [*_NOT_RAW, *([SESSIONS.c.raw] if raw else []), *_OF_CONFIGURATION]
    found = _keys(store, selection, SESSIONS)
    base = sa.select(*columns).select_from(SESSIONS.outerjoin(CONFIGURATIONS))
    for start in range(0, len(found), _ROWS_AT_ONCE):
        batch = found[start : start + _ROWS_AT_ONCE]
        with store.begin() as connection:
            found_rows = connection.execute(base.where(SESSIONS.c.id.in_(batch))).mappings()
            rows = {row["id"]: row for row in found_rows}
        yield from (rows[key] for key in batch if key in rows)


def _others(store: Store, table: str, number: int | str | None = None) -> list[sa.RowMapping]:
    """Return the rows of another table, each with its configuration's columns."""
    of = METADATA.tables[table]
    query = sa.select(of)
    if of is not CONFIGURATIONS:
        query = sa.select(of, *_OF_CONFIGURATION).select_from(of.outerjoin(CONFIGURATIONS))
    if number is not None:
        query = query.where(of.c.id == number)
    with store.begin() as connection:
        return list(connection.execute(query.order_by(of.c.id)).mappings().all())


def _checked(table: str, row: sa.RowMapping, check: Callable[[sa.RowMapping], object]) -> list[Trouble]:
    try:
        check(row)
    except (TypeError, ValueError) as error:
        texts = {"id": row["id"], "device": row["device"] or "", "network": row.get("architecture") or ""}
        plain = {name: str(value) for name, value in texts.items()}
        return [Trouble(table=table, problem=str(error), **plain)]
    return []


def _joined(read: Callable[[sa.RowMapping, Configuration], object]) -> Callable[[sa.RowMapping], object]:
    """Return the check of a row that is read with its configuration."""
    return lambda row: read(row, read_configuration(row))


_CHECKS: Mapping[str, Callable[[sa.RowMapping], object]] = {
    "configurations": read_configuration,
    "failures": _joined(read_failure),
    "fresh_runs": _joined(read_fresh_run),
    "block_runs": _joined(read_block_run),
}


def _check_session(row: sa.RowMapping) -> None:
    from harness.estimates.reference import reference_level_ns  # late: it loads numpy

    session = read_session(row, read_configuration(row))
    level_ns = row["reference_ns"]
    if level_ns is None:
        return
    if not is_level(level_ns, row["others_busy"]):
        raise ValueError(f"reference_ns = {level_ns!r}: the level of its reference is none")
    told_ns = reference_level_ns(session)
    if told_ns is not None and abs(told_ns / level_ns - 1) > 1e-6:
        raise ValueError(f"reference_ns = {level_ns!r}: its raw times say {told_ns!r}")


def _check_file(store: Store) -> list[Trouble]:
    """Return the faults that SQLite itself finds in the file."""
    if store.engine.dialect.name != "sqlite":
        return []
    with store.begin() as connection:
        found = [str(row[0]) for row in connection.execute(sa.text("PRAGMA integrity_check"))]
        stray = connection.execute(sa.text("PRAGMA foreign_key_check")).all()
    found = [text for text in found if text != "ok"]
    found += [f"row {row[1]} of {row[0]} belongs to a row of {row[2]} that is not there" for row in stray]
    return [Trouble(table="file", id="", device="", network="", problem=text) for text in found]


def _unreadable_ids(store: Store, selection: Selection) -> set[str]:
    report = check_store(store, selection)
    return {trouble.id for trouble in report.troubles if trouble.table == "sessions"}


def _stored(row: sa.RowMapping) -> StoredSession:
    purpose = str(row["purpose"])
    return StoredSession(
        id=str(row["id"]),
        started_utc=str(row["started_utc"]),
        device=str(row["device"] or ""),
        runtime=str(row["runtime"] or ""),
        network=str(row["architecture"]),
        purpose=purpose.removeprefix(QUARANTINED),
        quarantined=is_quarantined(purpose),
        elapsed_s=row["elapsed_s"] if is_level(row["elapsed_s"], None) else 0.0,
    )


def _summary(stored: StoredSession, session: SessionRecord) -> SessionSummary:
    network = [time_ns / session.network_loops / 1e6 for one in session.slices for time_ns in one.network_ns]
    reference = [
        time_ns / session.reference_loops / 1e6
        for one in session.slices
        for time_ns in one.reference_before_ns + one.reference_after_ns
    ]
    return SessionSummary(
        stored=stored,
        campaign_id=session.campaign_id,
        configuration=asdict(session.configuration),
        graph_hash=session.graph_hash,
        stop=session.stop,
        slices=len(session.slices),
        runs=len(network),
        network_ms=median(network),
        fastest_ms=min(network),
        reference_ms=median(reference),
        load_ms=session.load_ns / 1e6,
        first_run_ms=session.first_run_ns / 1e6,
        scheduling=session.scheduling,
        gate=session.gate,
        conditions_before=session.conditions_before,
        conditions_after=session.conditions_after,
    )

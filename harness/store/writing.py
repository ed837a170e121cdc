"""Writing to the store: one function a kind of record, which can skip a record that is stored already."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import sqlalchemy as sa

from harness.estimates.outputs import is_reference_wrong
from harness.records import BlockRun, Configuration, Failure, FreshRun, SessionRecord
from harness.store.documents import (
    BLOCKS_FIELDS,
    block_run_of,
    configuration_of,
    pack_raw,
    record_of,
    session_of,
)
from harness.store.rows import QUARANTINED
from harness.store.tables import (
    BLOCK_RUNS,
    CAMPAIGNS,
    CONFIGURATIONS,
    FAILURES,
    FRESH_RUNS,
    MACHINE,
    RECALIBRATIONS,
    SESSIONS,
)


def check_session(session: SessionRecord) -> None:
    """Raise ValueError when a session could not be read back as it is."""
    for name in ("elapsed_s", "loop_s"):
        if not math.isfinite(getattr(session, name)):
            raise ValueError(f"{name} = {getattr(session, name)}: not a finite number of seconds")
    for text in (*_shallow(session).values(), *asdict(session.configuration).values()):
        if isinstance(text, str) and text != _storable(text):
            raise ValueError(f"{text!r}: holds characters that no database keeps")
    pack_raw(session)


def configuration_id(connection: sa.Connection, configuration: Configuration) -> int:
    """Return the id of a configuration's row, which is made if it is not there."""
    query = sa.select(CONFIGURATIONS.c.id).where(CONFIGURATIONS.c.digest == configuration.digest)
    found = connection.execute(query).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = asdict(configuration) | {
        "digest": configuration.digest,
        "cores": ",".join(map(str, configuration.cores)),
    }
    try:
        with connection.begin_nested():
            connection.execute(CONFIGURATIONS.insert(), values)
    except sa.exc.IntegrityError:  # another thread or host was first: its row is the same
        pass
    return int(connection.execute(query).scalar_one())


def _write_finished(connection: sa.Connection, values: dict[str, Any], again: bool) -> None:
    connection.execute(
        CAMPAIGNS.update()
        .where(CAMPAIGNS.c.id == values["id"])
        .values(finished_utc=values["finished_utc"], outcome=values["outcome"])
    )


def _write_machine(connection: sa.Connection, values: dict[str, Any], again: bool) -> None:
    is_it = CAMPAIGNS.c.id == values["id"]
    request = json.loads(connection.execute(sa.select(CAMPAIGNS.c.request).where(is_it)).scalar_one())
    noted = json.dumps({MACHINE: values[MACHINE]} | request)  # first: it is read without the networks
    connection.execute(CAMPAIGNS.update().where(is_it).values(request=noted))


def _write_apart(connection: sa.Connection, values: dict[str, Any], again: bool) -> None:
    is_it = (SESSIONS.c.id == values["id"], ~SESSIONS.c.purpose.startswith(QUARANTINED, autoescape=True))
    connection.execute(
        SESSIONS.update().where(*is_it).values(purpose=sa.literal(QUARANTINED) + SESSIONS.c.purpose)
    )


def _write_session(connection: sa.Connection, session: SessionRecord, again: bool) -> None:
    if again and _is_there(connection, SESSIONS, {"id": session.session_id}):
        return
    # Late: these load numpy.
    from harness.estimates.moved import core_to_core_ns, gpu_mhz
    from harness.estimates.reference import others_busy, reference_level_ns, session_pace_ns

    columns = {column.name for column in SESSIONS.columns}
    values = {key: value for key, value in _shallow(session).items() if key in columns}
    values |= {
        "id": session.session_id,
        "configuration_id": configuration_id(connection, session.configuration),
        "raw": pack_raw(session),
        "reference_ns": None if is_reference_wrong(session) else reference_level_ns(session),
        "others_busy": others_busy(session),
        "pace_ns": session_pace_ns(session),
        "paced_by": str(session.scheduling.get("paced_by") or "") or None,
        "core_to_core_ns": core_to_core_ns(session),
        "gpu_mhz": gpu_mhz(session),
    }
    values["recalibration_id"] = _last_recalibration(connection, values["configuration_id"], session, again)
    # With the values within it, the statement would be made anew each time.
    connection.execute(SESSIONS.insert(), values)


def _last_recalibration(
    connection: sa.Connection, configuration: int, session: SessionRecord, again: bool
) -> int | None:
    """Return the last recalibration before a session: the last one stored, since clocks may be set back.

    again: it may have been measured long ago, elsewhere: then its date tells.
    """
    query = sa.select(sa.func.max(RECALIBRATIONS.c.id)).where(
        RECALIBRATIONS.c.configuration_id == configuration
    )
    if again:
        query = query.where(RECALIBRATIONS.c.started_utc <= session.started_utc)
    found: int | None = connection.execute(query).scalar_one()
    return found


def _write_block_run(connection: sa.Connection, run: BlockRun, again: bool) -> None:
    values = {key: value for key, value in _row(connection, run).items() if key not in BLOCKS_FIELDS}
    values |= {"ended": _storable(run.ended), "raw": pack_raw(run)}
    _insert(connection, values, again, BLOCK_RUNS)


def _write_recalibration(connection: sa.Connection, values: dict[str, Any], again: bool) -> None:
    configuration = configuration_id(connection, configuration_of(values["configuration"]))
    row = {"configuration_id": configuration, "started_utc": values["started_utc"]}
    _insert(connection, row, again, RECALIBRATIONS, key=list(row))


def _write_failure(connection: sa.Connection, failure: Failure, again: bool) -> None:
    row = _row(connection, failure)
    row |= {key: _storable(value) for key, value in row.items() if isinstance(value, str)}
    _insert(connection, row, again, FAILURES, key=list(row))


def _insert(
    connection: sa.Connection, row: dict[str, Any], again: bool, table: sa.Table, key: Sequence[str] = ("id",)
) -> None:
    """Insert a row; `again`: unless one of the same key is there."""
    if not again or not _is_there(connection, table, {name: row[name] for name in key}):
        connection.execute(table.insert(), row)


# By kind of record; the last argument: whether it may be there already.
WRITERS: Mapping[str, Callable[[sa.Connection, Any, bool], None]] = {
    "campaign": partial(_insert, table=CAMPAIGNS),
    "finished": _write_finished,
    "machine": _write_machine,
    "session": _write_session,
    "apart": _write_apart,
    "fresh-run": lambda connection, run, again: _insert(connection, _row(connection, run), again, FRESH_RUNS),
    "block-run": _write_block_run,
    "recalibration": _write_recalibration,
    "failure": _write_failure,
}
# The record of a document; other kinds are plain values.
READERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "session": session_of,
    "fresh-run": partial(record_of, FreshRun),
    "block-run": block_run_of,
    "failure": partial(record_of, Failure),
}


def _is_there(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    query = sa.select(sa.func.count()).select_from(table)
    for name, value in values.items():
        query = query.where(table.c[name] == value)
    return bool(connection.execute(query).scalar_one())


def _row(connection: sa.Connection, record: FreshRun | BlockRun | Failure) -> dict[str, Any]:
    """Return the fields of a record as those of a row, of which some may have no column."""
    row = _shallow(record)
    row["configuration_id"] = configuration_id(connection, row.pop("configuration"))
    return row if isinstance(record, Failure) else {"id": row.pop("run_id")} | row


def _shallow(record: Any) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _storable(text: str) -> str:
    """Return a text without what databases refuse: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")

"""Writing to the store: one function a kind of record, which can skip a record that is stored already."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from harness.estimates.outputs import is_reference_wrong
from harness.records import BlockRun, Configuration, Failure, FreshRun, SessionRecord
from harness.store.raw import pack_raw
from harness.store.raw_blocks import RAW_FIELDS, pack_blocks
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
    texts = [value for value in (*_shallow(session).values(), *asdict(session.configuration).values())]
    for text in texts:
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


def _write_campaign(connection: sa.Connection, values: dict[str, Any], again: bool) -> None:
    if not again or not _is_there(connection, CAMPAIGNS, {"id": values["id"]}):
        connection.execute(CAMPAIGNS.insert(), values)


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


def _write_session(connection: sa.Connection, session: SessionRecord, again: bool) -> None:
    if again and _is_there(connection, SESSIONS, {"id": session.session_id}):
        return
    from harness.estimates.moved import core_to_core_ns, gpu_mhz
    from harness.estimates.reference import (  # late: it loads numpy
        others_busy,
        reference_level_ns,
        session_pace_ns,
    )

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


def _write_fresh_run(connection: sa.Connection, run: FreshRun, again: bool) -> None:
    if again and _is_there(connection, FRESH_RUNS, {"id": run.run_id}):
        return
    values = {key: value for key, value in _shallow(run).items() if key not in ("run_id", "configuration")}
    configuration = configuration_id(connection, run.configuration)
    connection.execute(FRESH_RUNS.insert(), {"id": run.run_id, "configuration_id": configuration} | values)


def _write_block_run(connection: sa.Connection, run: BlockRun, again: bool) -> None:
    if again and _is_there(connection, BLOCK_RUNS, {"id": run.run_id}):
        return
    values = {key: value for key, value in _shallow(run).items() if key not in RAW_FIELDS}
    run_id, configuration = values.pop("run_id"), configuration_id(connection, values.pop("configuration"))
    values |= {"configuration_id": configuration, "ended": _storable(run.ended), "raw": pack_blocks(run)}
    connection.execute(BLOCK_RUNS.insert(), {"id": run_id} | values)


def _write_recalibration(connection: sa.Connection, record: tuple[Configuration, str], again: bool) -> None:
    values = {"configuration_id": configuration_id(connection, record[0]), "started_utc": record[1]}
    if not again or not _is_there(connection, RECALIBRATIONS, values):
        connection.execute(RECALIBRATIONS.insert(), values)


def _write_failure(connection: sa.Connection, failure: Failure, again: bool) -> None:
    values = {key: value for key, value in _shallow(failure).items() if key != "configuration"}
    values = {key: _storable(value) for key, value in values.items()}
    values["configuration_id"] = configuration_id(connection, failure.configuration)
    if not again or not _is_there(connection, FAILURES, values):
        connection.execute(FAILURES.insert(), values)


# By kind of record; the last argument: whether it may be there already.
WRITERS: dict[str, Callable[[sa.Connection, Any, bool], None]] = {
    "campaign": _write_campaign,
    "finished": _write_finished,
    "machine": _write_machine,
    "session": _write_session,
    "fresh-run": _write_fresh_run,
    "block-run": _write_block_run,
    "recalibration": _write_recalibration,
    "failure": _write_failure,
}


def _is_there(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    query = sa.select(sa.func.count()).select_from(table)
    for name, value in values.items():
        query = query.where(table.c[name] == value)
    return bool(connection.execute(query).scalar_one())


def _shallow(record: Any) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _storable(text: str) -> str:
    """Return a text without what databases refuse: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")

"""Records from rows of the store, and the digest of rows; a row that is no record is refused with the reason."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence, Set
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from harness.records import BlockRun, Configuration, Failure, FreshRun, SessionRecord
from harness.store.documents import BLOCKS_FIELDS, RAW_FIELDS, unpack_blocks, unpack_raw
from harness.store.tables import CONFIGURATIONS, SESSIONS

# Prefix of the purpose of a session that is set apart: no query for a purpose finds it.
QUARANTINED = "quarantined:"
_ROWS_AT_ONCE = 200  # whose raw samples are in memory
_OWN = ("configuration_id", "raw")  # the first differs between databases, the second is hashed apart
_LATER = ("batch", "provider_options", "environment")  # of a configuration: NULL in rows of before


def read_configuration(row: sa.RowMapping) -> Configuration:
    """Return the configuration of a row. Raises: ValueError with the reason when it is none."""
    try:
        values = {name: row[name] for name in Configuration.__slots__}
        values["cores"] = tuple(int(core) for core in row["cores"].split(",") if core)
        values = {key: value for key, value in values.items() if value is not None or key not in _LATER}
        configuration = Configuration(**values)
        if configuration.digest != row["digest"]:
            raise ValueError("its digest is not that of its fields")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"configuration {str(row['digest'])[:8]} cannot be read: {error}") from error
    return configuration


def read_session(row: sa.RowMapping, configuration: Configuration) -> SessionRecord:
    """Return the session of a row, of a quarantined one with the purpose it had. Raises: ValueError when it is none."""
    values = _values(SessionRecord, row, RAW_FIELDS | {"session_id", "arithmetic"})
    values["purpose"] = values["purpose"].removeprefix(QUARANTINED)
    if row["arithmetic"] is not None:
        values["arithmetic"] = _text(row, "arithmetic")
    raw = unpack_raw(_blob(row))
    return SessionRecord(session_id=_text(row, "id"), configuration=configuration, **values, **raw)


def read_fresh_run(row: sa.RowMapping, configuration: Configuration) -> FreshRun:
    """Return the fresh run of a row. Raises: ValueError when it is none."""
    values = _values(FreshRun, row, {"run_id", "is_reset"})
    run_id, is_reset = _text(row, "id"), bool(row["is_reset"])
    return FreshRun(run_id=run_id, configuration=configuration, is_reset=is_reset, **values)


def read_block_run(row: sa.RowMapping, configuration: Configuration) -> BlockRun:
    """Return the run of blocks of a row. Raises: ValueError when it is none."""
    values = _values(BlockRun, row, BLOCKS_FIELDS | {"run_id"})
    raw = unpack_blocks(_blob(row))
    return BlockRun(run_id=_text(row, "id"), configuration=configuration, **values, **raw)


def read_failure(row: sa.RowMapping, configuration: Configuration) -> Failure:
    """Return the failure of a row. Raises: ValueError when it is none."""
    return Failure(configuration=configuration, **_values(Failure, row))


def is_level(latency_ns: Any, others_busy: Any) -> bool:
    """Return whether columns of a session tell the level of the reference in it."""
    return _is_number(latency_ns) and latency_ns > 0 and (others_busy is None or _is_number(others_busy))


def _values(kind: type[Any], row: sa.RowMapping, without: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the fields of a record that columns of a row hold, but for the configuration and those named. Raises: ValueError."""
    readers = {"str": _text, "float": _seconds}
    names = {one.name: str(one.type) for one in fields(kind) if one.name not in {"configuration", *without}}
    return {name: readers[of](row, name) if of in readers else row[name] for name, of in names.items()}


def _blob(row: sa.RowMapping) -> bytes:
    if not isinstance(row["raw"], bytes):
        raise ValueError("it has no raw times")
    return bytes(row["raw"])


def _text(row: sa.RowMapping, name: str) -> str:
    if not isinstance(row[name], str):
        raise ValueError(f"{name} = {row[name]!r}: not a text")
    return str(row[name])


def _seconds(row: sa.RowMapping, name: str) -> float:
    if not _is_number(row[name]):
        raise ValueError(f"{name} = {row[name]!r}: not a number of seconds")
    return float(row[name])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def sessions_digest(connection: sa.Connection, configuration_digest: str, purposes: Sequence[str]) -> str:
    """Return the SHA-256 of all columns of a configuration's sessions of some purposes, 64 hexadecimal characters.

    Raw samples are hashed as they are stored, without being unpacked: that is many times as fast as reading sessions.
    """
    columns = [column for column in SESSIONS.columns if column.name not in _OWN]
    query = (
        sa.select(SESSIONS.c.raw, *columns)
        .join(CONFIGURATIONS)
        .where(CONFIGURATIONS.c.digest == configuration_digest)
        .where(SESSIONS.c.purpose.in_(purposes))
        .order_by(SESSIONS.c.id)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    hasher = hashlib.sha256()
    for raw, *plain in connection.execute(query):
        hasher.update(hashlib.sha256(raw).digest())
        # Texts, numbers and None: repr is exact.
        hasher.update(f"{plain!r}\n".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()

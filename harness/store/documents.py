"""Records as JSON documents: a session whole, with its configuration, as `harness store export` and the waiting file have it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, TypeVar

from harness.records import BlockRun, Configuration, Failure, FreshRun, SessionRecord
from harness.store.raw import RAW_FIELDS, raw_document, raw_fields
from harness.store.raw_blocks import RAW_FIELDS as BLOCKS_FIELDS
from harness.store.raw_blocks import blocks_document, blocks_fields

_OWN = ("configuration", "slices")

Record = TypeVar("Record", FreshRun, Failure)


def session_document(session: SessionRecord) -> dict[str, Any]:
    """Return a session as plain values: its fields by name, the configuration as an object, slices as in the store."""
    values = {field.name: getattr(session, field.name) for field in fields(session)}
    plain = {name: value for name, value in values.items() if name not in _OWN}
    return plain | {"configuration": asdict(session.configuration)} | raw_document(session)


def session_of(document: dict[str, Any]) -> SessionRecord:
    """Return the session of a document. Raises: ValueError when it is none."""
    try:
        values = dict(document)
        configuration = configuration_of(values.pop("configuration"))
        names = {field.name for field in fields(SessionRecord)}
        raw = raw_fields(
            {name: value for name, value in values.items() if name == "version" or name in RAW_FIELDS}
        )
        plain = {name: value for name, value in values.items() if name in names and name not in raw}
        return SessionRecord(configuration=configuration, **plain, **raw)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no session: {error}") from error


def configuration_of(document: dict[str, Any]) -> Configuration:
    """Return the configuration of a document. Raises: TypeError or ValueError when it is none."""
    return Configuration(**document | {"cores": tuple(document["cores"])})


def record_of(kind: type[Record], document: dict[str, Any]) -> Record:
    """Return the fresh run, or the failure, of a document. Raises: ValueError when it is none."""
    try:
        return kind(**document | {"configuration": configuration_of(document["configuration"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"no {kind.__name__}: {error}") from error


def block_run_document(run: BlockRun) -> dict[str, Any]:
    """Return a run of blocks as plain values: its fields by name, the configuration as an object, blocks as in the store."""
    plain = {field.name: getattr(run, field.name) for field in fields(run) if field.name != "configuration"}
    return plain | {"configuration": asdict(run.configuration)} | blocks_document(run)


def block_run_of(document: dict[str, Any]) -> BlockRun:
    """Return the run of blocks of a document. Raises: ValueError when it is none."""
    try:
        values = dict(document)
        configuration = configuration_of(values.pop("configuration"))
        raw = {name: values.pop(name) for name in ("version", *BLOCKS_FIELDS)}
        return BlockRun(configuration=configuration, **values, **blocks_fields(raw))
    except (TypeError, KeyError) as error:
        raise ValueError(f"no run of blocks: {error}") from error

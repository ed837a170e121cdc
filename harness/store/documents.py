"""Records as plain documents, each with its configuration, and the raw times in one of them as a blob: zlib of JSON.

`harness store export` and the waiting file have documents; a row of the store has the blob beside its columns. JSON rather than a
pickle: reading a store never runs code, and any tool can read it (`zlib-flate`, `jq`).
Of sessions version 1 knew no times of slices, no samples and no gate; version 2 no waits of runs and nothing of the measured
cores; version 3 no expected outputs and no settled runs. Of runs of blocks there is one version.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any, TypeVar

from harness.records import (
    BlockRun,
    Configuration,
    Failure,
    FreshRun,
    SessionRecord,
    SettledRuns,
    Slice,
    TimedBlock,
)

VERSION = 4
BLOCKS_VERSION = 1
MAX_BYTES = 1 << 26  # of one session, uncompressed

_PLAIN = (
    "load_ns",
    "first_run_ns",
    "reference_load_ns",
    "reference_first_run_ns",
    "network_loops",
    "reference_loops",
    "warmup_network_ns",
    "warmup_reference_ns",
    "conditions_before",
    "conditions_after",
    "output",
    "plan",
    "samples",
    "gate",
    "process",
    "scheduling",
    "expected",
)
_TUPLES = ("warmup_network_ns", "warmup_reference_ns", "output", "samples", "expected")
RAW_FIELDS = frozenset((*_PLAIN, "slices", "settled"))
BLOCKS_FIELDS = frozenset(
    (
        *("load_ns", "first_run_ns", "blocks", "conditions_before", "conditions_after", "plan", "scheduling"),
        *("gate", "samples", "sensor", "readings"),
    )
)
_BLOCKS_PLAIN = sorted(BLOCKS_FIELDS - {"blocks"})
# A part of a record is kept as the values of its fields, in order.
_NAMES = {kind: [field.name for field in fields(kind)] for kind in (Slice, SettledRuns, TimedBlock)}

Part = TypeVar("Part", Slice, SettledRuns, TimedBlock)
Record = TypeVar("Record", FreshRun, Failure)


def document_of(record: SessionRecord | BlockRun | FreshRun | Failure) -> dict[str, Any]:
    """Return a record as plain values: its fields by name, the configuration as an object, slices or blocks as in the store."""
    plain = {
        one.name: getattr(record, one.name)
        for one in fields(record)
        if one.name not in ("configuration", "slices")
    }
    raw = raw_document(record) if isinstance(record, SessionRecord | BlockRun) else {}
    return plain | {"configuration": asdict(record.configuration)} | raw


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


def block_run_of(document: dict[str, Any]) -> BlockRun:
    """Return the run of blocks of a document. Raises: ValueError when it is none."""
    try:
        values = dict(document)
        configuration = configuration_of(values.pop("configuration"))
        raw = {name: values.pop(name) for name in ("version", *BLOCKS_FIELDS)}
        return BlockRun(configuration=configuration, **values, **blocks_fields(raw))
    except (TypeError, KeyError) as error:
        raise ValueError(f"no run of blocks: {error}") from error


def pack_raw(record: SessionRecord | BlockRun) -> bytes:
    """Return a record's raw times and conditions as a blob. Raises: ValueError for what could not be read back from it."""
    try:
        text = json.dumps(raw_document(record), separators=(",", ":")).encode()
        if len(text) > MAX_BYTES:
            raise ValueError(f"its raw times take {len(text):,} bytes, of {MAX_BYTES:,} that a store keeps")
        read = blocks_fields if isinstance(record, BlockRun) else raw_fields
        read(json.loads(text))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its raw times cannot be written: {error}") from error
    return zlib.compress(text, 6)


def raw_document(record: SessionRecord | BlockRun) -> dict[str, Any]:
    """Return the content of a record's blob, as plain values."""
    if isinstance(record, BlockRun):
        plain = {name: getattr(record, name) for name in _BLOCKS_PLAIN}
        return {"version": BLOCKS_VERSION} | plain | {"blocks": _listed(record.blocks)}
    plain = {name: getattr(record, name) for name in _PLAIN}
    settled = None if record.settled is None else _listed([record.settled])[0]
    return {"version": VERSION} | plain | {"slices": _listed(record.slices), "settled": settled}


def unpack_raw(blob: bytes) -> dict[str, Any]:
    """Return the fields of SessionRecord that a blob holds. Raises: ValueError for one that is damaged or of another version."""
    return _unpacked(blob, raw_fields)


def unpack_blocks(blob: bytes) -> dict[str, Any]:
    """Return the fields of BlockRun that a blob holds. Raises: ValueError for one that is damaged or of another version."""
    return _unpacked(blob, blocks_fields)


def raw_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of SessionRecord that a blob's document holds. Raises: ValueError when it is damaged."""
    try:
        document = dict(document)
        version = document.pop("version")
        if version not in range(1, VERSION + 1):
            raise ValueError("the blob is of another version")
        if version == 1:
            document |= {
                "samples": [],
                "gate": {},
                "slices": [[*piece, None] for piece in document["slices"]],
            }
        if version < 3:
            document |= {
                "process": "",
                "scheduling": {},
                "slices": [[*piece, [], []] for piece in document["slices"]],
            }
        if version < VERSION:
            document |= {"expected": [], "settled": None}
        if set(document) != RAW_FIELDS:
            raise ValueError(f"the blob holds other fields than a session has: {sorted(document)}")
        document |= {name: tuple(document[name]) for name in _TUPLES}
        document["slices"] = tuple(_part(Slice, values) for values in document["slices"])
        if document["settled"] is not None:
            document["settled"] = _part(SettledRuns, document["settled"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error
    return document


def blocks_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of BlockRun that a blob's document holds. Raises: ValueError when it is damaged."""
    try:
        document = dict(document)
        if document.pop("version") != BLOCKS_VERSION:
            raise ValueError("the blob is of another version")
        if set(document) != BLOCKS_FIELDS:
            raise ValueError(f"the blob holds other fields than a run of blocks has: {sorted(document)}")
        document |= {name: tuple(document[name]) for name in ("samples", "readings")}
        document["blocks"] = tuple(_part(TimedBlock, values) for values in document["blocks"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error
    return document


def _unpacked(blob: bytes, read: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(blob, MAX_BYTES + 1)
        if not unpacker.eof or len(text) > MAX_BYTES:
            raise ValueError("the blob is cut off or too large")
        return read(json.loads(text))
    except (zlib.error, RecursionError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error


def _listed(parts: Sequence[Part]) -> list[Any]:
    return [attrgetter(*_NAMES[type(part)])(part) for part in parts]


def _part(kind: type[Part], values: Sequence[Any]) -> Part:
    """Return a part of its fields' values, of which lists are tuples. Raises: TypeError, ValueError."""
    plain = (tuple(value) if isinstance(value, list) else value for value in values)
    named: dict[str, Any] = dict(zip(_NAMES[kind], plain, strict=True))
    return kind(**named)

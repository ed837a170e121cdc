"""The raw times of a run of blocks as one blob: zlib of JSON, version 1, as those of sessions are kept (`harness.store.raw`)."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from operator import attrgetter
from typing import Any

from harness.records import BlockRun, TimedBlock
from harness.store.raw import MAX_BYTES

VERSION = 1
RAW_FIELDS = frozenset(
    (
        *("load_ns", "first_run_ns", "blocks", "conditions_before", "conditions_after", "plan", "scheduling"),
        *("gate", "samples", "sensor", "readings"),
    )
)
_PLAIN = sorted(RAW_FIELDS - {"blocks"})
_OF_BLOCK = [field.name for field in fields(TimedBlock)]


def pack_blocks(run: BlockRun) -> bytes:
    """Return a run's blob. Raises: ValueError for a run that could not be read back from it."""
    try:
        text = json.dumps(blocks_document(run), separators=(",", ":")).encode()
        if len(text) > MAX_BYTES:
            raise ValueError(f"its raw times take {len(text):,} bytes, of {MAX_BYTES:,} that a store keeps")
        blocks_fields(json.loads(text))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its raw times cannot be written: {error}") from error
    return zlib.compress(text, 6)


def blocks_document(run: BlockRun) -> dict[str, Any]:
    """Return the content of a run's blob, as plain values."""
    document: dict[str, Any] = {"version": VERSION} | {name: getattr(run, name) for name in _PLAIN}
    return document | {"blocks": list(map(attrgetter(*_OF_BLOCK), run.blocks))}


def unpack_blocks(blob: bytes) -> dict[str, Any]:
    """Return the fields of BlockRun that the blob holds. Raises: ValueError for one that is damaged or of another version."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(blob, MAX_BYTES + 1)
        if not unpacker.eof or len(text) > MAX_BYTES:
            raise ValueError("the blob is cut off or too large")
        return blocks_fields(json.loads(text))
    except (zlib.error, RecursionError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error


def blocks_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of BlockRun that a blob's document holds. Raises: ValueError when it is damaged."""
    try:
        document = dict(document)
        if document.pop("version") != VERSION:
            raise ValueError("the blob is of another version")
        if set(document) != RAW_FIELDS:
            raise ValueError(f"the blob holds other fields than a run of blocks has: {sorted(document)}")
        blocks = [dict(zip(_OF_BLOCK, values, strict=True)) for values in document["blocks"]]
        for block in blocks:
            block |= {name: tuple(block[name]) for name in ("at_ns", "runs_ns", "delays_ns")}
        document["blocks"] = tuple(TimedBlock(**block) for block in blocks)
        document |= {name: tuple(document[name]) for name in ("samples", "readings")}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error
    return document

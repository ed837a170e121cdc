"""The raw times of a run of blocks as one blob: zlib of JSON, version 1, as those of sessions are kept (`harness.store.raw`)."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any

from harness.records import BlockRun, TimedBlock
from harness.store.raw import packed, unpacked

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
    return packed(blocks_document(run), blocks_fields)


def blocks_document(run: BlockRun) -> dict[str, Any]:
    """Return the content of a run's blob, as plain values."""
    document: dict[str, Any] = {"version": VERSION} | {name: getattr(run, name) for name in _PLAIN}
    return document | {"blocks": list(map(attrgetter(*_OF_BLOCK), run.blocks))}


def unpack_blocks(blob: bytes) -> dict[str, Any]:
    """Return the fields of BlockRun that the blob holds. Raises: ValueError for one that is damaged or of another version."""
    return unpacked(blob, blocks_fields)


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

"""The raw samples of a session as one blob: zlib of JSON, version 4.

JSON rather than a pickle: reading a store never runs code, and any tool can read it (`zlib-flate`, `jq`).
Version 1 knew no times of slices, no samples and no gate; version 2 no waits of runs and nothing of the measured cores;
version 3 no expected outputs and no settled runs.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from harness.records import SessionRecord, SettledRuns, Slice

VERSION = 4
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


Read = Callable[[dict[str, Any]], dict[str, Any]]


def packed(document: dict[str, Any], read: Read) -> bytes:
    """Return a document as a blob. Raises: ValueError for what `read` would not take back from it."""
    try:
        text = json.dumps(document, separators=(",", ":")).encode()
        if len(text) > MAX_BYTES:
            raise ValueError(f"its raw times take {len(text):,} bytes, of {MAX_BYTES:,} that a store keeps")
        read(json.loads(text))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its raw times cannot be written: {error}") from error
    return zlib.compress(text, 6)


def unpacked(blob: bytes, read: Read) -> dict[str, Any]:
    """Return the fields that `read` takes from the document of a blob. Raises: ValueError for a damaged blob, and as `read`."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(blob, MAX_BYTES + 1)
        if not unpacker.eof or len(text) > MAX_BYTES:
            raise ValueError("the blob is cut off or too large")
        return read(json.loads(text))
    except (zlib.error, RecursionError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error


def pack_raw(session: SessionRecord) -> bytes:
    """Return the session's raw samples and conditions as a blob. Raises: ValueError for what could not be read back from it."""
    return packed(raw_document(session), raw_fields)


def raw_document(session: SessionRecord) -> dict[str, Any]:
    """Return the content of a session's blob, as plain values."""
    document: dict[str, Any] = {"version": VERSION} | {name: getattr(session, name) for name in _PLAIN}
    document["slices"] = [
        [
            s.reference_before_ns,
            s.after_switch_ns,
            s.network_ns,
            s.reference_after_ns,
            s.at_ns,
            s.delays_ns,
            s.gaps_ns,
        ]
        for s in session.slices
    ]
    alone = session.settled
    document["settled"] = alone and [alone.at_ns, alone.network_ns, alone.delays_ns, alone.gaps_ns]
    return document


def unpack_raw(blob: bytes) -> dict[str, Any]:
    """Return the fields of SessionRecord that a blob holds. Raises: ValueError for one that is damaged or of another version."""
    return unpacked(blob, raw_fields)


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
            document["expected"] = []
            document["settled"] = None
        if set(document) != RAW_FIELDS:
            raise ValueError(f"the blob holds other fields than a session has: {sorted(document)}")
        for name in _TUPLES:
            document[name] = tuple(document[name])
        document["slices"] = tuple(
            Slice(
                reference_before_ns=tuple(before),
                after_switch_ns=after_switch,
                network_ns=tuple(network),
                reference_after_ns=tuple(after),
                at_ns=at_ns,
                delays_ns=tuple(delays),
                gaps_ns=tuple(gaps),
            )
            for before, after_switch, network, after, at_ns, delays, gaps in document["slices"]
        )
        if document["settled"] is not None:
            at_ns, network, delays, gaps = document["settled"]
            document["settled"] = SettledRuns(
                at_ns=at_ns, network_ns=tuple(network), delays_ns=tuple(delays), gaps_ns=tuple(gaps)
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the blob is damaged: {error}") from error
    return document

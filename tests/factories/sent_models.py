"""Models of made-up bytes, as a campaign sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from harness.measurement.workload import Model
from space.assembly import Assembly


def sha256(data: bytes) -> str:
    """Return the digest by which a device knows a part."""
    return hashlib.sha256(data).hexdigest()


def assembly_of(skeleton: bytes, *parts: bytes, dictionary: bytes | None = None, **changes: Any) -> Assembly:
    """Return the ONNX model that a skeleton and parts make, one right after the other."""
    held = {sha256(part): part for part in (*parts, dictionary or b"")}
    fields: dict[str, Any] = {
        "format": "onnx",
        "alignment": 1,
        "skeleton": skeleton,
        "parts": tuple(map(sha256, parts)),
        "dictionary": None if dictionary is None else sha256(dictionary),
        "digest": sha256(b"".join([skeleton, *parts])),
        "read_part": held.__getitem__,
    }
    return Assembly(**fields | changes)


def made_model(architecture: str, assemble: Callable[[], Assembly], **changes: Any) -> Model:
    """Return a model of a made-up network."""
    fields: dict[str, Any] = {
        "architecture": architecture,
        "graph_hash": hashlib.md5(architecture.encode()).hexdigest(),
        "format": "onnx",
        "precision": "fp32",
        "space": "made-up",
        "weights": "made-up",
        "assemble": assemble,
    }
    return Model(**fields | changes)

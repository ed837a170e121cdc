"""What a campaign measures: a model that the device assembles from parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """How the device makes a model: a small skeleton of its own, then parts that many networks share.

    `parts` are sha256 digests that `read_part` answers; `dictionary` names a part that serves as zlib preset dictionary for
    the skeleton's way; `digest` names the model's bytes.
    """

    format: str
    alignment: int
    skeleton: bytes = field(repr=False)
    parts: tuple[str, ...]
    dictionary: str | None
    digest: str
    read_part: Callable[[str], bytes] = field(repr=False, compare=False)

    @property
    def skeleton_digest(self) -> str:
        """Return the sha256 of the skeleton, 64 hex characters: the first part of the model on the device."""
        return hashlib.sha256(self.skeleton).hexdigest()

    def recipe(self) -> dict[str, Any]:
        """Return the recipe as the protocol sends it: format, alignment and all parts in order."""
        return {
            "format": self.format,
            "alignment": self.alignment,
            "parts": [self.skeleton_digest, *self.parts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network in one format: its text, the graph hash that joins it with accuracies, and how to assemble it.

    A segment of a network (`purpose`) has its key where a network has its graph hash.
    `weights` names the weights and the exporter that made the parts: equal names mean equal models.
    `assemble` is called when the model is about to be sent, so that a campaign over a whole space holds no model bytes.
    """

    architecture: str
    graph_hash: str
    format: str
    precision: str
    space: str
    weights: str
    purpose: str = "network"
    assemble: Callable[[], Assembly] = field(repr=False, compare=False)

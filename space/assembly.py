"""Assembly of a model on the device from parts: what exporters make and campaigns send."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Assembly of a model on the device: its own skeleton plus parts shared with other networks.

    `parts` are sha256 digests that `read_part` answers, each preceded by zeros up to `alignment` bytes; `dictionary` names a part
    whose last 32 KiB serve as zlib preset dictionary for the skeleton's way; `digest` names the model's bytes, by default by all
    that they are made of. `shapes`: those of inputs that the model leaves free, by name; `inputs`:
    the part, an .npz file, that holds the values of inputs by name, None where they are the fixed ones; `signature`: the one of a
    TFLite model that is run, empty for its first graph; `batch`: the images of one run.
    `size_bytes`: all that the device has to keep for it, 0 where that is little. `elsewhere`: the sha256 of a skeleton whose
    bytes are on the device alone, as after a packed job.

    Raises:
        ValueError: the alignment is one that no assembly can follow.
    """

    format: str
    alignment: int
    skeleton: bytes = field(repr=False)
    parts: tuple[str, ...]
    dictionary: str | None = None
    digest: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: str | None = None
    signature: str = ""
    batch: int = 1
    size_bytes: int = 0
    read_part: Callable[[str], bytes] = field(repr=False, compare=False)
    elsewhere: str = ""

    def __post_init__(self) -> None:
        if self.alignment < 1:
            raise ValueError(f"assembly: alignment {self.alignment} must be at least 1 byte")
        if not self.digest:
            lines = (self.format, str(self.alignment), self.skeleton_digest, *self.parts)
            object.__setattr__(self, "digest", hashlib.sha256("\n".join(lines).encode()).hexdigest())

    @classmethod
    def of_bytes(cls, data: bytes, model_format: str = "") -> Assembly:
        """Return a file, of a format or none, that is sent and kept as one part."""
        return cls(
            format=model_format,
            alignment=1,
            skeleton=data,
            parts=(),
            digest=hashlib.sha256(data).hexdigest(),
            read_part=lambda part: b"",
        )

    @property
    def skeleton_digest(self) -> str:
        """Return the sha256 of the skeleton, 64 hex characters: the first part of the model on the device."""
        return self.elsewhere or hashlib.sha256(self.skeleton).hexdigest()

    def recipe(self) -> dict[str, Any]:
        """Return the recipe as the protocol sends it: format, alignment and all parts in order."""
        given: dict[str, Any] = {} if self.inputs is None else {"inputs": self.inputs}
        if self.shapes:
            given["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        if self.signature:
            given["signature"] = self.signature
        if self.batch > 1:
            given["batch"] = self.batch
        return {
            "format": self.format,
            "alignment": self.alignment,
            "parts": [self.skeleton_digest, *self.parts],
            **given,
        }

    def whole(self) -> bytes:
        """Return the model's bytes, joined as the device's agent joins them: parts begin at multiples of the alignment."""
        model = bytearray(self.skeleton)
        for digest in self.parts:
            model += bytes(-len(model) % self.alignment) + self.read_part(digest)
        return bytes(model)

    @property
    def shared(self) -> tuple[str, ...]:
        """Return the digests of all that the device needs but the skeleton, which `read_part` answers."""
        return tuple(digest for digest in (self.dictionary, *self.parts, self.inputs) if digest is not None)

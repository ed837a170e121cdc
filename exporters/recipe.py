"""Recipes by which a device assembles a network from parts that it already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Format = Literal["onnx", "tflite"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Of a model's weights and activations: int8 is full integer, static, with a scale for each channel of the weights.
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssemblyRecipe:
    """Describe one model file: a skeleton, then parts in order, each preceded by zeros up to `alignment` bytes.

    `parts` are sha256 digests, 64 hex characters. `dictionary` names a part whose last 32 KiB serve as zlib
    preset dictionary when the skeleton is sent; it is no part of the model. `shapes`: those that inputs are given, by name, when
    the model is loaded, where they are not its own.

    Raises:
        ValueError: a field holds a value that no assembly can follow.
    """

    format: Format
    alignment: int
    skeleton: bytes
    parts: tuple[str, ...]
    dictionary: str | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"recipe: format {self.format!r} is unknown; choose from {', '.join(FORMATS)}")
        if self.alignment < 1:
            raise ValueError(f"recipe: alignment {self.alignment} must be at least 1 byte")

    @property
    def digest(self) -> str:
        """The sha256 that names the model: over format, alignment, the skeleton's sha256 and the part digests."""
        lines = (self.format, str(self.alignment), hashlib.sha256(self.skeleton).hexdigest(), *self.parts)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def link(recipe: AssemblyRecipe, read_part: Callable[[str], bytes]) -> bytes:
    """Assemble a model: the skeleton, then each part in order at the next multiple of the alignment.

    The bytes are those that a device assembles. `read_part` returns the bytes of a part by digest.
    """
    pieces, size_bytes = [recipe.skeleton], len(recipe.skeleton)
    for digest in recipe.parts:
        part, gap = read_part(digest), -size_bytes % recipe.alignment
        pieces += (bytes(gap), part)
        size_bytes += gap + len(part)
    return b"".join(pieces)

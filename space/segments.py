"""Segments: the pieces that every network of a space is cut into, each a small network of its own.

    image -> stem -> cell 0 -> reduction 0 -> cell 1 -> ... -> head -> logits

A network is a path through one stem, a cell and a reduction for each stage, and one head; a space has no other
pieces. Their latencies, 140 for Blox, are the parts that a network's latency is summed from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from space.architecture import BLOX
from space.block import Block, block_table
from space.config import SpaceConfig
from space.errors import ArchitectureError, did_you_mean, shown

SegmentKind = Literal["stem", "cell", "reduction", "head"]

PREFIX = "segment:"  # no text of an architecture begins with it
_FORMS = f"write {PREFIX}stem, {PREFIX}cell0:BLOCK, {PREFIX}reduction0 or {PREFIX}head"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment:
    """A piece of a space's networks.

    `stage` counts from 0 and is given for a cell and a reduction, `block` for a cell. `str(s)` is a text such as
    `segment:cell0:conv-mbconv+in`, and `Segment.parse` reads it back.

    Raises:
        ArchitectureError: a field is absent or not in the space.
    """

    kind: SegmentKind
    stage: int | None = None
    block: Block | None = None
    config: SpaceConfig = BLOX

    def __post_init__(self) -> None:
        if self.kind not in get_args(SegmentKind):
            known = get_args(SegmentKind)
            raise ArchitectureError(
                f"segment: kind {shown(self.kind)} is unknown; choose from {', '.join(known)}"
            )
        for name, value, kinds in (
            ("stage", self.stage, ("cell", "reduction")),
            ("block", self.block, ("cell",)),
        ):
            if (value is not None) != (self.kind in kinds):
                remedy = f"give a {name}" if value is None else f"leave {name} None"
                raise ArchitectureError(f"segment {self.kind}: {name} is {shown(value)}; {remedy}")
        if self.stage is not None and self.stage not in range(self.config.stages):
            raise ArchitectureError(
                f"segment {self.kind}: space {self.config.name!r} has no stage {shown(self.stage)}; "
                f"give 0 to {self.config.stages - 1}"
            )
        if self.block is not None:
            table = block_table(self.config.ops)
            if self.block not in table.by_block:
                raise ArchitectureError(
                    f"segment cell: block {shown(self.block)} is not in space {self.config.name!r}; "
                    f"its ops are {', '.join(self.config.ops)}"
                )
            # As in Architecture: of two parallel twins only one is kept.
            object.__setattr__(self, "block", table.blocks[table.by_block[self.block]])

    def __repr__(self) -> str:
        return f"<Segment {self} of {self.config.name}>"

    def __str__(self) -> str:
        stage = "" if self.stage is None else self.stage
        return f"{PREFIX}{self.kind}{stage}" + ("" if self.block is None else f":{self.block}")

    @classmethod
    def parse(cls, text: str, config: SpaceConfig = BLOX) -> Segment:
        """Read a segment's text.

        Raises:
            ArchitectureError: the text names no segment of the space; the message suggests the nearest that is.
        """
        by_text = _by_text(config)
        found = by_text.get(text.strip())
        if found is None:
            raise ArchitectureError(
                f"segment {shown(text.strip())} is not in space {config.name!r}, "
                f"whose stages are 0 to {config.stages - 1}"
                + (did_you_mean(text.strip(), by_text) or f"; {_FORMS}")
            )
        return found

    @property
    def key(self) -> str:
        """The name of the segment where a network has its graph hash: 32 lower-case hex characters.

        It is no graph hash, but the md5 of the space's name, a blank and the segment's text: no data file knows it.
        """
        return hashlib.md5(f"{self.config.name} {self}".encode(), usedforsecurity=False).hexdigest()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape (channels, rows, columns) of what the segment reads, for one image."""
        if self.kind == "stem":
            return self.config.in_channels, self.config.image_size, self.config.image_size
        stage = self.config.stages if self.stage is None else self.stage
        size = self.config.image_size >> stage
        return self.config.widths[0] << stage, size, size


def all_segments(config: SpaceConfig = BLOX) -> tuple[Segment, ...]:
    """Return every segment of a space in running order, a stage's cells in canonical order: 140 for Blox."""
    found = [Segment(kind="stem", config=config)]
    for stage in range(config.stages):
        found += [Segment(kind="cell", stage=stage, block=block, config=config) for block in config.blocks]
        found.append(Segment(kind="reduction", stage=stage, config=config))
    return (*found, Segment(kind="head", config=config))


@lru_cache(maxsize=8)
def _by_text(config: SpaceConfig) -> Mapping[str, Segment]:
    """Return every segment by every text that it has; a parallel block has two."""
    texts = {str(segment): segment for segment in all_segments(config)}
    table = block_table(config.ops)
    for stage in range(config.stages):
        for text, i in table.by_text.items():
            texts[f"{PREFIX}cell{stage}:{text}"] = texts[f"{PREFIX}cell{stage}:{table.blocks[i]}"]
    return texts

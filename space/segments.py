"""Segments: the pieces that every network of a space is cut into, each a small network of its own.

    image -> stem -> cell 0 -> reduction 0 -> cell 1 -> ... -> head -> logits

A network is a path through one stem, a cell and a reduction for each stage, and one head; a space has no other
pieces. Their latencies, 140 for Blox, are the parts that a network's latency is summed from. A space of one's own has a
piece for each candidate of each site between stem and head; a candidate that gives back what it is given is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from space.architecture import BLOX
from space.block import Block
from space.config import SpaceConfig
from space.errors import ArchitectureError, did_you_mean, shown
from space.layout import SegmentKind
from space.stages import Shape, SpaceStage, shape_at

PREFIX = "segment:"  # no text of an architecture begins with it


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment:
    """A piece of a space's networks.

    `stage` counts from 0 and is given for a cell and a reduction, `block` for a cell. `str(s)` is a text such as
    `segment:cell0:conv-mbconv+in`, and `Segment.parse` reads it back. Of a chain, `stage` counts its sites.

    Raises:
        ArchitectureError: the space has no such segment; the message suggests the nearest that it has.
    """

    kind: SegmentKind
    stage: int | None = None
    block: Block | None = None
    config: SpaceConfig = BLOX

    def __post_init__(self) -> None:
        kind, stage, block = _piece(str(self), self.config)
        if (self.kind, self.stage) != (kind, stage):
            raise ArchitectureError(
                f"{self}: kind {shown(self.kind)} and stage {shown(self.stage)}; give {kind!r} and {stage!r}"
            )
        # As in Architecture: of two parallel twins only one is kept.
        object.__setattr__(self, "block", block)

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
        kind, stage, block = _piece(text.strip(), config)
        return cls(kind=kind, stage=stage, block=block, config=config)

    @property
    def key(self) -> str:
        """The name of the segment where a network has its graph hash: 32 lower-case hex characters.

        It is no graph hash, but the md5 of the space's name, a blank and the segment's text: no data file knows it.
        """
        return hashlib.md5(f"{self.config.name} {self}".encode(), usedforsecurity=False).hexdigest()

    @property
    def place(self) -> int | None:
        """The place of its site; None for stem and head."""
        return None if self.stage is None else self.config.layout.place(self.kind, self.stage)

    @property
    def input_shape(self) -> Shape:
        """The shape (channels, rows, columns) of what the segment reads, for one image."""
        if self.kind == "stem":
            return self.config.in_channels, self.config.image_size, self.config.image_size
        return shape_at(self.config, self.place)


def stage_segments(stage: SpaceStage, block: Block) -> tuple[Segment, ...]:
    """Return the segments of a stage with a block: a cell and a reduction, or the sites of a chain that are any."""
    found, layout = [], stage.config.layout
    for place in stage.sites:
        (kind, number), module = layout.numbered(place), layout.sites[place].runs(block)
        if not module.traced.passes:
            found.append(Segment(kind=kind, stage=number, block=module.block, config=stage.config))
    return tuple(found)


def all_segments(config: SpaceConfig = BLOX) -> tuple[Segment, ...]:
    """Return every segment of a space in running order, a stage's cells in canonical order: 140 for Blox."""
    pieces = dict.fromkeys(_pieces(config).values())
    return tuple(Segment(kind=kind, stage=stage, block=block, config=config) for kind, stage, block in pieces)


_Piece = tuple[SegmentKind, int | None, Block | None]


def _piece(text: str, config: SpaceConfig) -> _Piece:
    """Return kind, stage and block of the segment that a text names. Raises: ArchitectureError."""
    pieces = _pieces(config)
    if text not in pieces:
        layout = config.layout
        kind, last = layout.numbered(len(layout.sites) - 1)
        places = "sites" if kind == "site" else "stages"
        inner = ", ".join(f"{PREFIX}{kind}0" + ":BLOCK" * (kind != "reduction") for kind in layout.kinds)
        raise ArchitectureError(
            f"segment {shown(text)} is not in space {config.name!r}, whose {places} are 0 to {last}"
            + (did_you_mean(text, pieces) or f"; write {PREFIX}stem, {inner} or {PREFIX}head")
        )
    return pieces[text]


@lru_cache(maxsize=8)
def _pieces(config: SpaceConfig) -> Mapping[str, _Piece]:
    """Return every segment in running order by every text that it has; a parallel block has two."""
    found: dict[str, _Piece] = {f"{PREFIX}stem": ("stem", None, None)}
    texts: dict[Block | None, list[str]] = {}
    for text, i in config.table.by_text.items():
        texts.setdefault(config.blocks[i], []).append(f":{text}")
    for place, site in enumerate(config.layout.sites):
        kind, number = config.layout.numbered(place)
        for one in site.candidates:
            if not one.traced.passes:
                named = texts.get(one.block, [f":{one.name}" if one.name else ""])
                found |= {f"{PREFIX}{kind}{number}{text}": (kind, number, one.block) for text in named}
    return found | {f"{PREFIX}head": ("head", None, None)}

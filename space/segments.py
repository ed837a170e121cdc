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
from typing import Literal, get_args

from space.architecture import BLOX
from space.block import Block
from space.chain import Chain
from space.config import SpaceConfig
from space.errors import ArchitectureError, did_you_mean, shown
from space.stages import SpaceStage

SegmentKind = Literal["stem", "cell", "reduction", "head", "site"]

PREFIX = "segment:"  # no text of an architecture begins with it
_FORMS = f"write {PREFIX}stem, {PREFIX}cell0:BLOCK, {PREFIX}reduction0 or {PREFIX}head"
_CHAIN_FORMS = f"write {PREFIX}stem, {PREFIX}site0:CANDIDATE or {PREFIX}head"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment:
    """A piece of a space's networks.

    `stage` counts from 0 and is given for a cell and a reduction, `block` for a cell. `str(s)` is a text such as
    `segment:cell0:conv-mbconv+in`, and `Segment.parse` reads it back. Of a chain, `stage` counts its sites.

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
            ("stage", self.stage, ("cell", "reduction", "site")),
            ("block", self.block, ("cell", "site")),
        ):
            if (value is not None) != (self.kind in kinds):
                remedy = f"give a {name}" if value is None else f"leave {name} None"
                raise ArchitectureError(f"segment {self.kind}: {name} is {shown(value)}; {remedy}")
        if (self.config.chain is not None) != (self.kind == "site") and self.kind not in ("stem", "head"):
            raise ArchitectureError(f"segment {self.kind}: space {self.config.name!r} has none of this kind")
        if self.config.chain is not None:
            return self._check_site(self.config.chain)
        if self.stage is not None and self.stage not in range(self.config.stages):
            raise ArchitectureError(
                f"segment {self.kind}: space {self.config.name!r} has no stage {shown(self.stage)}; "
                f"give 0 to {self.config.stages - 1}"
            )
        if self.block is not None:
            table = self.config.table
            if self.block not in table.by_block:
                raise ArchitectureError(
                    f"segment cell: block {shown(self.block)} is not in space {self.config.name!r}; "
                    f"its ops are {', '.join(self.config.ops)}"
                )
            # As in Architecture: of two parallel twins only one is kept.
            object.__setattr__(self, "block", table.blocks[table.by_block[self.block]])

    def _check_site(self, chain: Chain) -> None:
        if self.block is None or self.stage is None:
            return
        if self.stage not in range(len(chain.sites)):
            raise ArchitectureError(
                f"segment site: space {self.config.name!r} has no site {shown(self.stage)}; give 0 to {len(chain.sites) - 1}"
            )
        names = [module.name for module in chain.sites[self.stage].candidates if not module.traced.passes]
        if str(self.block) not in names:
            raise ArchitectureError(
                f"segment site: {shown(str(self.block))} is no module of site {self.stage} of space {self.config.name!r}; its "
                f"modules are {', '.join(names)}"
            )

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
                + (
                    f"whose stages are 0 to {config.stages - 1}"
                    if config.chain is None
                    else f"whose sites are 0 to {len(config.chain.sites) - 1}"
                )
                + (
                    did_you_mean(text.strip(), by_text)
                    or f"; {_FORMS if config.chain is None else _CHAIN_FORMS}"
                )
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
        if self.config.chain is not None:
            _, *shape = self.config.chain.shape(self.stage)
            return shape[0], shape[1], shape[2]
        stage = self.config.stages if self.stage is None else self.stage
        size = self.config.image_size >> stage
        return self.config.widths[0] << stage, size, size


def stage_segments(stage: SpaceStage, block: Block) -> tuple[Segment, ...]:
    """Return the segments of a stage with a block: a cell and a reduction, or the sites of a chain that are any."""
    config, number = stage.config, stage.number
    if config.chain is None:
        return (
            Segment(kind="cell", stage=number, block=block, config=config),
            Segment(kind="reduction", stage=number, config=config),
        )
    modules = ((place, config.chain.sites[place].runs(block)) for place in stage.sites)
    return tuple(
        Segment(kind="site", stage=place, block=module.block, config=config)
        for place, module in modules
        if not module.traced.passes
    )


def all_segments(config: SpaceConfig = BLOX) -> tuple[Segment, ...]:
    """Return every segment of a space in running order, a stage's cells in canonical order: 140 for Blox."""
    found = [Segment(kind="stem", config=config)]
    if config.chain is not None:
        for place, site in enumerate(config.chain.sites):
            blocks = [module.block for module in site.candidates if not module.traced.passes]
            found += [Segment(kind="site", stage=place, block=block, config=config) for block in blocks]
        return (*found, Segment(kind="head", config=config))
    for stage in range(config.stages):
        found += [Segment(kind="cell", stage=stage, block=block, config=config) for block in config.blocks]
        found.append(Segment(kind="reduction", stage=stage, config=config))
    return (*found, Segment(kind="head", config=config))


@lru_cache(maxsize=8)
def _by_text(config: SpaceConfig) -> Mapping[str, Segment]:
    """Return every segment by every text that it has; a parallel block has two."""
    texts = {str(segment): segment for segment in all_segments(config)}
    if config.chain is not None:
        return texts
    table = config.table
    for stage in range(config.stages):
        for text, i in table.by_text.items():
            texts[f"{PREFIX}cell{stage}:{text}"] = texts[f"{PREFIX}cell{stage}:{table.blocks[i]}"]
    return texts

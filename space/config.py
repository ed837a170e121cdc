"""Search spaces: their ops, stages and images, and which of them can be enumerated."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import attrgetter
from typing import Any

from space.block import Block, BlockTable
from space.cells import cells
from space.chain import Chain
from space.errors import ArchitectureError, shown
from space.layout import NetworkLayout, SiteModule

# Networks. A search holds some twenty numbers of each: a third of a gigabyte, and seconds to compute. Three stages of 45
# blocks are 91,125 networks and fit; four are 4.1 million and would need a minute and most of a small machine's memory, where
# a sum over blocks answers in milliseconds.
MAX_ENUMERABLE = 2_000_000
MAX_NETWORKS = sys.maxsize  # of any space: indices fit int64
_OP_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIRING_WORDS = ("in", "out")  # they would make the text of a block ambiguous


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceConfig:
    """A macro search space: between a stem and a head, places where a network chooses one of several blocks.

    In Blox and its miniatures each stage has a searchable block and a reduction. `ops` are the names from which every
    block chooses; `widths` are the channels of each stage, doubled from one stage to the next by the reduction;
    `image_size` is the input's height and width in pixels, halved by every reduction.

    A space of one's own has a `chain` of sites instead, read by `space.definition`; its `ops` are the candidates of all its
    sites, each a block of one op, and its `widths` are empty. To both, `stages` is the number of choices that a network makes,
    and `len(config)` that of its networks, the product of the numbers of blocks of each choice.

    Raises:
        ArchitectureError: a value describes no space that can be built.
    """

    name: str
    ops: tuple[str, ...]
    widths: tuple[int, ...]
    image_size: int
    classes: int
    in_channels: int = 3
    nodes: int = 2
    chain: Chain | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        object.__setattr__(self, "widths", tuple(self.widths))
        if isinstance(self.chain, Mapping):  # of `to_plain`
            object.__setattr__(self, "chain", Chain.from_plain(self.chain))
        if self.chain is not None:
            return  # which was checked when it was read
        self._check_ops()
        self._check_sizes()

    def _check_ops(self) -> None:
        if self.nodes != 2:
            self._refuse("nodes", self.nodes, "only blocks of 2 nodes are defined; leave nodes at 2")
        if not self.ops or len(set(self.ops)) < len(self.ops):
            self._refuse("ops", self.ops, "name at least one op, and each op once")
        for op in self.ops:
            if not _OP_NAME.fullmatch(op) or op in _WIRING_WORDS:
                self._refuse(
                    "ops", op, "an op's name is lower-case letters, digits and _, and neither 'in' nor 'out'"
                )

    def _check_sizes(self) -> None:
        for key in ("image_size", "classes", "in_channels"):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                self._refuse(key, value, "give a whole number of at least 1")
        if not self.widths or any(not isinstance(w, int) or w < 2 or w % 2 for w in self.widths):
            self._refuse("widths", self.widths, "give an even number of channels for each stage")
        for narrow, wide in zip(self.widths, self.widths[1:], strict=False):
            if wide != 2 * narrow:
                self._refuse(
                    "widths",
                    self.widths,
                    f"a reduction doubles the channels; write {2 * narrow} after {narrow}",
                )
        if self.image_size % (halved := 2 ** len(self.widths)):
            self._refuse(
                "image_size",
                self.image_size,
                f"each of {len(self.widths)} reductions halves the image; give a multiple of {halved}",
            )
        if self.count > MAX_NETWORKS:
            self._refuse("widths", self.widths, "the networks of so many stages cannot be indexed; use fewer")

    def __eq__(self, other: object) -> bool:
        # A `Space` equals its description.
        return isinstance(other, SpaceConfig) and _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(_fields(self))

    def __len__(self) -> int:
        return self.count

    @property
    def count(self) -> int:
        """The number of networks, `len` of the space, which has none beyond 2**63 - 1."""
        return prod(self.radices)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in JSON's types, of which `SpaceConfig(**fields)` makes the space again."""
        plain: dict[str, Any] = {
            "name": self.name,
            "ops": list(self.ops),
            "widths": list(self.widths),
            "image_size": self.image_size,
            "classes": self.classes,
            "in_channels": self.in_channels,
            "nodes": self.nodes,
        }
        return plain if self.chain is None else plain | {"chain": self.chain.to_plain()}

    @property
    def layout(self) -> NetworkLayout[SiteModule]:
        """Stem, sites and head, by which all kinds of space are handled alike."""
        if self.chain is not None:
            return self.chain
        return cells(self.ops, self.widths, self.image_size, self.classes, self.in_channels)

    @property
    def stages(self) -> int:
        """The number of blocks that a network chooses: in Blox one for each stage."""
        return len(self.choices)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks of any choice in canonical order."""
        return self.table.blocks

    @property
    def table(self) -> BlockTable:
        """All blocks with their places by every name that they have."""
        return self.layout.table

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """The blocks that may be chosen in each stage, by their places in `blocks`: all of them in Blox."""
        return self.layout.choices

    @property
    def digits(self) -> tuple[Mapping[int, int], ...]:
        """The place of each block of `choices` among those of its choice."""
        return self.layout.digits

    @property
    def radices(self) -> tuple[int, ...]:
        """The number of blocks of each choice."""
        return tuple(map(len, self.choices))

    def place_text(self, stage: int, block: int) -> str:
        """Return a block in a stage, or a candidate at the first site of its choice, as a segment is named: `site2:skip`."""
        place, _ = next(self.layout.followers(stage))
        kind, number = self.layout.numbered(place)
        return f"{kind}{number}:{self.blocks[block]}"

    def _refuse(self, key: str, value: object, remedy: str) -> None:
        raise ArchitectureError(f"space {self.name!r}: {key} = {shown(value)} cannot be used; {remedy}")


_fields = attrgetter("name", "ops", "widths", "image_size", "classes", "in_channels", "nodes", "chain")


def is_enumerable(config: SpaceConfig) -> bool:
    """Return whether a space is small enough for arrays with an element for each network."""
    return len(config) <= MAX_ENUMERABLE


def check_enumerable(config: SpaceConfig, what: str, remedy: str) -> None:
    """Refuse to do `what` with every network of a space that is too large; `remedy` says what to do instead.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    if not is_enumerable(config):
        raise ArchitectureError(
            f"{what}: the {len(config):,} networks of space {config.name!r} are too many to list; {remedy}"
        )

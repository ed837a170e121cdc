"""Search spaces: their ops, stages and images, and which of them can be enumerated."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from typing import Any

from space.block import Block, block_table
from space.errors import ArchitectureError, shown

# Networks. A search holds some twenty numbers of each: a third of a gigabyte, and seconds to compute. Three stages of 45
# blocks are 91,125 networks and fit; four are 4.1 million and would need a minute and most of a small machine's memory, where
# a sum over blocks answers in milliseconds.
MAX_ENUMERABLE = 2_000_000
_OP_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIRING_WORDS = ("in", "out")  # they would make the text of a block ambiguous


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceConfig:
    """A macro search space: a stem, for each stage a searchable block and a reduction, a head.

    `ops` are the names from which every block chooses; `widths` are the channels of each stage, doubled from
    one stage to the next by the reduction; `image_size` is the input's height and width in pixels, halved by
    every reduction. `len(config)` is the number of different networks, blocks per stage ** stages.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.nodes != 2:
            self._refuse("nodes", self.nodes, "only blocks of 2 nodes are defined; leave nodes at 2")
        if not self.ops or len(set(self.ops)) < len(self.ops):
            self._refuse("ops", self.ops, "name at least one op, and each op once")
        for op in self.ops:
            if not _OP_NAME.fullmatch(op) or op in _WIRING_WORDS:
                self._refuse(
                    "ops", op, "an op's name is lower-case letters, digits and _, and neither 'in' nor 'out'"
                )
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
        if self.image_size % 2**self.stages:
            self._refuse(
                "image_size",
                self.image_size,
                f"each of {self.stages} reductions halves the image; give a multiple of {2**self.stages}",
            )
        if len(self.blocks) ** self.stages > sys.maxsize:
            self._refuse("widths", self.widths, "the networks of so many stages cannot be indexed; use fewer")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpaceConfig) and _fields(self) == _fields(
            other
        )  # a `Space` equals its description

    def __hash__(self) -> int:
        return hash(_fields(self))

    def __len__(self) -> int:
        count: int = len(self.blocks) ** self.stages
        return count

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in JSON's types, of which `SpaceConfig(**fields)` makes the space again."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @property
    def stages(self) -> int:
        """The number of stages, each a searchable block and a reduction."""
        return len(self.widths)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks of a stage in canonical order."""
        return block_table(self.ops).blocks

    def _refuse(self, key: str, value: object, remedy: str) -> None:
        raise ArchitectureError(f"space {self.name!r}: {key} = {shown(value)} cannot be used; {remedy}")


def _fields(config: SpaceConfig) -> tuple[object, ...]:
    return (
        config.name,
        config.ops,
        config.widths,
        config.image_size,
        config.classes,
        config.in_channels,
        config.nodes,
    )


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

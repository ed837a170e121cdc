"""A block: the searchable cell of one stage, two ops and how they are wired.

    node1 = op0(x);  node2 = op1(prev * node1 + inp * x);  cell = node2 + sc * node1

Of the 8 settings of (prev, inp, sc), one is disconnected and two leave a single op alive; parallel blocks are
symmetric. What remains, for n ops, are 4 n^2 + n + n (n + 1) / 2 different blocks: 45 for the 3 ops of Blox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Wiring = Literal["chain", "single", "chain+in", "chain+out", "parallel", "chain+in+out"]

# (prev, inp, sc) of each wiring, in the canonical order of the published list.
WIRINGS: Mapping[Wiring, tuple[int, int, int]] = {
    "chain": (1, 0, 0),  # op1(op0(x))
    "single": (0, 1, 0),  # op1(x)
    "chain+in": (1, 1, 0),  # op1(op0(x) + x)
    "chain+out": (1, 0, 1),  # op1(op0(x)) + op0(x)
    "parallel": (0, 1, 1),  # op0(x) + op1(x)
    "chain+in+out": (1, 1, 1),  # op1(op0(x) + x) + op0(x)
}

RawBlock = tuple[int, int, int, int, int]  # op0, op1, prev, inp, sc: the published vector of one stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The ops of one stage and their wiring.

    A single block has no `op0`. The ops of a parallel block are interchangeable; in `SpaceConfig.blocks` its
    `op0` is never listed before its `op1` in the space's ops, as in the published list.

    `str(block)` is the block's text, such as `conv-mbconv+in`.
    """

    op0: str | None
    op1: str
    wiring: Wiring

    def __post_init__(self) -> None:
        if self.wiring not in WIRINGS:
            raise ValueError(f"block: wiring {self.wiring!r} is unknown; choose from {', '.join(WIRINGS)}")
        if (self.op0 is None) != (self.wiring == "single"):
            raise ValueError(
                f"block: wiring {self.wiring!r} with op0 {self.op0!r}; "
                "a single block has op0 None and every other block names two ops"
            )

    def __str__(self) -> str:
        if self.op0 is None:
            return self.op1
        if self.wiring == "parallel":
            return f"{self.op1}+{self.op0}"  # the op listed first in the space comes first
        return f"{self.op0}-{self.op1}{self.wiring.removeprefix('chain')}"

    @property
    def prev(self) -> bool:
        """Whether op0's output enters op1."""
        return bool(WIRINGS[self.wiring][0])

    @property
    def inp(self) -> bool:
        """Whether the block's input enters op1."""
        return bool(WIRINGS[self.wiring][1])

    @property
    def sc(self) -> bool:
        """Whether op0's output is added to the block's output."""
        return bool(WIRINGS[self.wiring][2])

    @property
    def ops(self) -> tuple[str, ...]:
        """The ops that the block runs: one, or two with op0 first."""
        return (self.op1,) if self.op0 is None else (self.op0, self.op1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTable:
    """All blocks over some ops in canonical order, with the index of each by every name it has."""

    blocks: tuple[Block, ...]
    raw: tuple[RawBlock, ...]  # the canonical published vector of each block
    by_block: Mapping[Block, int]
    by_text: Mapping[str, int]
    by_raw: Mapping[RawBlock, int]  # every connected raw vector; 63 entries for 3 ops


@lru_cache(maxsize=64)
def block_table(ops: tuple[str, ...]) -> BlockTable:
    """Return the table of the blocks over `ops`; computed once for each tuple of ops."""
    raw = tuple(_canonical_raw(len(ops)))
    blocks = tuple(_block_of(ops, r) for r in raw)
    by_raw = {r: i for i, r in enumerate(raw)}
    by_block = {b: i for i, b in enumerate(blocks)}
    by_text = {str(b): i for i, b in enumerate(blocks)}
    for i, (op0, op1, prev, inp, sc) in enumerate(raw):
        if (prev, inp, sc) == WIRINGS["single"]:  # the dead op may be any; or op0 alone may survive
            by_raw |= {(dead, op1, 0, 1, 0): i for dead in range(len(ops))}
            by_raw |= {(op1, dead, 0, 0, 1): i for dead in range(len(ops))}
        elif (prev, inp, sc) == WIRINGS["parallel"]:
            twin = _block_of(ops, (op1, op0, prev, inp, sc))
            by_raw[op1, op0, prev, inp, sc] = by_block[twin] = by_text[str(twin)] = i
    return BlockTable(blocks=blocks, raw=raw, by_block=by_block, by_text=by_text, by_raw=by_raw)


def _canonical_raw(op_count: int) -> Iterator[RawBlock]:
    for name, flags in WIRINGS.items():
        for op1 in range(op_count):
            if name == "single":
                yield (0, op1, *flags)
                continue
            for op0 in range(op1 if name == "parallel" else 0, op_count):
                yield (op0, op1, *flags)


def _block_of(ops: tuple[str, ...], raw: RawBlock) -> Block:
    op0, op1, *flags = raw
    wiring = next(name for name, setting in WIRINGS.items() if setting == tuple(flags))
    return Block(op0=None if wiring == "single" else ops[op0], op1=ops[op1], wiring=wiring)

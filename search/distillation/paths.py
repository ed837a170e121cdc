"""Paths of a supernet's steps: the blocks of a stage that a step trains.

random   one block, every block equally likely
fair     one block for each op, so that each op occurs once in every place of a block: strict fairness (Chu et al. 2019,
         arXiv:1907.01845, section 3). The optimizer takes one step by the sum of their gradients

    sampler = path_sampler("fair", config.ops, config.blocks)
    sampler.draw(below)            # indices of blocks: one for each op
    sampler.visits                 # (B,): how often a step trains each block, in the mean

Blocks of a single op, which have no first place, are drawn together, one for each op; other blocks are drawn by a random
assignment of a last op to each first op, then a random wiring of each pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from search.distillation.recipe import FAIR, RANDOM
from space import Block
from space.errors import ConfigError
from space.indexing import FloatArray

Below = Callable[[int], int]  # n -> one of 0 to n - 1, each equally likely


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPaths:
    """One of `blocks` blocks a step, each equally often."""

    blocks: int

    @property
    def visits(self) -> FloatArray:
        """The expected number of times that a step trains each block, (B,)."""
        return np.full(self.blocks, 1 / self.blocks)

    def draw(self, below: Below) -> list[int]:
        """Return the indices of the blocks that a step trains: of one."""
        return [below(self.blocks)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FairPaths:
    """Each op equally often in every step: `single`, blocks of one op, and `pairs[first][last]`, blocks of two, by op."""

    single: tuple[int, ...]
    pairs: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return len(self.single) + sum(len(pair) for row in self.pairs for pair in row)

    @property
    def visits(self) -> FloatArray:
        """All single blocks, with the probability of their share of blocks; else each pair of ops, with probability 1 / ops."""
        found, share = np.zeros(self.blocks), len(self.single) / self.blocks
        found[list(self.single)] = share
        for row in self.pairs:
            for pair in filter(None, row):
                found[list(pair)] = (1 - share) / len(row) / len(pair)
        return found

    def draw(self, below: Below) -> list[int]:
        """Return the indices of blocks, one for each op."""
        if below(self.blocks) < len(self.single):
            return list(self.single)
        lasts = list(range(len(self.pairs)))
        for end in range(len(lasts) - 1, 0, -1):  # Fisher and Yates
            other = below(end + 1)
            lasts[end], lasts[other] = lasts[other], lasts[end]
        drawn = [row[last] for row, last in zip(self.pairs, lasts, strict=True)]
        return [pair[below(len(pair))] for pair in drawn]


PathSampler: TypeAlias = RandomPaths | FairPaths


def path_sampler(paths: str, ops: Sequence[str], blocks: Sequence[Block]) -> PathSampler:
    """Return a sampler of the paths of a supernet of these blocks, one of `PATHS`.

    Raises:
        ConfigError: the paths are fair, and some blocks are missing without which no step can train every op.
    """
    if paths == RANDOM:
        return RandomPaths(blocks=len(blocks))
    single = tuple(place for place, block in enumerate(blocks) if block.op0 is None)
    pairs = tuple(tuple(_pair(blocks, first, last) for last in ops) for first in ops)
    if single and len({blocks[place].op1 for place in single}) < len(ops):
        raise _unfair(len(blocks), "blocks of a single op are of some ops only")
    if len(single) < len(blocks):
        for first, row in zip(ops, pairs, strict=True):
            for last, pair in zip(ops, row, strict=True):
                if not pair:
                    raise _unfair(len(blocks), f"no block has {first} and then {last}")
    return FairPaths(single=single, pairs=pairs)


def _pair(blocks: Sequence[Block], first: str, last: str) -> tuple[int, ...]:
    return tuple(place for place, block in enumerate(blocks) if (block.op0, block.op1) == (first, last))


def _unfair(count: int, why: str) -> ConfigError:
    return ConfigError(
        f"distillation recipe: paths = '{FAIR}' cannot be drawn from these {count} blocks: {why}; distill all blocks of "
        f"the stage, or take paths = '{RANDOM}'"
    )

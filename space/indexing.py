"""Conversion between canonical indices and blocks: digits in base B, the first stage's the lowest.

B is the number of different blocks, 45 in Blox; a block is known by its number in `SpaceConfig.blocks`. `SpaceConfig` refuses
spaces whose indices do not fit int64. And random indices, drawn alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from space.config import SpaceConfig

# Text, so that naming an array in a signature does not import numpy.
FloatArray: TypeAlias = "NDArray[np.float64]"
IndexArray: TypeAlias = "NDArray[np.int64]"
BoolArray: TypeAlias = "NDArray[np.bool_]"


def blocks_of(config: SpaceConfig, index: int) -> tuple[int, ...]:
    """Return the block of each stage, first stage first, of the network at a canonical index within the space."""
    count, blocks = len(config.blocks), []
    for _ in config.widths:
        index, block = divmod(index, count)
        blocks.append(block)
    return tuple(blocks)


def index_of(config: SpaceConfig, blocks: Sequence[int]) -> int:
    """Return the canonical index of the network with these blocks, first stage first."""
    count, index = len(config.blocks), 0
    for block in reversed(blocks):
        index = index * count + block
    return index


def block_indices(config: SpaceConfig, indices: ArrayLike) -> IndexArray:
    """Return the block of each stage of networks (n,), shape (n, stages)."""
    import numpy as np

    rest = np.asarray(indices, dtype=np.int64)
    return np.stack(np.unravel_index(rest, (len(config.blocks),) * config.stages, order="F"), axis=1)


def indices_of(config: SpaceConfig, blocks: IndexArray) -> IndexArray:
    """Return the canonical indices of the networks with these blocks (..., stages), shape (...)."""
    import numpy as np

    places: IndexArray = len(config.blocks) ** np.arange(config.stages, dtype=np.int64)
    return blocks @ places


def random_words(seed: int) -> Callable[[], int]:
    """Return a source of random 64-bit words, the same for a seed on every machine and version of numpy.

    They are the raw words of PCG64 seeded through SeedSequence, whose streams numpy promises never to change (NEP 19), and not
    `Generator`'s, whose methods may change between versions.
    """
    from numpy.random import PCG64  # loaded only for draws

    return PCG64(seed).random_raw


def drawn(count: int, population: int, word: Callable[[], int]) -> Iterator[int]:
    """Yield `count` different numbers below `population` by Fisher-Yates; only moved entries are stored."""
    moved: dict[int, int] = {}
    for place in range(count):
        other = place + _below(population - place, word)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)


def _below(bound: int, word: Callable[[], int]) -> int:
    limit = 2**64 - 2**64 % bound  # words from here on would favour small remainders
    while (drawn := word()) >= limit:
        pass
    return drawn % bound

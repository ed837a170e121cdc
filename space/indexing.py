"""Conversion between canonical indices and blocks: digits in mixed radix, the first choice's the lowest.

A block is known by its place in `SpaceConfig.blocks`, and each choice has some of them, in Blox all 45 in every stage; a digit is
a block's place among those of its choice. `SpaceConfig` refuses spaces whose indices do not fit int64. And random indices, drawn
alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from space.errors import ArchitectureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from space.config import SpaceConfig

# Text, so that naming an array in a signature does not import numpy.
FloatArray: TypeAlias = "NDArray[np.float64]"
IndexArray: TypeAlias = "NDArray[np.int64]"
BoolArray: TypeAlias = "NDArray[np.bool_]"


def checked_index(config: SpaceConfig, index: int) -> int:
    """Return a canonical index. Raises: ArchitectureError where the space has no network of it."""
    if not 0 <= index < len(config):
        raise ArchitectureError(
            f"index {index}: space {config.name!r} has {len(config)} networks; give 0 to {len(config) - 1}"
        )
    return index


def blocks_of(config: SpaceConfig, index: int) -> tuple[int, ...]:
    """Return the block of each choice, first one first, of the network at a canonical index within the space."""
    blocks = []
    for places in config.choices:
        index, digit = divmod(index, len(places))
        blocks.append(places[digit])
    return tuple(blocks)


def index_of(config: SpaceConfig, blocks: Sequence[int]) -> int:
    """Return the canonical index of the network with these blocks, first choice first. Raises: KeyError for one of none."""
    index = 0
    for digits, block in zip(reversed(config.digits), reversed(blocks), strict=True):
        index = index * len(digits) + digits[block]
    return index


def block_indices(config: SpaceConfig, indices: ArrayLike) -> IndexArray:
    """Return the block of each choice of networks (n,), shape (n, stages)."""
    import numpy as np

    rest = np.asarray(indices, dtype=np.int64)
    digits = np.unravel_index(rest, config.radices, order="F")
    found = np.empty((*rest.shape, config.stages), dtype=np.int64)
    for stage, (places, digit) in enumerate(zip(_places(config), digits, strict=True)):
        found[..., stage] = places[digit]
    return found


@lru_cache(maxsize=64)
def _places(config: SpaceConfig) -> list[IndexArray]:
    """Return the blocks of each choice."""
    import numpy as np

    return [np.array(places, dtype=np.int64) for places in config.choices]


def network_texts(config: SpaceConfig, indices: ArrayLike) -> list[str]:
    """Return the texts of the networks at canonical indices (n,), those that `str` makes of each: its blocks, joined by "/"."""
    import numpy as np

    texts = np.array([str(block) for block in config.blocks], dtype=object)
    return list(map("/".join, zip(*texts[block_indices(config, indices)].T.tolist(), strict=True)))


def indices_of(config: SpaceConfig, blocks: IndexArray) -> IndexArray:
    """Return the canonical indices of the networks with these blocks (..., stages), shape (...).

    Each block is one of its choice: see `available`.
    """
    import numpy as np

    digit = np.zeros((config.stages, len(config.blocks)), dtype=np.int64)
    for stage, places in enumerate(config.choices):
        digit[stage, list(places)] = np.arange(len(places))
    weights = np.cumprod((1, *config.radices[:-1]), dtype=np.int64)
    found: IndexArray = digit[np.arange(config.stages), blocks] @ weights
    return found


def of_all_networks(
    config: SpaceConfig, constant: float, blocks: ArrayLike, join: Callable[..., Any] | None = None
) -> NDArray[Any]:
    """Return the sum of a constant and of the numbers of a network's blocks, (stages, B), for each network: (len(config),).

    `join`: a ufunc in place of the sum.
    """
    import numpy as np

    total = np.array([constant])
    for row, places in zip(np.asarray(blocks), config.choices, strict=True):
        # Later stages change more slowly: they go before the earlier ones.
        total = (join or np.add)(row[list(places), None], total[None, :]).ravel()
    return total


def available(config: SpaceConfig) -> BoolArray:
    """Return which blocks each choice has, (stages, B): all of them in Blox."""
    import numpy as np

    found = np.zeros((config.stages, len(config.blocks)), dtype=np.bool_)
    for stage, places in enumerate(config.choices):
        found[stage, list(places)] = True
    return found


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
    limit = 2**64 - 2**64 % bound  # words from here on would favor small remainders
    while (drawn := word()) >= limit:
        pass
    return drawn % bound

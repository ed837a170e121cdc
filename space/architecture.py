"""Architectures, and the spaces that are sequences of them: Blox, and three miniatures of it for training on a CPU.

An architecture has one block for each stage; it is a value with a text, vector, index and hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import index as as_index
from types import MappingProxyType
from typing import SupportsIndex, overload

from space import costs, hash_table, vectors
from space.block import Block
from space.config import SpaceConfig
from space.errors import ArchitectureError, did_you_mean, shown
from space.indexing import blocks_of, checked_index, drawn, index_of, random_words
from space.text import counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Space(SpaceConfig):
    """A search space as a sequence of its networks, in canonical order.

    >>> len(BLOX), str(BLOX[17]), BLOX[17].index
    (91125, 'bconv-mbconv+in/conv-conv/conv-conv', 17)
    >>> [network.index for network in BLOX[-2:]]
    [91123, 91124]
    >>> BLOX.sample(20, seed=1)[0] in BLOX
    True
    """

    def __repr__(self) -> str:
        return f"<Space {self.name} of {self.count:,} networks>"

    @overload
    def __getitem__(self, index: SupportsIndex) -> Architecture: ...

    @overload
    def __getitem__(self, index: slice) -> list[Architecture]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Architecture | list[Architecture]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [Architecture.from_index(place, self) for place in places]
        return Architecture.from_index(places, self)

    def __iter__(self) -> Iterator[Architecture]:
        return (Architecture.from_index(place, self) for place in range(len(self)))

    def __contains__(self, network: object) -> bool:
        return isinstance(network, Architecture) and network.config == self

    def sample(self, count: int, seed: int = 0) -> list[Architecture]:
        """Return `count` different networks, each as probable as any other: those of the selection `sample:COUNT@SEED`.

        Fewer of the same seed are the first ones of more.

        Raises:
            ArchitectureError: the space has fewer networks, or the seed is negative.
        """
        if seed < 0:
            raise ArchitectureError(f"seed = {seed}: give 0 or more")
        if not 0 < count <= len(self):
            raise ArchitectureError(
                f"a sample of {count} networks: space {self.name!r} has {len(self)}; give 1 to {len(self)}"
            )
        return [Architecture.from_index(place, self) for place in drawn(count, len(self), random_words(seed))]


# NeurIPS 2022, arXiv:2210.07271: CNNs on CIFAR-100; 45 ** 3 = 91,125 networks.
BLOX = Space(name="blox", ops=("conv", "mbconv", "bconv"), widths=(32, 64, 128), image_size=32, classes=100)

# The same blocks, small enough to train on a CPU: 45 ** 2 = 2,025 networks.
MINI = Space(name="mini", ops=("conv", "mbconv", "bconv"), widths=(8, 16), image_size=16, classes=10)

# The same networks on images of 8 x 8 pixels, a quarter of the work: for studies that train hundreds of them on a CPU.
TINY = Space(name="tiny", ops=("conv", "mbconv", "bconv"), widths=(8, 16), image_size=8, classes=10)

# Small networks of five stages: 45 ** 5 = 184,528,125, which nothing lists. What is said of all of them is said by sums over
# their blocks. Images of 32 x 32 pixels are the smallest that five reductions halve to one pixel.
DEEP = Space(
    name="deep", ops=("conv", "mbconv", "bconv"), widths=(4, 8, 16, 32, 64), image_size=32, classes=10
)


SPACES: Mapping[str, Space] = MappingProxyType({config.name: config for config in (BLOX, MINI, TINY, DEEP)})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Architecture:
    """A network of a space as its blocks, first stage first.

    Equal architectures have equal blocks and configurations. `str(a)` is a text such as
    `conv-mbconv+in/bconv/conv+mbconv` and `Architecture.parse` reads it back. `index` is the place in the
    canonical order of the space, in which the first stage's block changes fastest.

    Raises:
        ArchitectureError: the number of blocks is not the number of stages, or a block is not in the space.
    """

    blocks: tuple[Block, ...]
    config: SpaceConfig = BLOX
    index: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        table, digits = self.config.table, self.config.digits
        if len(self.blocks) != self.config.stages:
            raise ArchitectureError(
                f"architecture of {counted(len(self.blocks), 'block')}: space {self.config.name!r} has "
                f"{self.config.stages} stages; give one block for each"
            )
        indices = []
        for stage, block in enumerate(self.blocks):
            i = table.by_block.get(block, -1)
            if i not in digits[stage]:
                known = self.config.ops if i < 0 else [str(table.blocks[one]) for one in digits[stage]]
                raise ArchitectureError(
                    f"stage {stage}: block {shown(block)} is not in space {self.config.name!r}; "
                    f"its ops are {', '.join(known)}"
                )
            if table.blocks[i] is not block:  # share one object for each block; turn parallel twins round
                blocks = (*self.blocks[:stage], table.blocks[i], *self.blocks[stage + 1 :])
                object.__setattr__(self, "blocks", blocks)
            indices.append(i)
        object.__setattr__(self, "index", index_of(self.config, indices))

    def __hash__(self) -> int:
        return hash((self.index, self.config.name))

    def __repr__(self) -> str:
        return f"<Architecture {self} of {self.config.name}>"

    def __str__(self) -> str:
        return "/".join(map(str, self.blocks))

    @classmethod
    def parse(cls, text: str, config: SpaceConfig = BLOX) -> Architecture:
        """Read an architecture's text, or its published nested vector as JSON text.

        Raises:
            ArchitectureError: the text names no network of the space; the message names the stage.
        """
        text = text.strip()
        if text.startswith("["):
            try:
                vector = json.loads(text)
            except (ValueError, RecursionError) as error:  # a number may also have too many digits
                raise ArchitectureError(
                    f"vector {shown(text)} is not JSON: {error}; close every bracket"
                ) from error
            return cls.from_vector(vector, config)
        names = text.split("/")
        if len(names) != config.stages:
            raise ArchitectureError(
                f"architecture {shown(text)} has {counted(len(names), 'block')}; space {config.name!r} has "
                f"{counted(config.stages, 'stage')}: write one block for each stage, joined by '/'"
            )
        table = config.table
        for stage, name in enumerate(names):
            if table.by_text.get(name, -1) not in config.digits[stage]:
                known = [name for name, i in table.by_text.items() if i in config.digits[stage]]
                raise ArchitectureError(
                    f"architecture {shown(text)}: stage {stage} has no block {shown(name)}"
                    + (did_you_mean(name, known) or f"; blocks are made of {', '.join(config.ops)}")
                )
        return cls(blocks=tuple(table.blocks[table.by_text[name]] for name in names), config=config)

    @classmethod
    def from_index(cls, index: SupportsIndex, config: SpaceConfig = BLOX) -> Architecture:
        """Return the network at this place of the canonical order, 0 to len(config) - 1.

        Raises:
            ArchitectureError: the index is out of range.
        """
        index = checked_index(config, as_index(index))
        blocks, found = config.blocks, object.__new__(cls)  # the space's own blocks need none of the checks
        object.__setattr__(found, "blocks", tuple([blocks[i] for i in blocks_of(config, index)]))
        object.__setattr__(found, "config", config)
        object.__setattr__(found, "index", index)
        return found

    @classmethod
    def from_vector(cls, vector: object, config: SpaceConfig = BLOX) -> Architecture:
        """Return the network that a published nested vector means, canonical or not.

        Raises:
            ArchitectureError: the vector is malformed or disconnected; the message names the stage.
        """
        all_blocks = config.blocks
        return cls(
            blocks=tuple(all_blocks[i] for i in vectors.block_indices_of(vector, config)), config=config
        )

    @classmethod
    def from_hash(cls, hex_digest: str, config: SpaceConfig = BLOX) -> Architecture:
        """Return the network with this graph hash, 32 hex characters.

        Raises:
            ArchitectureError: no network of the space has this hash.
        """
        return cls.from_index(hash_table.index_of_hash(config, hex_digest), config)

    @property
    def graph_hash(self) -> str:
        """The key of the published data files, 32 hex characters; equal for equal graphs."""
        return hash_table.hash_at(self.config, self.index)

    @property
    def params(self) -> int:
        """The number of trainable parameters."""
        return costs.network_cost(self.config, self.index).params

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image by the count of `space.costs`."""
        return costs.network_cost(self.config, self.index).macs

    @property
    def vector(self) -> vectors.Vector:
        """The published nested vector, `[[op0], [op1, prev, inp, sc]]` for each stage, as a new list.

        Raises:
            ArchitectureError: the space is a chain of sites, whose networks have no vector.
        """
        by_block = self.config.table.by_block
        return vectors.vector_of([by_block[block] for block in self.blocks], self.config)

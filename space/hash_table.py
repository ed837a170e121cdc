"""Graph hashes of whole spaces: a table shipped with the package for Blox, computed at first use for others.

`blox_hashes.bin` holds the digests of the 91,125 networks of 3 stages and 3 ops in canonical order, 16 bytes
each and nothing else; `python -m space.regenerate` writes it. The hash knows ops by their place,
not by name or width, so that every space of that many stages and ops shares the table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from space.block import RawBlock, block_table
from space.config import SpaceConfig, check_enumerable, is_enumerable
from space.errors import ArchitectureError, shown
from space.indexing import BoolArray, IndexArray, blocks_of

TABLE_PATH = Path(__file__).with_name("blox_hashes.bin")
TABLE_OPS, TABLE_STAGES = 3, 3
_TABLE_NETWORKS = 91_125
DIGEST_BYTES = 16
HASH = re.compile(r"[0-9a-fA-F]{32}")
_MOST_KEPT = 1 << 16  # hashes computed one by one, of 150 bytes each
MAX_COMPUTED = 200_000  # networks whose hashes are computed at once, at 5,000 to 10,000 a second


def hash_at(config: SpaceConfig, index: int) -> str:
    """Return the graph hash, 32 hex characters, of the network at a canonical index."""
    if has_table(config):
        start = index * DIGEST_BYTES
        return digests(len(config.ops), config.stages)[start : start + DIGEST_BYTES].hex()
    if config.chain is not None:
        return chain_digest(config, index).hex()
    raw = block_table(config.ops).raw
    return _computed_hash(tuple(raw[i] for i in blocks_of(config, index)), len(config.ops))


def hashes_at(config: SpaceConfig, indices: Iterable[int]) -> list[str]:
    """Return the graph hashes of the networks at canonical indices, as `hash_at` does of one."""
    if not has_table(config):
        return [hash_at(config, index) for index in indices]
    content, size = all_digests(config), DIGEST_BYTES
    return [content[index * size : (index + 1) * size].hex() for index in indices]


@lru_cache(maxsize=_MOST_KEPT)
def _computed_hash(raw_blocks: tuple[RawBlock, ...], op_count: int) -> str:
    from space.graphhash import network_hash  # numpy is needed only without the table

    return network_hash(raw_blocks, op_count)


def index_of_hash(config: SpaceConfig, hex_digest: str) -> int:
    """Return the canonical index of the network with this graph hash.

    Raises:
        ArchitectureError: the text is no hash, no network has it, or the space is too large to search.
    """
    if not HASH.fullmatch(hex_digest):
        raise ArchitectureError(
            f"hash {shown(hex_digest)} is not a graph hash; give 32 hexadecimal characters"
        )
    if not is_hashed_whole(config):
        raise ArchitectureError(
            f"hash {hex_digest}: the {len(config)} networks of space {config.name!r} are too many to search; "
            "name the network by its text or index"
        )
    digest = bytes.fromhex(hex_digest)
    index = _places(config).get(digest)
    if index is None:
        raise ArchitectureError(
            f"hash {hex_digest}: no network of space {config.name!r} has it; "
            "check that it belongs to this space and was copied whole"
        )
    return index


def has_table(config: SpaceConfig) -> bool:
    """Return whether the shipped table holds the hashes of this space."""
    return config.chain is None and (len(config.ops), config.stages) == (TABLE_OPS, TABLE_STAGES)


def is_hashed_whole(config: SpaceConfig) -> bool:
    """Return whether the hashes of all networks of a space are shipped, or few enough to be computed."""
    return has_table(config) or len(config) <= MAX_COMPUTED


def chain_digest(config: SpaceConfig, index: int) -> bytes:
    """Return the digest of a network of a chain, 16 bytes: of the graphs of the modules that it runs, in their order.

    Modules that give back what they are given are left out, so that networks which differ only in where these stand are equal.
    """
    chain = config.chain
    assert chain is not None
    blocks = tuple([config.blocks[i] for i in blocks_of(config, index)])
    run = [chain.stem, *(module for _, _, module in chain.modules(blocks)), chain.head]
    text = " ".join(module.traced.digest for module in run if not module.traced.passes)
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


def network_key(config: SpaceConfig, index: int) -> int | bytes:
    """Return a key that two names of a space share exactly if they are of one network; for spaces of any size."""
    return index if config.chain is None else chain_digest(config, index)


@lru_cache(maxsize=8)
def digests(op_count: int, stages: int) -> bytes:
    """Return the digests of all networks of a space, 16 bytes each, in canonical order; read or computed once.

    Raises:
        ArchitectureError: the shipped table is damaged.
    """
    if (op_count, stages) != (TABLE_OPS, TABLE_STAGES):
        from space.graphhash import all_hashes

        return all_hashes(op_count, stages)
    content = TABLE_PATH.read_bytes()
    if len(content) != _TABLE_NETWORKS * DIGEST_BYTES:
        raise ArchitectureError(
            f"{TABLE_PATH}: {len(content)} bytes instead of {_TABLE_NETWORKS * DIGEST_BYTES}; "
            "write it again with python -m space.regenerate"
        )
    return content


def all_digests(config: SpaceConfig) -> bytes:
    """Return the digests of all networks of a space, 16 bytes each, in canonical order; as `digests`."""
    return digests(len(config.ops), config.stages) if config.chain is None else _chain_digests(config)


@lru_cache(maxsize=8)
def _places(config: SpaceConfig) -> Mapping[bytes, int]:
    """Return the index of each digest: of equal networks of a chain the first."""
    content = all_digests(config)
    starts = range(0, len(content), DIGEST_BYTES)[::-1]
    return {content[start : start + DIGEST_BYTES]: start // DIGEST_BYTES for start in starts}


@lru_cache(maxsize=8)
def first_equals(config: SpaceConfig) -> IndexArray:
    """Return of each network of a space the first that has the same graph, by canonical index: (len(config),), mostly itself.

    Networks of one graph have one graph hash: in a chain those that differ only in where modules stand that give back what they
    are given, or in the names of modules that are alike.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    import numpy as np

    check_enumerable(config, "which networks are one", "compare graph hashes of networks by name")
    indices = np.arange(len(config), dtype=np.int64)
    if config.chain is None:
        return indices
    number = {"": 0}  # of the graph of each module, 0 of what gives back what it is given
    graphs = [
        [
            number.setdefault(one.traced.digest * (not one.traced.passes), len(number))
            for one in site.candidates
        ]
        for site in config.chain.sites
    ]
    if all(0 not in row and len(set(row)) == len(row) for row in graphs):
        return indices
    digits = np.unravel_index(indices, config.radices, order="F")
    # The graphs in their order, without those that do nothing.
    run = np.zeros((len(config), len(graphs)), dtype=np.uint16)
    count = np.zeros(len(config), dtype=np.int64)
    for row, site in zip(graphs, config.chain.sites, strict=True):
        graph = np.array(row, dtype=np.uint16)[0 if site.choice is None else digits[site.choice]]
        run[indices, count] += graph
        count += graph != 0
    keys = run.view(np.dtype((np.void, run.itemsize * run.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    found: IndexArray = first[inverse].astype(np.int64)
    return found


def first_names(config: SpaceConfig, indices: IndexArray) -> IndexArray:
    """Return of each network (n,) the first with the same graph, (n,): of its space, or of those given where it is too large."""
    import numpy as np

    if is_enumerable(config):
        return first_equals(config)[indices]
    keys = [network_key(config, index) for index in indices.tolist()]
    first: dict[int | bytes, int] = {}
    for index, key in sorted(zip(indices.tolist(), keys, strict=True)):
        first.setdefault(key, index)
    return np.array([first[key] for key in keys], dtype=np.int64)


def are_among(config: SpaceConfig, indices: IndexArray, others: IndexArray) -> BoolArray:
    """Return which networks (n,) are among others (m,), by whatever names, (n,); for spaces of any size."""
    import numpy as np

    keys = {network_key(config, index) for index in others.tolist()}
    return np.array([network_key(config, index) in keys for index in indices.tolist()], dtype=np.bool_)


@lru_cache(maxsize=8)
def is_first(config: SpaceConfig) -> BoolArray:
    """Return which networks of a space are the first with their graph, (len(config),). Raises: as `first_equals`."""
    import numpy as np

    first = first_equals(config)
    found: BoolArray = first == np.arange(len(first))
    return found


@lru_cache(maxsize=8)
def _chain_digests(config: SpaceConfig) -> bytes:
    return b"".join(chain_digest(config, index) for index in range(len(config)))

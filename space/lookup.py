"""Look-up of a network's canonical index by any of its names, in microseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import index as as_index
from typing import SupportsIndex, TypeAlias

from space import hash_table
from space.architecture import BLOX, Architecture
from space.block import block_table
from space.config import SpaceConfig
from space.errors import ArchitectureError, shown
from space.indexing import checked_index, index_of

# An architecture, its index, or as text: graph hash, index, blocks, vector in JSON; or the nested vector itself.
Named: TypeAlias = Architecture | SupportsIndex | str | Sequence[object]

_INDEX = re.compile(r"-?[0-9]{1,20}")
_SPACES = str.maketrans("", "", " \t\r\n")


def canonical_index(name: Named, config: SpaceConfig = BLOX) -> int:
    """Return the canonical index of a network, given by any of its names.

    Raises:
        ArchitectureError: it names no network of the space.
    """
    if isinstance(name, str):
        return _place_of_text(name, config)
    if isinstance(name, Architecture):
        if name.config is not config and name.config != config:
            raise ArchitectureError(
                f"architecture {name} is of space {name.config.name!r}, not {config.name!r}; "
                "look it up in data of its own space"
            )
        return name.index
    if isinstance(name, list | tuple):
        return Architecture.from_vector(name, config).index
    try:
        if isinstance(name, bool):
            raise TypeError
        place = as_index(name)  # type: ignore[arg-type]  # numpy's whole numbers, too
    except TypeError as error:
        raise ArchitectureError(
            f"{shown(name)} names no network; give an architecture, its text, vector, index or graph hash"
        ) from error
    return checked_index(config, place)


def _place_of_text(text: str, config: SpaceConfig) -> int:
    text = text.strip()
    if hash_table.HASH.fullmatch(text):
        return hash_table.index_of_hash(config, text)
    by_text = config.table.by_text
    names = text.split("/")
    if len(names) == config.stages:
        blocks = [by_text.get(name, -1) for name in names]
        if all(block in digits for block, digits in zip(blocks, config.digits, strict=True)):
            return index_of(config, blocks)
    if _INDEX.fullmatch(text):
        return checked_index(config, int(text))
    if text.startswith("[") and config.chain is None:
        # A stage's text is one of few, so that no JSON need be read for what is written as most people write it.
        known = _stage_texts(config.ops)
        stages = text.translate(_SPACES)[1:-1].replace("]],[[", "]] [[").split(" ")
        blocks = [known.get(stage, -1) for stage in stages]
        if len(blocks) == config.stages and min(blocks) >= 0 and text.endswith("]"):
            return index_of(config, blocks)
    return Architecture.parse(text, config).index


@lru_cache(maxsize=8)
def _stage_texts(ops: tuple[str, ...]) -> Mapping[str, int]:
    """Return the block of each valid stage of a vector, written as JSON without spaces."""
    return {
        f"[[{op0}],[{op1},{prev},{inp},{sc}]]": block
        for (op0, op1, prev, inp, sc), block in block_table(ops).by_raw.items()
    }

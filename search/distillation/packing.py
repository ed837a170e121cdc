"""A block's weights packed into two tensors, which are read, written and hashed much faster than a hundred small ones.

    packed = pack(state, block, stage)            # {"values": float32 (n,), "counts": int64 (m,)}
    state = unpack(packed, block, stage)          # a state dict of `space.networks.build_stage`, views of the two

`values` holds all weights and running means one after another in the order of the state dict, `counts` the number of batches that
each BatchNorm has seen. In a chain, whose modules may be rewritten, `layers` is the digest of the layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from space import Block
from space.errors import ConfigError
from space.module_functions import source_digest
from space.networks import stage_shapes
from space.stages import SpaceStage

DTYPES = {"values": torch.float32, "counts": torch.int64}
Shapes = Mapping[str, tuple[int, ...]]
Layout = Mapping[str, tuple[tuple[int, ...], str]]  # the shape of each tensor, and which of `DTYPES` holds it


def pack(state: Mapping[str, Tensor], block: Block, stage: SpaceStage) -> dict[str, Any]:
    """Return the state dict of a block of a stage as two tensors, in a chain with the digest of the layout.

    Raises:
        ConfigError: it is not one of this block in this stage.
    """
    layout, shapes = layout_of(block, stage), shapes_of(block, stage)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in {**shapes, **found}:
        if found.get(name) != shapes.get(name):
            raise ConfigError(
                f"block {block} of stage {stage.number}: {name} is {found.get(name, 'not there')} in the weights, "
                f"{shapes.get(name, 'not there')} in the block"
            )
    tensors = {
        kind: torch.cat(
            [
                torch.empty(0, dtype=dtype),
                *(state[name].detach().reshape(-1) for name, (_, one) in layout.items() if one == kind),
            ]
        )
        for kind, dtype in DTYPES.items()
    }
    return tensors if stage.config.chain is None else {**tensors, "layers": _digest(layout)}


def unpack(packed: Mapping[str, Any], block: Block, stage: SpaceStage) -> dict[str, Tensor]:
    """Return the packed tensors, as views of the two.

    Raises:
        ConfigError: the tensors are not those of this block in this stage, as its code makes it now.
    """
    layout = layout_of(block, stage)
    if stage.config.chain is not None and packed.get("layers") != _digest(layout):
        raise ConfigError(
            f"block {block} of stage {stage.number}: its weights have other names, shapes or another order than those of the "
            "module that your code makes now, and can be read once it is put back as it was"
        )
    sizes = {kind: [math.prod(shape) for shape, one in layout.values() if one == kind] for kind in DTYPES}
    for name, dtype in DTYPES.items():
        tensor, length = packed.get(name), sum(sizes[name])
        if not isinstance(tensor, Tensor) or tensor.shape != (length,) or tensor.dtype != dtype:
            told = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else "not there"
            raise ConfigError(
                f"block {block}: its {name} are {told}, and {dtype} ({length},) in stage {stage.number}"
            )
    parts = {kind: iter(torch.split(packed[kind], sizes[kind])) for kind in DTYPES}
    return {name: next(parts[kind]).view(shape) for name, (shape, kind) in layout.items()}


def shapes_of(block: Block, stage: SpaceStage) -> Shapes:
    """Return the shapes in the state dict of `space.networks.build_stage`, in its order."""
    return {name: shape for name, (shape, _) in layout_of(block, stage).items()}


def layout_of(block: Block, stage: SpaceStage) -> Layout:
    """Return the shapes in the state dict of `space.networks.build_stage`, in its order, with where each tensor is packed.

    Raises:
        ConfigError: a module's weights are neither float32 nor int64.
    """
    chain, sources = stage.config.chain, list[str]()
    if chain is not None:
        run = [chain.sites[place].runs(block) for place in stage.sites]
        sources = [source_digest(module.function, chain.folder) for module in run]
    return _layout_of(block, stage, tuple(sources))


def _digest(layout: Layout) -> str:
    """Return the digest of names, shapes and types, in their order: 64 hexadecimal characters."""
    return sha256(repr(list(layout.items())).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _layout_of(block: Block, stage: SpaceStage, sources: tuple[str, ...]) -> Layout:
    """Return the layout of a block. `sources`: digests of the files of its modules, which may change."""
    found = {}
    for name, tensor in stage_shapes(stage, block).state_dict().items():
        kinds = [kind for kind, dtype in DTYPES.items() if dtype == tensor.dtype]
        if not kinds:
            raise ConfigError(
                f"block {block} of stage {stage.number}: {name} is of {tensor.dtype}, and libraries keep weights of float32 and "
                "int64 alone; give it one of them"
            )
        found[name] = (tuple(tensor.shape), kinds[0])
    return found

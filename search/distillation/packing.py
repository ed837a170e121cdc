"""A block's weights packed into two tensors, which are read, written and hashed much faster than a hundred small ones.

    packed = pack(state, block, width)            # {"values": float32 (n,), "counts": int64 (m,)}
    state = unpack(packed, block, width)          # a state dict of `space.networks.Stage(block, width)`, views of the two

`values` holds all weights and running means one after another in the order of the state dict, `counts` the numbers of batches
that each BatchNorm has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from space import Block
from space.errors import ConfigError
from space.networks import build_op, build_reduction

Shapes = Mapping[str, tuple[int, ...]]


def pack(state: Mapping[str, Tensor], block: Block, width: int) -> dict[str, Tensor]:
    """Return a stage's state dict as two tensors.

    Raises:
        ConfigError: it is not one of this block at this width.
    """
    shapes = shapes_of(block, width)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in {**shapes, **found}:
        if found.get(name) != shapes.get(name):
            raise ConfigError(
                f"block {block} of width {width}: {name} is {found.get(name, 'not there')} in the weights, "
                f"{shapes.get(name, 'not there')} in the block"
            )
    counts = [state[name].reshape(1) for name, shape in shapes.items() if not shape]
    return {
        "values": torch.cat([state[name].detach().reshape(-1) for name, shape in shapes.items() if shape]),
        "counts": torch.cat(counts),
    }


def unpack(packed: Mapping[str, Any], block: Block, width: int) -> dict[str, Tensor]:
    """Return what was packed, as views of the two tensors.

    Raises:
        ConfigError: the tensors are not those of this block at this width.
    """
    shapes = shapes_of(block, width)
    wanted = {
        "values": (sum(math.prod(shape) for shape in shapes.values() if shape), torch.float32),
        "counts": (sum(not shape for shape in shapes.values()), torch.int64),
    }
    for name, (length, dtype) in wanted.items():
        tensor = packed.get(name)
        if not isinstance(tensor, Tensor) or tensor.shape != (length,) or tensor.dtype != dtype:
            told = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else "not there"
            raise ConfigError(
                f"block {block}: its {name} are {told}, and {dtype} ({length},) at width {width}"
            )
    values = iter(torch.split(packed["values"], [math.prod(shape) for shape in shapes.values() if shape]))
    counts = iter(packed["counts"].unbind())
    return {name: next(values).view(shape) if shape else next(counts) for name, shape in shapes.items()}


@lru_cache(maxsize=1024)
def shapes_of(block: Block, width: int) -> Shapes:
    """Return the shapes in the state dict of `space.networks.Stage(block, width)`, in its order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, op in (("op0", block.op0), ("op1", block.op1)):
        if op is not None:
            shapes |= {f"cell.{name}.{key}": shape for key, shape in _op_shapes(op, width).items()}
    return shapes | {f"reduction.{key}": shape for key, shape in _reduction_shapes(width).items()}


@lru_cache(maxsize=64)
def _op_shapes(op: str, width: int) -> Shapes:
    with torch.device("meta"):  # shapes alone: nothing is drawn
        return _shapes(build_op(op, width))


@lru_cache(maxsize=64)
def _reduction_shapes(width: int) -> Shapes:
    with torch.device("meta"):
        return _shapes(build_reduction(width))


def _shapes(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}

"""Torch tensors as TensorFlow tensors whose axes may stand in another order. Imports tensorflow.

A feature map (B, C, H, W) of torch stands as (B, H, W, C), as TFLite computes. A value knows where each of torch's axes
stands, so that a permutation moves nothing: it renames axes. Only what needs an order that is not there transposes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of TensorFlow, or of numpy where it is constant; `order` holds torch's axis at each of its places."""

    tensor: Any
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.tensor, np.generic):  # which numpy makes of what it computes without axes
            object.__setattr__(self, "tensor", np.asarray(self.tensor))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in torch's order."""
        found = [0] * len(self.order)
        for place, axis in enumerate(self.order):
            found[axis] = int(self.tensor.shape[place])
        return tuple(found)

    def places(self, axes: Sequence[int]) -> list[int]:
        """Return where torch's axes stand; negative ones count from the last."""
        return [self.order.index(axis % len(self.order)) for axis in axes]

    def with_tensor(self, tensor: Any) -> Value:
        """Return another tensor in the same order."""
        return Value(tensor=tensor, order=self.order)


def plain_order(rank: int) -> tuple[int, ...]:
    """Return torch's own order."""
    return tuple(range(rank))


def boundary_order(rank: int) -> tuple[int, ...]:
    """Return the order in which a tensor passes from one part to another: channels last in feature maps."""
    return CHANNELS_LAST if rank == len(CHANNELS_LAST) else plain_order(rank)


def constant(array: Any) -> Value:
    """Return an array of torch's order as a value."""
    return Value(tensor=np.asarray(array), order=plain_order(np.ndim(array)))


def arranged(value: Value, order: Sequence[int]) -> Value:
    """Return a value with its axes in another order; what moves nothing but axes of size 1 becomes a reshape."""
    order = tuple(order)
    if order == value.order:
        return value
    shape = value.shape
    if _long_axes(value.order, shape) == _long_axes(order, shape):
        moved = _reshaped(value.tensor, [shape[axis] for axis in order])
    else:
        places = [value.order.index(axis) for axis in order]
        transpose = np.transpose if isinstance(value.tensor, np.ndarray) else tf.transpose
        moved = transpose(value.tensor, places)
    return Value(tensor=moved, order=order)


def permuted(value: Value, axes: Sequence[int]) -> Value:
    """Return torch's `permute`: axis k becomes what axis `axes[k]` was."""
    new_axis = {axis % len(value.order): k for k, axis in enumerate(axes)}
    return Value(tensor=value.tensor, order=tuple(new_axis[axis] for axis in value.order))


def reshaped(value: Value, shape: Sequence[int]) -> Value:
    """Return torch's `reshape` to a shape without -1: axes are split and merged where they stand, as far as that is possible."""
    groups = _groups(value.shape, shape)
    groups.sort(key=lambda group: min(map(value.order.index, group[0])))
    merged = [axis for axes, _ in groups for axis in axes]
    if list(_long_axes(value.order, value.shape)) != merged:  # what is merged does not stand side by side
        value = arranged(value, (*(axis for axis in value.order if value.shape[axis] == 1), *merged))
    order = _order_of([axis for _, axes in groups for axis in axes], shape)
    return Value(tensor=_reshaped(value.tensor, [shape[axis] for axis in order]), order=order)


def together(values: Sequence[Value]) -> tuple[list[Any], tuple[int, ...]]:
    """Return tensors that TensorFlow broadcasts as torch would, and the order of axes of what they give.

    The order is that of the largest tensor that is computed; others, and constants, are brought into it.
    """
    rank = max(len(value.order) for value in values)
    computed = [value for value in values if not isinstance(value.tensor, np.ndarray)]
    leading = max(computed or values, key=lambda value: (len(value.order), math.prod(value.shape)))
    order = _extended(leading, rank).order
    tensors = [arranged(_extended(value, rank), order).tensor for value in values]
    # Constants alone keep every axis that the order names.
    return [_unpadded(tensor) for tensor in tensors] if computed else tensors, order


def _extended(value: Value, rank: int) -> Value:
    """Return a value with axes of size 1 before torch's first, as broadcasting adds them."""
    more = rank - len(value.order)
    if more == 0:
        return value
    order = (
        boundary_order(rank)
        if len(value.order) <= 1
        else (*range(more), *(axis + more for axis in value.order))
    )
    shape = (*([1] * more), *value.shape)
    return Value(tensor=_reshaped(value.tensor, [shape[axis] for axis in order]), order=order)


def _unpadded(tensor: Any) -> Any:
    """Return a constant without axes of size 1 before its first longer one, so that it can become an operator's bias."""
    if not isinstance(tensor, np.ndarray):
        return tensor
    return tensor.reshape(
        tensor.shape[next((k for k, n in enumerate(tensor.shape) if n != 1), tensor.ndim) :]
    )


def _reshaped(tensor: Any, shape: Sequence[int]) -> Any:
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    if isinstance(tensor, np.ndarray):
        return tensor.reshape(shape)
    return tf.reshape(tensor, [-1, *shape[1:]])  # so that a model's batch can be resized where it is loaded


def _long_axes(order: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axes longer than 1, in their order; where the others stand makes no difference to memory."""
    return tuple(axis for axis in order if shape[axis] != 1)


def _order_of(long_axes: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return an order in which axes longer than 1 stand as given: a usual one where there is one."""
    for order in (boundary_order(len(shape)), plain_order(len(shape))):
        if _long_axes(order, shape) == tuple(long_axes):
            return order
    return (*(axis for axis in range(len(shape)) if shape[axis] == 1), *long_axes)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return runs of old axes with the runs of new ones that they become, as short as possible, without axes of size 1."""
    left, right = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (old, new))
    groups = []
    while left:
        before, after = [left.pop(0)], [right.pop(0)]
        while (sizes := [math.prod(old[k] for k in before), math.prod(new[k] for k in after)])[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                before.append(left.pop(0))
            else:
                after.append(right.pop(0))
        groups.append((before, after))
    return groups

"""TensorFlow equivalents of a torch program's ops, on feature maps in NHWC. Imports torch and tensorflow.

Ops are named as in torch's ATen library, with their overload. A function takes the program's node and the op's arguments as
ATen's schema has them, tensors as `Value`. It raises ConversionError for arguments that it has no TensorFlow form for.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import fx
from torch._ops import OpOverload

from exporters.errors import ConversionError
from exporters.tensorflow_values import (
    CHANNELS_LAST,
    Value,
    arranged,
    constant,
    permuted,
    plain_order,
    reshaped,
    together,
)

_Pair = tuple[int, int]
# Ops whose results are no less than 0, by name and what follows their input; the last is ReLU6.
_NEVER_NEGATIVE = {
    ("relu.default",),
    ("sigmoid.default",),
    ("hardsigmoid.default",),
    ("hardtanh.default", 0.0),
}


def _same(node: fx.Node, x: Value, *arguments: Any, **named: Any) -> Value:
    return x


def _dropout(node: fx.Node, x: Value, p: float, train: bool) -> Value:
    if train and p:
        raise ConversionError(
            "it draws random numbers; call eval(), and pass training=self.training to functions"
        )
    return x


def _map(function: Callable[[Any], Any]) -> Callable[..., Value]:
    """Return an op that maps each number by itself; its further arguments change nothing."""
    return lambda node, x, *arguments, **named: x.with_tensor(function(x.tensor))


def _combine(function: Callable[[Any, Any], Any]) -> Callable[..., Value]:
    """Return an op on pairs of numbers, broadcast."""

    def op(node: fx.Node, a: Any, b: Any, *, alpha: float = 1) -> Value:
        a, b = _value(a), _value(b)
        if alpha != 1:
            b = _combine(operator.mul)(node, b, alpha)
        tensors, order = together([a, b])
        return Value(tensor=function(*tensors), order=order)

    return op


def _value(given: Any) -> Value:
    return given if isinstance(given, Value) else constant(np.float32(given))


def _weights(given: Any) -> Any:
    """Return a parameter's array; what is computed is none."""
    if not isinstance(given, Value) or not isinstance(given.tensor, np.ndarray):
        raise ConversionError("its weights are computed; they have to be constant")
    return given.tensor


def _pair(given: Any) -> tuple[int, int]:
    """Return a size for rows and columns; ATen shortens equal ones to one."""
    sizes = [given] if isinstance(given, int) else list(given)
    return (sizes[0], sizes[-1])


# --- convolutions and pooling -----------------------------------------------------------------------------------


def _conv2d(
    node: fx.Node,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    kernel = _weights(weight)
    _, inputs, *size = kernel.shape  # inputs of one group
    strides, dilations = _pair(stride), _pair(dilation)
    pads = _pads(padding, size, dilations)
    x, mode = _padded(x, pads, size, strides, dilations)
    if groups > 1 and inputs == 1:  # depthwise: each channel is read by outputs / groups filters
        filters = kernel.reshape(groups, -1, *size).transpose(2, 3, 0, 1)
        y = tf.raw_ops.DepthwiseConv2dNative(
            input=x.tensor,
            filter=filters,
            strides=[1, *strides, 1],
            padding=mode,
            dilations=[1, *dilations, 1],
        )
    else:
        y = tf.nn.conv2d(x.tensor, kernel.transpose(2, 3, 1, 0), strides, mode, dilations=dilations)
    return x.with_tensor(y if bias is None else tf.nn.bias_add(y, _weights(bias)))


def _pads(padding: Any, size: Sequence[int], dilations: _Pair) -> list[tuple[int, int]]:
    """Return rows before and after, then columns, of zeros as torch adds them."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(size, dilations, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in _pair(padding)]


def _padded(
    x: Value, pads: Sequence[_Pair], size: Sequence[int], strides: _Pair, dilations: _Pair
) -> tuple[Value, str]:
    """Return a feature map in NHWC and the padding that TensorFlow has to add, with zeros where that is not what torch adds."""
    x = arranged(x, CHANNELS_LAST)
    if not any(map(any, pads)):
        return x, "VALID"
    if all(map(_is_same, x.shape[2:], pads, size, strides, dilations)):
        return x, "SAME"
    return x.with_tensor(tf.pad(x.tensor, [(0, 0), *pads, (0, 0)])), "VALID"


def _is_same(length: int, pad: tuple[int, int], kernel: int, stride: int, dilation: int) -> bool:
    """Return whether TensorFlow's SAME places windows where torch's padding does; what is beyond the last one does not count."""
    span = dilation * (kernel - 1) + 1
    windows = (length + sum(pad) - span) // stride + 1
    total = max((windows - 1) * stride + span - length, 0)
    return windows == -(-length // stride) and total // 2 == pad[0]


def _max_pool2d(
    node: fx.Node,
    x: Value,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    size, strides, windows = _pool_geometry(node, kernel_size, stride)
    if _pair(dilation) != (1, 1):
        raise ConversionError("its windows are dilated; use dilation 1")
    x = arranged(x, CHANNELS_LAST)
    pads = _needed_pads(x, _pair(padding), size, strides, windows)
    if all(map(_is_same, x.shape[2:], pads, size, strides, (1, 1))):
        mode = "SAME"  # where TensorFlow leaves out what is beyond the edge
    else:
        x, mode = x.with_tensor(_edges(node, x.tensor, pads, size)), "VALID"
    return x.with_tensor(tf.nn.max_pool2d(x.tensor, size, strides, mode))


def _edges(node: fx.Node, tensor: Any, pads: Sequence[tuple[int, int]], size: _Pair) -> Any:
    """Add what changes no window's maximum: zeros to what is never negative; else, slower, the edges mirrored.

    Raises:
        ConversionError: a window does not hold what is mirrored into it.
    """
    if not any(map(any, pads)):
        return tensor
    source = node.all_input_nodes[0]
    if (op_name(source), *source.args[1:2]) in _NEVER_NEGATIVE:
        return tf.pad(tensor, [(0, 0), *pads, (0, 0)])
    if any(2 * pad > k for both, k in zip(pads, size, strict=True) for pad in both):
        raise ConversionError("over half of a window is beyond the edge; use ceil_mode=False")
    return tf.pad(tensor, [(0, 0), *pads, (0, 0)], "SYMMETRIC")


def _avg_pool2d(
    node: fx.Node,
    x: Value,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    size, strides, windows = _pool_geometry(node, kernel_size, stride)
    x = arranged(x, CHANNELS_LAST)
    pads = _needed_pads(x, _pair(padding), size, strides, windows)
    ones = torch.ones(1, 1, *x.shape[2:])
    theirs = torch.nn.functional.avg_pool2d(
        ones, size, strides, _pair(padding), ceil_mode, count_include_pad, divisor_override
    )
    if not any(map(any, pads)):
        mode, ours = "VALID", torch.ones_like(theirs)
    elif all(map(_is_same, x.shape[2:], pads, size, strides, (1, 1))):
        mode, ours = "SAME", torch.ones_like(theirs)  # TensorFlow divides by what is within the edges
    else:
        mode, x = "VALID", x.with_tensor(tf.pad(x.tensor, [(0, 0), *pads, (0, 0)]))
        (top, bottom), (left, right) = pads
        ours = torch.nn.functional.avg_pool2d(
            torch.nn.functional.pad(ones, [left, right, top, bottom]), size, strides
        )
    y = tf.nn.avg_pool2d(x.tensor, size, strides, mode)
    if not torch.equal(ours, theirs):  # torch divides by another number, at the edges or everywhere
        y = y * (theirs / ours).numpy().transpose(CHANNELS_LAST)
    return x.with_tensor(y)


def _pool_geometry(node: fx.Node, kernel_size: Any, stride: Any) -> tuple[_Pair, _Pair, _Pair]:
    """Return size and strides of the windows, and how many there are of rows and columns."""
    size = _pair(kernel_size)
    rows, columns = node.meta["val"].shape[2:]
    return size, (_pair(stride) if stride else size), (rows, columns)


def _needed_pads(
    x: Value, padding: _Pair, size: _Pair, strides: _Pair, windows: _Pair
) -> list[tuple[int, int]]:
    """Return the padding that windows need: less than torch's after the last one, more with `ceil_mode`."""
    return [
        (pad, max(0, (count - 1) * stride + k - length - pad))
        for length, pad, k, stride, count in zip(x.shape[2:], padding, size, strides, windows, strict=True)
    ]


def _adaptive_avg_pool2d(node: fx.Node, x: Value, output_size: Any) -> Value:
    target, shape = _pair(output_size), x.shape
    if target == (1, 1):
        return _mean(node, x, (2, 3), keepdim=True)
    if any(length % wanted for length, wanted in zip(shape[2:], target, strict=True)):
        raise ConversionError(
            f"{shape[2]} x {shape[3]} pixels are no multiple of the {target[0]} x {target[1]} that it pools to; "
            "use one pixel, or AvgPool2d"
        )
    size = [length // wanted for length, wanted in zip(shape[2:], target, strict=True)]
    return _avg_pool2d(node, x, size)


def _adaptive_max_pool2d(node: fx.Node, x: Value, output_size: Any) -> list[Value | None]:
    if _pair(output_size) != (1, 1):
        raise ConversionError("it pools to more than one pixel; use MaxPool2d")
    return [_reduce(tf.reduce_max)(node, x, (2, 3), True), None]  # without the places of the maxima


def _mean(
    node: fx.Node, x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False, **named: Any
) -> Value:
    is_flattened = bool(node.users) and all(map(_is_flattening, node.users))  # which saves the reshape
    return _reduce(tf.reduce_mean)(node, x, dim, keepdim and not is_flattened)


def _is_flattening(node: fx.Node) -> bool:
    """Return whether a node's output is (B, C), by a flattening or a view."""
    return (
        op_name(node) in {"flatten.using_ints", "view.default", "reshape.default"}
        and node.meta["val"].ndim == 2
    )


def _reduce(function: Callable[..., Any]) -> Callable[..., Value]:
    """Return an op that reduces axes, all of them where none is named."""

    def op(
        node: fx.Node, x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False, **named: Any
    ) -> Value:
        rank = len(x.order)
        given = range(rank) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
        axes = {axis % rank for axis in given}
        y = function(x.tensor, sorted(x.places([*axes])), keepdims=keepdim)
        if keepdim:
            return x.with_tensor(y)
        kept = [axis for axis in range(rank) if axis not in axes]
        return Value(tensor=y, order=tuple(kept.index(axis) for axis in x.order if axis not in axes))

    return op


def _upsample(node: fx.Node, x: Value, align_corners: bool | None) -> Value:
    """Resize by whole factors, for which torch and TensorFlow agree: bilinearly, or to the nearest where no corners are given."""
    x, size = arranged(x, CHANNELS_LAST), list(node.meta["val"].shape[2:])
    if any(after % before for before, after in zip(x.shape[2:], size, strict=True)):
        raise ConversionError(
            f"it resizes {x.shape[2]} x {x.shape[3]} to {size[0]} x {size[1]}; use a whole factor"
        )
    if align_corners is None:
        return x.with_tensor(tf.raw_ops.ResizeNearestNeighbor(images=x.tensor, size=size))
    y = tf.raw_ops.ResizeBilinear(
        images=x.tensor, size=size, align_corners=align_corners, half_pixel_centers=not align_corners
    )
    return x.with_tensor(y)


# --- normalization and matrix products --------------------------------------------------------------------------


def _batch_norm(
    node: fx.Node,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    if training or mean is None or var is None:
        raise ConversionError("it normalizes by the batch; call eval() and keep running statistics")
    scale = 1 / np.sqrt(_weights(var) + np.float32(eps))
    if weight is not None:
        scale = scale * _weights(weight)
    shift = -_weights(mean) * scale
    if bias is not None:
        shift = shift + _weights(bias)
    return _affine(x, scale, shift, axis=1)


def _affine(x: Value, scale: Any | None, shift: Any | None, axis: int) -> Value:
    """Scale and shift along one axis of torch."""
    for function, array in ((operator.mul, scale), (operator.add, shift)):
        if array is not None:
            shape = [1] * len(x.order)
            shape[axis] = -1
            tensors, order = together([x, constant(array.reshape(shape))])
            x = Value(tensor=function(*tensors), order=order)
    return x


def _layer_norm(
    node: fx.Node,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    rank, axes = len(x.order), len(normalized_shape)
    y = x.with_tensor(_normalized(x.tensor, x.places(range(rank - axes, rank)), eps))
    for function, given in ((operator.mul, weight), (operator.add, bias)):
        if given is not None:
            y = _combine(function)(node, y, given)
    return y


def _normalized(tensor: Any, places: Sequence[int], eps: float) -> Any:
    """Subtract the mean and divide by the standard deviation over some axes."""
    places = sorted(places)
    centered = tensor - tf.reduce_mean(tensor, places, keepdims=True)
    variance = tf.reduce_mean(centered * centered, places, keepdims=True)
    return centered * tf.math.rsqrt(variance + eps)


def _group_norm(
    node: fx.Node,
    x: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    shape = x.shape
    grouped = reshaped(x, (shape[0], num_groups, shape[1] // num_groups, math.prod(shape[2:])))
    y = grouped.with_tensor(_normalized(grouped.tensor, grouped.places((2, 3)), eps))
    scale, shift = (None if given is None else _weights(given) for given in (weight, bias))
    return _affine(reshaped(y, shape), scale, shift, axis=1)


def _instance_norm(
    node: fx.Node,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    if not use_input_stats:
        return _batch_norm(node, x, weight, bias, mean, var, False, momentum, eps, cudnn_enabled)
    return _group_norm(node, x, x.shape[1], weight, bias, eps)


def _linear(node: fx.Node, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Multiply the last axis by weights; on feature maps with their channels last that is a 1 x 1 convolution."""
    rank, matrix = len(x.order), np.ascontiguousarray(_weights(weight).T)
    x = arranged(x, (*(axis for axis in x.order if axis != rank - 1), rank - 1))
    addend = None if bias is None else _weights(bias)
    if rank == 4:
        y = tf.nn.conv2d(x.tensor, matrix[None, None], 1, "VALID")
        return x.with_tensor(y if addend is None else tf.nn.bias_add(y, addend))
    y = tf.linalg.matmul(x.tensor, matrix)
    return x.with_tensor(y if addend is None else y + addend)


def _matmul(node: fx.Node, a: Value, b: Value) -> Value:
    ranks = len(a.order), len(b.order)
    if ranks[0] != ranks[1] or ranks[0] < 2:
        raise ConversionError(
            f"it multiplies tensors of {ranks[0]} and {ranks[1]} axes; use equally many, at least 2"
        )
    order = plain_order(ranks[0])
    y = tf.linalg.matmul(arranged(a, order).tensor, arranged(b, order).tensor)
    return Value(tensor=y, order=order)


def _softmax(node: fx.Node, x: Value, dim: int, *arguments: Any, **named: Any) -> Value:
    axis = dim % len(x.order)
    x = arranged(x, (*(one for one in x.order if one != axis), axis))
    return x.with_tensor(tf.nn.softmax(x.tensor))


# --- activations ------------------------------------------------------------------------------------------------


def _clip(node: fx.Node, x: Value, low: float | None = None, high: float | None = None) -> Value:
    if (low, high) == (0, 6):
        return x.with_tensor(tf.nn.relu6(x.tensor))
    if (low, high) == (0, None):
        return x.with_tensor(tf.nn.relu(x.tensor))
    y = x.tensor
    y = y if low is None else tf.maximum(y, np.float32(low))
    return x.with_tensor(y if high is None else tf.minimum(y, np.float32(high)))


def _gelu(node: fx.Node, x: Value, *, approximate: str = "none") -> Value:
    return x.with_tensor(tf.nn.gelu(x.tensor, approximate == "tanh"))


def _hardsigmoid(x: Any) -> Any:
    return tf.nn.relu6(x + np.float32(3)) * np.float32(1 / 6)


def _hardswish(x: Any) -> Any:
    return x * _hardsigmoid(x)


def _leaky_relu(node: fx.Node, x: Value, negative_slope: float = 0.01) -> Value:
    return x.with_tensor(tf.nn.leaky_relu(x.tensor, negative_slope))


def _elu(node: fx.Node, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise ConversionError("it is scaled; use ELU with alpha 1")
    return x.with_tensor(tf.nn.elu(x.tensor))


def _prelu(node: fx.Node, x: Value, weight: Value) -> Value:
    slopes = _weights(weight).reshape(1, -1, *[1] * (len(x.order) - 2))
    (tensor, slope), order = together([x, constant(slopes)])
    return Value(tensor=tf.nn.relu(tensor) - slope * tf.nn.relu(-tensor), order=order)


def _softplus(node: fx.Node, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    if beta != 1:
        raise ConversionError("it is scaled; use Softplus with beta 1")
    return x.with_tensor(_log1p_exp(x.tensor))


def _log1p_exp(x: Any) -> Any:
    return tf.nn.relu(x) + tf.math.log(tf.exp(-tf.abs(x)) + np.float32(1))


def _pow(node: fx.Node, x: Value, exponent: float) -> Value:
    functions: Mapping[float, Callable[[Any], Any]] = {
        2: tf.square,
        0.5: tf.sqrt,
        -0.5: tf.math.rsqrt,
        1: tf.identity,
    }
    if exponent not in functions:
        raise ConversionError(f"it raises to the power of {exponent}; use 2, 0.5 or -0.5")
    return x.with_tensor(functions[exponent](x.tensor))


# --- shapes -----------------------------------------------------------------------------------------------------


def _reshape(node: fx.Node, x: Value, *arguments: Any, **named: Any) -> Value:
    """Give a tensor the shape that torch found for the op, whatever it is called."""
    return reshaped(x, tuple(node.meta["val"].shape))


def _permute(node: fx.Node, x: Value, dims: Sequence[int]) -> Value:
    return permuted(x, dims)


def _transpose(node: fx.Node, x: Value, first: int, second: int) -> Value:
    axes = list(range(len(x.order)))
    axes[first], axes[second] = axes[second], axes[first]
    return permuted(x, axes)


def _concatenate(node: fx.Node, tensors: Sequence[Value], dim: int = 0) -> Value:
    order = max(tensors, key=lambda value: math.prod(value.shape)).order
    place = order.index(dim % len(order))
    return Value(tensor=tf.concat([arranged(value, order).tensor for value in tensors], place), order=order)


def _slice(
    node: fx.Node, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    cuts: list[Any] = [slice(None)] * len(x.order)
    (place,) = x.places((dim,))
    cuts[place] = slice(start or 0, None if end is None or end >= x.shape[dim] else end, step)
    return x if cuts[place] == slice(0, None, 1) else x.with_tensor(x.tensor[tuple(cuts)])


def _split(node: fx.Node, x: Value, sizes: Sequence[int] | int, dim: int = 0) -> list[Value]:
    length, starts = x.shape[dim], [0]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    for size in sizes:
        starts.append(starts[-1] + size)
    return [_slice(node, x, dim, a, b) for a, b in pairwise(starts)]


def _chunk(node: fx.Node, x: Value, chunks: int, dim: int = 0) -> list[Value]:
    return _split(node, x, -(-x.shape[dim] // chunks), dim)


def _select(node: fx.Node, x: Value, dim: int, index: int) -> Value:
    index %= x.shape[dim]
    return _reshape(node, _slice(node, x, dim, index, index + 1))


def _expand(node: fx.Node, x: Value, *arguments: Any, **named: Any) -> Value:
    """Broadcast reals by a product with ones, which takes any batch: TFLite's BROADCAST_TO names the number of images."""
    shape = tuple(node.meta["val"].shape)
    full = reshaped(x, (*[1] * (len(shape) - len(x.order)), *x.shape))
    sizes = [shape[axis] for axis in full.order]
    if isinstance(full.tensor, np.ndarray) or not full.tensor.dtype.is_floating:
        return full.with_tensor(tf.broadcast_to(full.tensor, sizes))
    added = [1 if size == before else size for size, before in zip(sizes, full.tensor.shape, strict=True)]
    return full.with_tensor(full.tensor * np.ones(added, np.float32)) if math.prod(added) > 1 else full


def _pad(
    node: fx.Node, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    rank = len(x.order)
    both = [(0, 0)] * (rank - len(pad) // 2) + [(pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    if min(pad) < 0 or mode not in ("constant", "reflect"):
        raise ConversionError(
            f"it pads by {list(pad)} in mode {mode!r}; use positive numbers, constant or reflect"
        )
    amounts = [both[axis] for axis in x.order]
    if mode == "reflect":
        return x.with_tensor(tf.pad(x.tensor, amounts, "REFLECT"))
    return x.with_tensor(tf.pad(x.tensor, amounts, constant_values=value or 0))


def _pixel_shuffle(node: fx.Node, x: Value, factor: int) -> Value:
    (batch, channels, height, width), inner = x.shape, (factor, factor)
    split = reshaped(x, (batch, channels // factor**2, *inner, height, width))
    moved = permuted(split, (0, 1, 4, 2, 5, 3))
    return reshaped(moved, (batch, channels // factor**2, height * factor, width * factor))


def _attention(
    node: fx.Node, query: Value, key: Value, value: Value, mask: Any = None, dropout: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Value:  # fmt: skip
    if dropout:
        raise ConversionError("it draws random numbers; give dropout_p = 0 where it does not train")
    if mask is not None or is_causal or enable_gqa:
        raise ConversionError("it has a mask; use attention without one")
    query = query.with_tensor(query.tensor * np.float32(scale or query.shape[-1] ** -0.5))
    scores = _matmul(node, query, _transpose(node, key, -2, -1))
    return _matmul(node, _softmax(node, scores, -1), value)


def op_name(node: fx.Node) -> str:
    """Return an op's name with its overload; other functions' own names."""
    return str(node.target).removeprefix("aten.") if isinstance(node.target, OpOverload) else str(node.target)


OPS: Mapping[str, Callable[..., Any]] = {
    # What batch_norm is called once in-place ops were taken out of the program; with the batch's mean and deviation.
    "_native_batch_norm_legit_no_training.default": lambda node, x, weight, bias, mean, var, momentum, eps: [
        _batch_norm(node, x, weight, bias, mean, var, False, momentum, eps, False),
        None,
        None,
    ],
    "_unsafe_view.default": _reshape,
    "abs.default": _map(tf.abs),
    "adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "adaptive_max_pool2d.default": _adaptive_max_pool2d,
    "add.Scalar": _combine(operator.add),
    "add.Tensor": _combine(operator.add),
    "alias.default": _same,
    "amax.default": _reduce(tf.reduce_max),
    "amin.default": _reduce(tf.reduce_min),
    "avg_pool2d.default": _avg_pool2d,
    "batch_norm.default": _batch_norm,
    "bmm.default": _matmul,
    "cat.default": _concatenate,
    "channel_shuffle.default": lambda node, x, groups: reshaped(
        permuted(reshaped(x, (x.shape[0], groups, -(-x.shape[1] // groups), *x.shape[2:])), (0, 2, 1, 3, 4)),
        x.shape,
    ),
    "chunk.default": _chunk,
    "clamp.default": _clip,
    "clamp_max.default": lambda node, x, high: _clip(node, x, None, high),
    "clamp_min.default": _clip,
    "clone.default": _same,
    "constant_pad_nd.default": lambda node, x, pad, value=0: _pad(node, x, pad, "constant", value),
    "contiguous.default": _same,
    "conv2d.default": _conv2d,
    "conv2d.padding": _conv2d,
    "detach.default": _same,
    "div.Scalar": _combine(operator.truediv),
    "div.Tensor": _combine(operator.truediv),
    "dropout.default": _dropout,
    "elu.default": _elu,
    "exp.default": _map(tf.exp),
    "expand.default": _expand,
    "feature_dropout.default": _dropout,
    "flatten.using_ints": _reshape,
    "gelu.default": _gelu,
    "group_norm.default": _group_norm,
    "hardsigmoid.default": _map(_hardsigmoid),
    "hardswish.default": _map(_hardswish),
    "hardtanh.default": lambda node, x, low=-1, high=1: _clip(node, x, low, high),
    "instance_norm.default": _instance_norm,
    "layer_norm.default": _layer_norm,
    "leaky_relu.default": _leaky_relu,
    "linear.default": _linear,
    "log.default": _map(tf.math.log),
    "matmul.default": _matmul,
    "max_pool2d.default": _max_pool2d,
    "maximum.default": _combine(tf.maximum),
    "mean.default": _reduce(tf.reduce_mean),
    "mean.dim": _mean,
    "minimum.default": _combine(tf.minimum),
    "mish.default": _map(lambda x: x * tf.tanh(_log1p_exp(x))),
    "mul.Scalar": _combine(operator.mul),
    "mul.Tensor": _combine(operator.mul),
    "neg.default": _map(tf.negative),
    "pad.default": _pad,
    "permute.default": _permute,
    "pixel_shuffle.default": _pixel_shuffle,
    "pow.Tensor_Scalar": _pow,
    "prelu.default": _prelu,
    "reciprocal.default": _map(lambda x: np.float32(1) / x),
    "relu.default": _map(tf.nn.relu),
    "relu6.default": _map(tf.nn.relu6),
    "reshape.default": _reshape,
    "rsqrt.default": _map(tf.math.rsqrt),
    "rsub.Scalar": lambda node, x, other, alpha=1: _combine(operator.sub)(node, other, x, alpha=alpha),
    "scaled_dot_product_attention.default": _attention,
    "select.int": _select,
    "sigmoid.default": _map(tf.sigmoid),
    "silu.default": _map(lambda x: x * tf.sigmoid(x)),
    "slice.Tensor": _slice,
    "softmax.int": _softmax,
    "softplus.default": _softplus,
    "split.Tensor": _split,
    "split_with_sizes.default": _split,
    "sqrt.default": _map(tf.sqrt),
    "square.default": _map(tf.square),
    "squeeze.default": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "sub.Scalar": _combine(operator.sub),
    "sub.Tensor": _combine(operator.sub),
    "sum.dim_IntList": _reduce(tf.reduce_sum),
    "tanh.default": _map(tf.tanh),
    "transpose.int": _transpose,
    "unflatten.int": _reshape,
    "unsqueeze.default": _reshape,
    "upsample_bilinear2d.vec": lambda node, x, size, align, factors: _upsample(node, x, align),
    "upsample_nearest2d.vec": lambda node, x, size, factors: _upsample(node, x, None),
    "view.default": _reshape,
}

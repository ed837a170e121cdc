"""PyTorch modules as TensorFlow graphs in NHWC. Imports torch and tensorflow; runs in the converter's process.

A traced module is walked node by node, so that every op that `space.networks` defines is lowered by the layers
it is made of. Feature maps are (1, H, W, C) here and (1, C, H, W) in torch; the two formats' models take images
in these two orders.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import fx, nn

from exporters.errors import ConversionError


def lower(module: nn.Module, *inputs: Any) -> Any:
    """Return the TensorFlow tensor that a module computes from others, its weights as constants.

    Raises:
        ConversionError: the module has a layer that is not in the tables below.
    """
    values: dict[fx.Node, Any] = {}
    given = iter(inputs)
    for node in fx.symbolic_trace(module).graph.nodes:
        arguments = [values.get(a, a) if isinstance(a, fx.Node) else a for a in node.args]
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "output":
            return arguments[0]
        elif node.op == "call_module":
            layer = module.get_submodule(str(node.target))
            if type(layer) not in LAYERS:
                raise ConversionError(f"layer {layer} has no TensorFlow form; add it to {__name__}.LAYERS")
            values[node] = LAYERS[type(layer)](layer, arguments[0], node)
        else:
            if node.target not in FUNCTIONS:
                raise ConversionError(
                    f"function {node.target} has no TensorFlow form; add it to {__name__}.FUNCTIONS"
                )
            values[node] = FUNCTIONS[node.target](*arguments)
    raise ConversionError(f"module {type(module).__name__} returns nothing")


def _conv(layer: nn.Conv2d, x: Any, node: fx.Node) -> Any:
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    weights = layer.weight.detach().numpy()
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    if not (depthwise or layer.groups == 1) or layer.dilation != (1, 1) or layer.padding_mode != "zeros":
        raise ConversionError(f"layer {layer} has no TensorFlow form; use groups 1 or depthwise, no dilation")
    if padding == (0, 0):
        mode = "VALID"
    elif isinstance(padding, str):
        raise ConversionError(f"layer {layer} has no TensorFlow form; give its padding in pixels")
    elif stride == (1, 1) and all(2 * p == k - 1 for p, k in zip(padding, kernel, strict=True)):
        mode = "SAME"
    else:  # with a stride, TensorFlow's SAME pads the other side than torch
        rows, columns = padding
        x = tf.pad(x, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
        mode = "VALID"
    if layer.groups == 1:
        y = tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), stride, mode)
    else:
        y = tf.nn.depthwise_conv2d(x, weights.transpose(2, 3, 0, 1), [1, *stride, 1], mode)
    return y if layer.bias is None else tf.nn.bias_add(y, layer.bias.detach().numpy())


def _pool(layer: nn.AdaptiveAvgPool2d, x: Any, node: fx.Node) -> Any:
    if layer.output_size not in (1, (1, 1)):
        raise ConversionError(f"layer {layer} has no TensorFlow form; pool to one pixel")
    flattened = all(user.target is torch.flatten for user in node.users)
    return tf.reduce_mean(x, [1, 2], keepdims=not flattened)


def _linear(layer: nn.Linear, x: Any, node: fx.Node) -> Any:
    return (
        tf.linalg.matmul(x, np.ascontiguousarray(layer.weight.detach().numpy().T))
        + layer.bias.detach().numpy()
    )


def _flatten(x: Any, start: int) -> Any:
    if len(x.shape) != 2:
        raise ConversionError(
            "only a globally pooled feature map can be flattened: the orders of axes differ"
        )
    return x


LAYERS: Mapping[type[nn.Module], Callable[..., Any]] = {
    nn.AdaptiveAvgPool2d: _pool,
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.ReLU: lambda layer, x, node: tf.nn.relu(x),
    nn.Sigmoid: lambda layer, x, node: tf.sigmoid(x),
}
FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    operator.add: operator.add,
    operator.mul: operator.mul,
    torch.flatten: _flatten,
}

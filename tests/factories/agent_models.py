"""Two tiny models with the same weights, one in each format, cut into parts."""

from __future__ import annotations

from typing import Any

import numpy as np

IMAGE = 16
CHANNELS = 3
CLASSES = 10


def make_weights(width: int, depth: int) -> list[np.ndarray]:
    """Return convolution kernels, (out, in, rows, columns); the last one covers the whole image."""
    random = np.random.default_rng(width)
    shapes = [(width, CHANNELS if index == 0 else width, 3, 3) for index in range(depth)]
    shapes.append((CLASSES, width, IMAGE, IMAGE))
    return [
        (random.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32) for shape in shapes
    ]


def onnx_parts(width: int, depth: int = 2, *, images: int | str = 1) -> list[bytes]:
    """Return [skeleton, weights...]: messages whose concatenation is the model, whose output is said to be of `images`."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx.onnx_ml_pb2 import ModelProto

    weights = make_weights(width, depth)
    nodes = []
    value = "image"
    for index in range(len(weights)):
        pad = 0 if index == depth else 1
        nodes.append(helper.make_node("Conv", [value, f"w{index}"], [f"y{index}"], pads=[pad] * 4))
        value = f"y{index}"
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", CHANNELS, IMAGE, IMAGE])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [images, CLASSES, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    parts = [model.SerializeToString()]
    for index, weight in enumerate(weights):
        part = ModelProto()
        part.graph.initializer.append(numpy_helper.from_array(weight, f"w{index}"))
        parts.append(part.SerializeToString())
    return parts


def tflite_parts(width: int, depth: int = 2, alignment: int = 16) -> list[bytes]:
    """Return [skeleton, weights...]: a flatbuffer whose buffers lie behind it, each aligned."""
    weights = [np.ascontiguousarray(weight.transpose(0, 2, 3, 1)) for weight in make_weights(width, depth)]
    size_bytes = len(tflite_skeleton(weights, [0] * len(weights)))
    offsets = []
    for weight in weights:
        size_bytes += -size_bytes % alignment
        offsets.append(size_bytes)
        size_bytes += weight.nbytes
    return [tflite_skeleton(weights, offsets), *(weight.tobytes() for weight in weights)]


def tflite_skeleton(weights: list[np.ndarray], offsets: list[int]) -> bytes:
    """Return a flatbuffer with 2D convolutions. weights: (out, rows, columns, in)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CONV_2D
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    model.operatorCodes[0].version = 1
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    biases = []
    value = add_tensor(schema, graph, "image", (1, IMAGE, IMAGE, CHANNELS), 0)
    graph.inputs = [value]
    for index, weight in enumerate(weights):
        last = index == len(weights) - 1
        buffer = schema.BufferT()
        # a marker > 1 while the offsets are not yet known keeps the flatbuffer's size
        buffer.offset, buffer.size = offsets[index] or 2, weight.nbytes
        model.buffers.append(buffer)
        kernel = add_tensor(schema, graph, f"w{index}", weight.shape, index + 1)
        bias_buffer = schema.BufferT()
        bias_buffer.data = np.zeros(4 * weight.shape[0], np.uint8)
        biases.append(bias_buffer)
        bias = add_tensor(schema, graph, f"b{index}", (weight.shape[0],), len(weights) + 1 + index)
        side = 1 if last else IMAGE
        result = add_tensor(schema, graph, f"y{index}", (1, side, side, weight.shape[0]), 0)
        operator = schema.OperatorT()
        operator.opcodeIndex = 0
        operator.inputs, operator.outputs = [value, kernel, bias], [result]
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID if last else schema.Padding.SAME
        options.strideW = options.strideH = 1
        operator.builtinOptions = options
        graph.operators.append(operator)
        value = result
    model.buffers += biases
    graph.outputs = [value]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def add_tensor(schema: Any, graph: Any, name: str, shape: tuple[int, ...], buffer: int) -> int:
    """Add a float tensor; return its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = (
        name,
        list(shape),
        schema.TensorType.FLOAT32,
        buffer,
    )
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1

"""Small model files of other origin: made by onnx's helpers and by flatbuffers, not by this project's exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factories.agent_models import tflite_parts

CONVERTED = Path(__file__).with_name("converted")
INT8_OF_CONVERTED = {
    "litert_torch_fp32.tflite": False,
    "litert_quantizer_int8.tflite": True,
    "tensorflow_fp32.tflite": False,
    "tensorflow_int8.tflite": True,
}
"""Files of other converters in the folder CONVERTED, whose README tells how they were made, and whether each is in int8."""


def onnx_model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: dict[str, Any] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: Sequence[str] = (),
) -> Any:
    """Return an ONNX model of some nodes; inputs and outputs are (name, element type, sizes)."""
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        "made for a test",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def dense(sizes: Sequence[int | str] = (1, 8), *, width: int = 8, dtype: Any = np.float32) -> Any:
    """Return x W + b, relu, of an input `x`."""
    from onnx import TensorProto, helper
    from onnx.helper import np_dtype_to_tensor_dtype

    rng = np.random.default_rng(0)
    kind = np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    weights = {
        "w": rng.standard_normal((8, width)).astype(dtype),
        "b": rng.standard_normal(width).astype(dtype),
    }
    return onnx_model(nodes, [("x", kind, list(sizes))], [("y", kind, [*sizes[:-1], width])], weights)


def dense_output(x: Any) -> Any:
    """Return what `dense` makes of values (1, 8)."""
    rng = np.random.default_rng(0)
    return np.maximum(
        x @ rng.standard_normal((8, 8)).astype(np.float32) + rng.standard_normal(8).astype(np.float32), 0
    )


def pooled(name: str) -> Any:
    """Return the mean over the pixels of an image, whose sizes are free, an input of that name."""
    from onnx import TensorProto, helper

    node = helper.make_node("GlobalAveragePool", [name], ["y"])
    sizes = [1, 3, "height", "width"]
    return onnx_model([node], [(name, TensorProto.FLOAT, sizes)], [("y", TensorProto.FLOAT, [1, 3, 1, 1])])


def cannot_run() -> Any:
    """Return a model that loads and fails in each run: 8 values in the shape 7 x 7."""
    from onnx import TensorProto, helper

    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    sizes = {"shape": np.array([7, 7])}
    return onnx_model(
        [node], [("x", TensorProto.FLOAT, [1, 8])], [("y", TensorProto.FLOAT, ["a", "b"])], sizes
    )


def tokens(vocabulary: int = 200, names: tuple[str, str] = ("ids", "mask")) -> Any:
    """Return a token model: ids [batch, length] and a mask of the same sizes, embedded, masked, averaged, classified."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gather", ["table", names[0]], ["e"]),
        helper.make_node("Cast", [names[1]], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["m3"]),
        helper.make_node("Mul", ["e", "m3"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["y"]),
    ]
    weights = {
        "table": rng.standard_normal((vocabulary, 16)).astype(np.float32),
        "w": rng.standard_normal((16, 3)).astype(np.float32),
        "last": np.array([2], np.int64),
    }
    sizes = ["batch", "length"]
    inputs = [(names[0], TensorProto.INT64, sizes), (names[1], TensorProto.BOOL, sizes)]
    return onnx_model(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 3])], weights)


def custom_op() -> Any:
    """Return a model of an operator that no runtime has."""
    from onnx import TensorProto, helper

    node = helper.make_node("Warp", ["x"], ["y"], domain="com.acme")
    sizes = (TensorProto.FLOAT, [1, 4])
    return onnx_model([node], [("x", *sizes)], [("y", *sizes)], domains=["com.acme"])


def needs_memory(size_mb: int) -> bytes:
    """Return an ONNX model with a few bytes of weights, one of whose values takes this much memory while it runs."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Expand", ["x", "sizes"], ["wide"]),
        helper.make_node("Sin", ["wide"], ["waves"]),
        helper.make_node("ReduceMax", ["waves"], ["y"], axes=[1]),
    ]
    weights = {"sizes": np.array([1, size_mb * 125_000], np.int64)}  # two such values are alive at once
    model = onnx_model(nodes, [("x", TensorProto.FLOAT, [1, 1])], [("y", TensorProto.FLOAT, [1, 1])], weights)
    return bytes(model.SerializeToString())


def save(model: Any, path: Path) -> Path:
    """Write a model and return its path."""
    path.write_bytes(model.SerializeToString())
    return path


def save_with_data(model: Any, path: Path, location: str = "weights.bin") -> Path:
    """Write a model with its weights in a file beside it."""
    import onnx

    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=False,
    )
    return path


def save_tflite(path: Path, width: int = 8) -> Path:
    """Write a small convolutional TFLite model of an input `image`, made by flatbuffers alone."""
    data = b""
    for part in tflite_parts(width):
        data += bytes(-len(data) % 16) + part
    path.write_bytes(data)
    return path


def save_two_signatures(path: Path, names: tuple[str, str] = ("plain", "wide")) -> Path:
    """Write a TFLite model of two graphs, each with a signature, the second of another width; the input is `picture`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    models = []
    for width in (8, 12):
        data = save_tflite(path, width).read_bytes()
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        for buffer in model.buffers:
            if buffer.size:  # it lies behind the tables
                buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        models.append(model)
    one, other = models
    first, second = one.subgraphs[0], other.subgraphs[0]
    for tensor in second.tensors:
        tensor.buffer += len(one.buffers) if tensor.buffer else 0
    one.buffers += other.buffers
    one.subgraphs = [first, second]
    one.signatureDefs = []
    for number, (key, graph) in enumerate(zip(names, (first, second), strict=True)):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, number
        for field, name, tensors in (
            ("inputs", "picture", graph.inputs),
            ("outputs", "scores", graph.outputs),
        ):
            end = schema.TensorMapT()
            end.name, end.tensorIndex = name, tensors[0]
            setattr(signature, field, [end])
        one.signatureDefs.append(signature)
    builder = flatbuffers.Builder(1024)
    builder.Finish(one.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def save_int8_tflite(path: Path, width: int = 8) -> Path:
    """Write a TFLite model of one convolution in full integers, of an input `image` (1, 16, 16, 3)."""
    from ai_edge_litert import schema_py_generated as schema

    random = np.random.default_rng(width)
    kernel = random.integers(-127, 128, (width, 3, 3, 3), np.int8)
    return save_convolution(
        path,
        {
            "image": Values((1, 16, 16, 3), schema.TensorType.INT8, (0.0078125,), -1),
            "kernel": Values(kernel.shape, schema.TensorType.INT8, (0.004,) * width, 0, kernel),
            "bias": Values(
                (width,),
                schema.TensorType.INT32,
                (0.004 * 0.0078125,) * width,
                0,
                random.integers(-999, 999, width, np.int32),
            ),
            "y": Values((1, 16, 16, width), schema.TensorType.INT8, (0.05,), 4),
        },
    )


def save_half_supported_tflite(path: Path, last: str = "FLOOR_MOD", weight: float = 1) -> Path:
    """Write a TFLite model of a convolution, which accelerators run, and an operator that LiteRT's GPUs, or all, lack (ATAN2).

    weight: a factor of the convolution's weights.
    """
    from ai_edge_litert import schema_py_generated as schema

    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32) * np.float32(weight)
    floats = schema.TensorType.FLOAT32
    tensors = {
        "image": Values((1, 8, 8, 3), floats),
        "kernel": Values(kernel.shape, floats, values=kernel),
        "bias": Values((4,), floats, values=np.zeros(4, np.float32)),
        "y": Values((1, 8, 8, 4), floats),
    }
    return save_convolution(path, tensors, last)


def save_dynamic_tflite(path: Path) -> Path:
    """Write a TFLite model of an `image` that is given the shape of a second input: a size that is known only in a run."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code, operator = (
        schema.ModelT(),
        schema.SubGraphT(),
        schema.OperatorCodeT(),
        schema.OperatorT(),
    )
    graph.tensors = []
    for name, shape, kind in (("image", [1, 8], 0), ("shape", [2], 2), ("y", [1, 1], 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, 0
        graph.tensors.append(tensor)
    graph.tensors[-1].shapeSignature = [-1, -1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    operator.inputs, operator.outputs = [0, 1], [2]
    graph.operators, graph.inputs, graph.outputs = [operator], [0, 1], [2]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = (
        3,
        [schema.BufferT()],
        [code],
        [graph],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@dataclass(frozen=True)
class Values:
    """A tensor of a TFLite model: shape, type, scales (one, or one a channel), constant values where it has some."""

    shape: tuple[int, ...]
    kind: int
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    values: Any = None


def save_two_outputs_tflite(path: Path) -> Path:
    """Write a TFLite model whose first output, a product, is the second of its signature, a convolution the other."""
    from ai_edge_litert import schema_py_generated as schema

    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    floats = schema.TensorType.FLOAT32
    tensors = {
        "image": Values((1, 8, 8, 3), floats),
        "kernel": Values(kernel.shape, floats, values=kernel),
        "bias": Values((4,), floats, values=np.zeros(4, np.float32)),
        "y": Values((1, 8, 8, 4), floats),
    }
    return save_convolution(path, tensors, last="MUL", signature={"a": 3, "b": 4})


def save_convolution(
    path: Path, tensors: dict[str, Values], last: str = "", signature: dict[str, int] | None = None
) -> Path:
    """Write a TFLite model of a convolution from `image` to `y`; `last`: an operator of y and y that follows it.

    signature: its outputs by name, the model's in the reverse order; without one the last value is the output.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []
    for name, one in [*tensors.items(), *([("last", tensors["y"])] if last else [])]:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(one.shape), one.kind, 0
        if one.scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(one.scales)
            tensor.quantization.zeroPoint = [one.zero_point] * len(one.scales)
        if one.values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(one.values).tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [4 if last else 3]
    codes = [schema.BuiltinOperator.CONV_2D]
    if last:
        other = schema.OperatorT()
        other.opcodeIndex, other.inputs, other.outputs = 1, [3, 3], [4]
        graph.operators.append(other)
        codes.append(getattr(schema.BuiltinOperator, last))
    model.operatorCodes = []
    for code in codes:
        known = schema.OperatorCodeT()
        known.builtinCode, known.version = code, 3 if tensors["image"].scales else 1
        known.deprecatedBuiltinCode = min(code, 127)
        model.operatorCodes.append(known)
    model.subgraphs = [graph]
    if signature:
        graph.outputs = list(signature.values())[::-1]
        told = schema.SignatureDefT()
        told.signatureKey, told.subgraphIndex = "serving_default", 0
        told.inputs = [tensor_map(schema, "image", 0)]
        told.outputs = [tensor_map(schema, name, index) for name, index in signature.items()]
        model.signatureDefs = [told]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def tensor_map(schema: Any, name: str, index: int) -> Any:
    """Return a tensor's name in a signature."""
    one = schema.TensorMapT()
    one.name, one.tensorIndex = name, index
    return one

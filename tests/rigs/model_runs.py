"""Run model files of both formats, and reduce their graphs to what dataflow alone determines."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from exporters import Format
from space import SpaceConfig

Array = npt.NDArray[np.float32]


def random_image(config: SpaceConfig, seed: int = 0) -> Array:
    """Return one image (1, C, H, W) of normal noise."""
    shape = (1, config.in_channels, config.image_size, config.image_size)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run_model(
    format: Format, model: bytes, images: Array, *, from_file: bool = False, optimized: bool = True
) -> Array:
    """Run a model on images (n, C, H, W), one at a time, with one thread; return the logits (n, classes).

    optimized: False has ONNX Runtime compute what the model says, pairs of an int8 one in floating point.
    """
    load = partial(_load_onnx, optimized=optimized) if format == "onnx" else _load_tflite
    if not from_file:
        run = load(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            path.write_bytes(model)
            run = load(str(path))
    return np.concatenate([run(image[None]) for image in images])


def _load_onnx(model: bytes | str, optimized: bool) -> Callable[[Array], Array]:
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: np.asarray(session.run(None, {name: image})[0], np.float32)


def _load_tflite(model: bytes | str) -> Callable[[Array], Array]:
    named = {"model_path": model} if isinstance(model, str) else {"model_content": model}
    interpreter = Interpreter(**named, num_threads=1)
    interpreter.allocate_tensors()
    feed, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = result["quantization"]

    def run(image: Array) -> Array:
        interpreter.set_tensor(feed["index"], _quantized(image.transpose(0, 2, 3, 1), feed))
        interpreter.invoke()
        values = np.array(interpreter.get_tensor(result["index"]), np.float32)
        return (values - zero_point) * np.float32(scale) if scale else values

    return run


def _quantized(values: Array, details: dict[str, Any]) -> npt.NDArray[Any]:
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    return np.clip(np.round(values / scale + zero_point), -128, 127).astype(details["dtype"])


def operators(format: Format, model: bytes) -> Counter[tuple[str, str]]:
    """Count operators, each as its kind and the digest of everything it computes from, weights included.

    Two models with equal counts are the same graph, up to names and the order of independent operators. Fails
    if an operator stands before one that it reads.
    """
    return _onnx_operators(model) if format == "onnx" else _tflite_operators(model)


def _digest(*facts: object, data: bytes = b"") -> str:
    return hashlib.sha256(repr(facts).encode() + data).hexdigest()


def _onnx_operators(model_bytes: bytes) -> Counter[tuple[str, str]]:
    graph = onnx.load_from_string(model_bytes).graph
    known = {value.name: _digest("input", str(value.type)) for value in graph.input}
    for tensor in graph.initializer:
        assert tensor.name not in known, f"{tensor.name} is defined twice"
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        known[tensor.name] = _digest(tensor.data_type, tuple(tensor.dims), data=data)
    found = Counter[tuple[str, str]]()
    for node in graph.node:
        attributes = sorted((a.name, a.SerializeToString()) for a in node.attribute)
        digest = _digest(node.op_type, node.domain, attributes, [known[value] for value in node.input])
        for k, value in enumerate(node.output):
            assert value not in known, f"{value} is defined twice"
            known[value] = _digest(digest, k)
        found[node.op_type, digest] += 1
    found["output", known[graph.output[0].name]] += 1
    return found


def _tflite_operators(model_bytes: bytes) -> Counter[tuple[str, str]]:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model_bytes, 0))
    (graph,) = model.subgraphs
    known: dict[int, str] = {}
    for number, tensor in enumerate(graph.tensors):
        buffer = model.buffers[tensor.buffer]
        data = buffer.data
        if buffer.offset > 1:  # a large weight of LiteRT's quantizer, which stands behind the flatbuffer
            data = model_bytes[buffer.offset : buffer.offset + buffer.size]
        if data is not None and len(data):
            known[number] = _digest(_tflite_form(tensor), data=bytes(data))
    known |= {number: _digest("input", _tflite_form(graph.tensors[number])) for number in graph.inputs}
    found = Counter[tuple[str, str]]()
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        options: Any = op.builtinOptions
        facts = (op.builtinOptionsType, sorted(vars(options).items()) if options is not None else None)
        inputs = [known[number] if number >= 0 else None for number in op.inputs]
        digest = _digest(code.builtinCode, code.version, facts, inputs)
        for k, number in enumerate(op.outputs):
            assert number not in known, f"tensor {number} is written twice"
            known[number] = _digest(digest, k, _tflite_form(graph.tensors[number]))
        found[names[code.builtinCode], digest] += 1
    found["output", known[graph.outputs[0]]] += 1
    return found


def _tflite_form(tensor: Any) -> tuple[object, ...]:
    """Return a tensor's type, shape and, where it is quantized, scales, zero points and their axis."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return tensor.type, tuple(tensor.shape)
    scales, zero_points = tuple(quantization.scale), tuple(quantization.zeroPoint)
    return tensor.type, tuple(tensor.shape), scales, zero_points, quantization.quantizedDimension

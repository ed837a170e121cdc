"""The process of a model file's own run (see `exporters.processes.answer_apart`).

The answer to the request of `exporters.own_run` is {"sums": [...]}, those that judge the outputs, or {"error": why there are
none}. Memory and processor time are limited before the runtime is loaded.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.expected import OUTPUT_VALUES, OUTPUTS, fixed_image, judged_parts, output_sums
from exporters.processes import serve_once

MESSAGE_CHARACTERS = 300
# Sums so small beside the output's values are moved by the rounding of these: they judge nothing.
SMALL_SHARE = 1e-3
# An output that another run moves by more is drawn by lot. Models that take longer for a run are not run again for that.
STEADY_SHARE = 1e-3
REPEAT_S = 30.0
ONNX_TYPES = {"float": "float32", "double": "float64"}  # the others are called as numpy calls them

Array = NDArray[Any]
Outputs = list[tuple[Array, bool]]
"""Outputs in their order, and of each whether its values stand for real numbers."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    try:
        start_s, runs = time.monotonic(), run_model(request)
        sums = judged_sums(next(runs), request["batch"])
        if time.monotonic() - start_s < REPEAT_S:
            sums = steady_sums(sums, judged_sums(next(runs), request["batch"]))
        return {"sums": sums}
    except MemoryError:
        return {
            "error": "its own run here wants more memory than this machine has to spare; give --expect FILE.npz"
        }
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is why the file is not judged
        said = " ".join(str(error).split())[:MESSAGE_CHARACTERS]
        return {"error": f"its own run here: {said or type(error).__name__}"}


def run_model(request: Mapping[str, Any]) -> Iterator[Outputs]:
    """Yield the outputs of one run after the other, each as of a first one. Raises: what numpy and the runtime raise."""
    model = read_descriptor(request["model"])
    values: dict[str, Array] = {}
    if request["values"] is not None:
        with np.load(io.BytesIO(read_descriptor(request["values"])), allow_pickle=False) as found:
            values = {name: found[name] for name in found.files}
    if request["format"] == "onnx":
        yield from onnx_outputs(model, request["shapes"], values)
    while True:  # in an interpreter of its own: a TFLite model may keep variables from run to run
        yield tflite_outputs(model, request["shapes"], values, request["signature"])


def read_descriptor(descriptor: int) -> bytes:
    """Return the whole of an open file, which stays open at the place where others, who share it, read on."""
    size, data = os.fstat(descriptor).st_size, b""
    while piece := os.pread(descriptor, size - len(data), len(data)):
        data += piece
    return data


def onnx_outputs(
    model: bytes, shapes: Mapping[str, list[int]], values: Mapping[str, Array]
) -> Iterator[Outputs]:
    """Yield the outputs of an ONNX model that hold numbers, as ONNX Runtime computes it without graph optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {}
    for node in session.get_inputs():
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = shapes.get(node.name) or [size if isinstance(size, int) else 1 for size in node.shape]
        inputs[node.name] = values.get(node.name, fixed_input(shape, ONNX_TYPES.get(kind, kind)))
    names = [node.name for node in session.get_outputs() if is_numeric(node.type)]
    while True:
        found = session.run(names, inputs) if names else []
        yield [(array, array.dtype.kind == "f") for array in found]


def is_numeric(kind: str) -> bool:
    """Return whether a type in ONNX Runtime's words is of tensors of numbers that numpy has, too."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return name != kind and re.fullmatch(r"bool|float(16)?|double|u?int(8|16|32|64)", name) is not None


def tflite_outputs(
    model: bytes, shapes: Mapping[str, list[int]], values: Mapping[str, Array], signature: str
) -> Outputs:
    """Return the outputs of a TFLite model by the order of their names, as its own kernels compute them, dequantized."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    if signature:
        runner = interpreter.get_signature_runner(signature)
        given = {key: _input(told, shapes, values) for key, told in runner.get_input_details().items()}
        found = runner(**given)
        return _outputs((told, found[name]) for name, told in runner.get_output_details().items())
    for told in interpreter.get_input_details():
        interpreter.resize_tensor_input(told["index"], _input_shape(told, shapes, values))
    interpreter.allocate_tensors()
    for told in interpreter.get_input_details():
        interpreter.set_tensor(told["index"], _input(told, shapes, values))
    interpreter.invoke()
    return _outputs(
        (told, interpreter.get_tensor(told["index"])) for told in interpreter.get_output_details()
    )


def _outputs(ends: Iterable[tuple[Mapping[str, Any], Array]]) -> Outputs:
    in_order = sorted(ends, key=lambda end: str(end[0]["name"]))
    return [
        (dequantized(array, told), array.dtype.kind == "f" or bool(told["quantization"][0]))
        for told, array in in_order
        if array.dtype.kind in "biuf"
    ]


def _input_shape(
    told: Mapping[str, Any], shapes: Mapping[str, list[int]], values: Mapping[str, Array]
) -> list[int]:
    if told["name"] in values:
        return [int(size) for size in values[told["name"]].shape]
    return shapes.get(told["name"]) or [int(size) for size in told["shape"]]


def _input(told: Mapping[str, Any], shapes: Mapping[str, list[int]], values: Mapping[str, Array]) -> Array:
    if told["name"] in values:
        return values[told["name"]]
    shape = _input_shape(told, shapes, values)
    return fixed_input(shape, told["dtype"], *told["quantization"], is_channels_last=True)


def dequantized(array: Array, told: Mapping[str, Any]) -> Array:
    """Return the real numbers that a quantized output stands for."""
    scale, zero_point = told["quantization"]
    return (array.astype(np.float64) - zero_point) * scale if scale else array


def fixed_input(
    shape: list[int], dtype: Any, scale: float = 0.0, zero_point: int = 0, *, is_channels_last: bool = False
) -> Array:
    """Return the agent's fixed input: reals, truth values where these are positive, quantized where there is a scale, else
    integers of 0 to 127.
    """
    if is_channels_last and len(shape) == 4:
        batch, rows, columns, channels = shape
        values = fixed_image((batch, channels, rows, columns)).transpose(0, 2, 3, 1)
    else:
        values = fixed_image(shape)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        # numpy makes plain numbers of what has no axes, and no runtime takes these.
        return np.asarray(values > 0)
    if kind.kind not in "iu":
        return values.astype(kind)
    scaled = values / scale + zero_point if scale else (values + 1) * 64
    return np.asarray(np.clip(np.round(scaled), np.iinfo(kind).min, np.iinfo(kind).max), kind)


def judged_sums(outputs: Outputs, batch: int) -> list[float]:
    """Return the sums (8 an output, of a batch 8 for each group of its images) that judge the agent's; zeros where none can.

    Raises: ValueError where they are none to judge by.
    """
    judged = [array for array, is_real in outputs if is_real] or [array for array, _ in outputs]
    if not any(array.size for array in judged):
        raise ValueError("no output holds numbers")
    sums: list[float] = []
    is_small = False
    for array in judged[:OUTPUTS]:
        for values in judged_parts(array, batch):
            if not np.isfinite(values).all():
                raise ValueError(
                    "the output on these inputs is not finite; give others with --inputs FILE.npz"
                )
            found = output_sums(values)
            if 0 < np.linalg.norm(found) < SMALL_SHARE * np.linalg.norm(values):
                found, is_small = [0.0] * OUTPUT_VALUES, True
            sums += found
    if is_small and not any(sums):
        raise ValueError("the sums of its outputs are so small beside their values that rounding moves them")
    return sums


def steady_sums(sums: list[float], again: list[float]) -> list[float]:
    """Return the sums of outputs, zeros for those that another run moved: such are drawn by lot, or of what the run before left.

    Raises: ValueError where no other is left.
    """
    found: list[float] = []
    for begin in range(0, len(sums), OUTPUT_VALUES):
        one, other = (np.array(values[begin : begin + OUTPUT_VALUES]) for values in (sums, again))
        most = STEADY_SHARE * np.linalg.norm(one)
        is_steady = one.shape == other.shape and np.linalg.norm(one - other) <= most
        found += one.tolist() if is_steady else [0.0] * OUTPUT_VALUES
    if any(sums) and not any(found):
        raise ValueError(
            "its outputs differ from run to run, as of random operators: there is nothing to judge by"
        )
    return found


if __name__ == "__main__":
    serve_once(answer)

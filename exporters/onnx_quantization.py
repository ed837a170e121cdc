"""int8 for ONNX models by ONNX Runtime's own static quantizer, fragment by fragment. Runs in the converter's process.

The form is QDQ: activations are unsigned with a zero point, weights signed with a scale for each channel, biases have 32 bits.
Weights go from -64 to 64: on x86 processors without VNNI the kernels add the products of two neighbors in 16 bits, and larger
ones than 2 x 255 x 64 saturate.
A value between fragments is quantized where it is written: a pair of QuantizeLinear and DequantizeLinear follows there, and
whoever reads it reads the pair's output, as in a model that was quantized whole.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from exporters.errors import ConversionError

Scales = Mapping[str, tuple[float, int]]  # scale and zero point of a tensor, by its name
LEVELS = 255
_PRODUCTS = ("Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of a range for 8 unsigned bits, rounded so that 0 is one of its values."""
    least = np.finfo(np.float32).tiny
    scale = max(np.float32((high - low) / LEVELS), least) if high > low else np.float32(1)
    return float(scale), round(-low / float(scale))


def quantize(model: onnx.ModelProto, scales: Scales, samples: Iterable[Mapping[str, Any]]) -> onnx.ModelProto:
    """Return a model in int8: the named tensors have the given scales, others those of their ranges over the samples.

    samples: arrays for the model's inputs, by name. Nodes are in topological order.
    Raises: ConversionError for a tensor without a scale.
    """
    # Late: other precisions need no ONNX Runtime, and some builds of it have no quantizer.
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            found = next(self._samples, None)
            return None if found is None else dict(found)

    overrides = {
        name: [{"scale": np.array(scale, np.float32), "zero_point": np.array(zero, np.uint8)}]
        for name, (scale, zero) in scales.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.getLogger().setLevel(logging.ERROR)  # it recommends what is done already
        quantize_static(
            model,
            path,
            Samples(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"TensorQuantOverrides": overrides},
        )
        quantized = onnx.load(path)
    _check_scales(quantized)
    _check_products(quantized)
    _sort(quantized.graph)
    return quantized


def _check_scales(quantized: onnx.ModelProto) -> None:
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in quantized.graph.initializer}
    for node in quantized.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales = constants[node.input[1]]
            if not (np.isfinite(scales) & (scales > 0)).all():
                raise ConversionError(
                    f"{node.input[0]} has no scale in int8 ({scales.min():g} to {scales.max():g}): its values on the calibration "
                    "images are not finite; take other images or weights, or export fp32"
                )


def _check_products(quantized: onnx.ModelProto) -> None:
    """Refuse weights that the quantizer leaves in floats, as those of an LSTM: what reads them is no int8."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    floats = {one.name for one in quantized.graph.initializer if one.data_type in kinds and len(one.dims) > 1}
    left = sorted(
        {one.op_type for one in quantized.graph.node if one.op_type in _PRODUCTS and floats & {*one.input}}
    )
    if left:
        raise ConversionError(
            f"ONNX Runtime's quantizer leaves {' and '.join(left)} in single precision, so that it would be no int8; use other "
            "layers, or measure fp32 or fp16"
        )


def without_input_pairs(quantized: onnx.ModelProto, inputs: Sequence[str]) -> onnx.ModelProto:
    """Return the model with inputs that are read as they come: the pairs that quantize them belong to who writes them."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(quantized)
    del stripped.graph.node[:]
    quantizers = {
        node.output[0]: node.input[0]
        for node in quantized.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in inputs
    }
    renamed = {
        node.output[0]: quantizers[node.input[0]]
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers
    }
    for node in quantized.graph.node:
        if node.output[0] in quantizers or node.output[0] in renamed:
            continue
        copy = stripped.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
    used = {name for node in stripped.graph.node for name in node.input}
    kept = [one for one in quantized.graph.initializer if one.name in used]
    del stripped.graph.initializer[:]
    stripped.graph.initializer.extend(kept)
    return stripped


def _sort(graph: onnx.GraphProto) -> None:
    """Put nodes in an order in which each comes after what it reads; otherwise the order stays."""
    ready = {one.name for one in (*graph.input, *graph.initializer)} | {""}
    left, nodes = list(graph.node), []
    while left:
        runnable = [node for node in left if ready.issuperset(node.input)]
        nodes.append(runnable[0])
        ready.update(runnable[0].output)
        left.remove(runnable[0])
    del graph.node[:]
    graph.node.extend(nodes)

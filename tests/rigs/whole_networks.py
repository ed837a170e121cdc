"""Whole networks converted at once, by torch.onnx or TFLiteConverter: what models linked from fragments are held against.

In int8 activations have the scales of linked models; all else is the quantizer's own.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exporters import Format, Precision, Weights
from exporters.fragments import IMAGE, steps, value_shape
from space import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedNetwork:
    """Model file of a whole-network conversion, with the time that the conversion alone took."""

    model: bytes
    elapsed_s: float


def convert_networks(
    architectures: Sequence[Architecture],
    format: Format,
    weights: Weights | None = None,
    precision: Precision = "fp32",
) -> list[ConvertedNetwork]:
    """Convert whole networks of one space, in one thread of this process."""
    import torch

    conversion_of = _to_onnx if format == "onnx" else _to_tflite
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the converter's process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn of themselves
            made = weights or Weights.seeded(0)
            return [_timed(conversion_of(one, made, precision)) for one in architectures]
    finally:
        torch.set_num_threads(threads)


def _timed(convert: Callable[[], bytes]) -> ConvertedNetwork:
    begin = time.perf_counter()
    model = convert()
    return ConvertedNetwork(model=model, elapsed_s=time.perf_counter() - begin)


def _to_onnx(architecture: Architecture, weights: Weights, precision: Precision) -> Callable[[], bytes]:
    import torch

    from exporters.calibration import calibrate
    from exporters.networks import check_half, torch_network
    from exporters.onnx_export import _export, _export_step, _Halved, _quantize
    from exporters.onnx_quantization import quantize, scale_of

    config, network = architecture.config, torch_network(architecture, weights)
    image = torch.zeros(*value_shape(IMAGE, config))
    op_types: list[str] = []
    scales: list[tuple[float, int] | None] = []  # of what each node writes
    for step in steps(architecture) if precision == "int8" else ():
        exported = _export_step(step, config, weights, "fp32")
        known = _scales_in(_quantize(exported, step, config, weights))
        op_types += [node.op_type for node in exported.graph.node]
        scales += [known.get(node.output[0]) for node in exported.graph.node]

    def convert() -> bytes:
        module = network
        if precision == "fp16":
            check_half(network)
            module = _Halved(network, casts_input=True, casts_output=True)
        exported = _export(module, [image], [IMAGE], "logits")
        if precision == "int8":
            nodes = exported.graph.node
            assert [node.op_type for node in nodes] == op_types, "other nodes than those of the fragments"
            given = {
                node.output[0]: scale for node, scale in zip(nodes, scales, strict=True) if scale is not None
            }
            given[IMAGE] = scale_of(*calibrate(config, weights).ranges[IMAGE])
            exported = quantize(exported, given, [{IMAGE: image.numpy()}])
        return bytes(exported.SerializeToString())

    return convert


def _scales_in(quantized: Any) -> dict[str, tuple[float, int]]:
    """Return the scale and zero point of every activation that a quantized ONNX model quantizes."""
    from onnx import numpy_helper

    constants = {one.name: numpy_helper.to_array(one) for one in quantized.graph.initializer}
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): (
            float(constants[node.input[1]]),
            int(constants[node.input[2]]),
        )
        for node in quantized.graph.node
        if node.op_type == "QuantizeLinear"
    }


def _to_tflite(architecture: Architecture, weights: Weights, precision: Precision) -> Callable[[], bytes]:
    from exporters.calibration import calibrate
    from exporters.networks import torch_network
    from exporters.tflite_conversion import step_model
    from exporters.tflite_export import _ranges_by_name, _step_ranges
    from exporters.tflite_graph import read_graph
    from exporters.tflite_quantization import Range, quantize
    from rigs.tflite_modules import convert_module

    config, network = architecture.config, torch_network(architecture, weights)
    operators: list[object] = []
    written: list[Range] = []
    for step in steps(architecture) if precision == "int8" else ():
        operators += _operators(read_graph(step_model(step, config, weights, "int8")))
        written += _step_ranges(step, config, weights)

    def convert() -> bytes:
        model = convert_module(network, [value_shape(IMAGE, config)], precision)
        if precision != "int8":
            return model
        graph = read_graph(model)
        assert _operators(graph) == operators, "other operators than those of the fragments"
        image = calibrate(config, weights).ranges[IMAGE]
        return quantize(model, _ranges_by_name(graph, [image], written))

    return convert


def _operators(graph: Any) -> list[object]:
    """Return the code of each operator of a TFLite graph, and the constants that it reads, empty for what is computed."""
    return [
        (op.code, tuple(graph.tensors[i].data or b"" for i in op.inputs if i >= 0)) for op in graph.operators
    ]

"""Torch modules converted to TFLite one by one, in the process that asks, by what converts fragments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from exporters.formats import Precision
from exporters.tensorflow_lowering import trace
from exporters.tflite_conversion import _converted, nhwc_array
from exporters.tflite_graph import read_graph
from exporters.tflite_quantization import observed_ranges, quantize


def convert_module(
    module: nn.Module, shapes: Sequence[tuple[int, ...]], precision: Precision = "fp32"
) -> bytes:
    """Convert a module in eval mode that maps float32 tensors of the given shapes, in torch's order, to one tensor.

    Feature maps (1, C, H, W) are (1, H, W, C) in the model.
    """
    return _converted(module, trace(module, shapes), shapes, precision)


def quantized(model: bytes, sample: Sequence[Tensor]) -> bytes:
    """Return a converted model in int8, whose values have the ranges that they have on a sample: a tensor for each input."""
    arrays = [nhwc_array(tensor) for tensor in sample]
    graph, ranges = read_graph(model), observed_ranges(model, [arrays])
    for place, array in zip(graph.inputs, arrays, strict=True):
        ranges[graph.tensors[place].name] = min(0.0, float(array.min())), max(0.0, float(array.max()))
    return quantize(model, ranges)

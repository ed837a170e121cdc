"""Torch modules to TFLite models, by TensorFlow's converter and LiteRT's quantizer. Runs in the converter's process."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn
from torch.export import ExportedProgram

from exporters.chain_modules import HALF_SHARE, SHARE, is_alike, probe, probed
from exporters.errors import ConversionError
from exporters.formats import Precision
from exporters.fragments import GLUE, Fragment, Step, value_shape
from exporters.networks import HALF_MOST, check_half, constant_beyond_half, fragment_module
from exporters.own_run_worker import tflite_outputs
from exporters.tensorflow_lowering import lower, trace
from exporters.tflite_graph import read_graph
from exporters.weights import Weights
from space import SpaceConfig
from space.text import reason_of

# Parts of a space are converted once, to be counted and to be written.
_KEPT_MODELS = 256
_programs = dict[Hashable, ExportedProgram]()
_ABSENT_OP = re.compile(r"'(tf\.\w+)' op is neither")  # in what the converter says


def _converted(
    module: nn.Module, program: ExportedProgram, shapes: Sequence[tuple[int, ...]], precision: Precision
) -> bytes:
    """Convert a module by its program, or that of a module which differs from it in its weights alone.

    In eval mode it maps float32 tensors of the given shapes, in torch's order, to one tensor. Feature maps (1, C, H, W) are
    (1, H, W, C) in the model.

    Raises:
        ConversionError: it has an op that TFLite has no form for, which is named with its place in the module.
    """
    weights, graph = module.state_dict(), tf.Graph()
    with graph.as_default():
        inputs = [tf.compat.v1.placeholder(tf.float32, nhwc(shape), "inputs") for shape in shapes]
        output = tf.identity(lower(program, weights, *inputs), "Identity")
    # tf.lite.TFLiteConverter looks for variables in a copy of the graph, a quarter of the time; the bytes are the same without.
    converter = tf.compat.v1.lite.TFLiteConverter(graph.as_graph_def(), inputs, [output])
    if precision == "fp16":
        check_half(module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        model = bytes(converter.convert())
    except Exception as error:  # whatever the converter raises for ops that TFLite lacks
        absent = ", ".join(sorted(set(_ABSENT_OP.findall(str(error)))))
        said = f"TFLite has no {absent}" if absent else reason_of(error)
        raise ConversionError(
            f"TFLiteConverter does not take {type(module).__name__}: {said}; "
            "use other layers, or measure in ONNX Runtime"
        ) from error
    # It writes what fp16 does not hold as the largest number that fp16 has.
    is_at_most = precision == "fp16" and _largest(model) >= HALF_MOST
    if is_at_most and _largest(_converted(module, program, shapes, "fp32")) > HALF_MOST:
        raise constant_beyond_half()
    if not read_graph(model).operators:
        raise ConversionError(
            f"{type(module).__name__} gives back what it is given, or a constant, and no operator of TFLite is left of it; put "
            "nn.Identity() in the place of what does nothing, or measure in ONNX Runtime"
        )
    return model


def _largest(model: bytes) -> float:
    """Return the size of the largest constant that a converted model holds, 0 without any.

    An infinity, or the largest number of fp32 in its place, is meant, as before a maximum.
    """
    kinds = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}
    found = [
        np.abs(np.frombuffer(tensor.data, kinds[tensor.type]))
        for tensor in read_graph(model).tensors
        if tensor.data is not None and tensor.type in kinds
    ]
    return max((float(one[one < np.finfo(np.float32).max].max(initial=0)) for one in found), default=0.0)


def step_model(step: Step, config: SpaceConfig, weights: Weights, precision: Precision) -> bytes:
    """Convert what a step runs; what becomes int8 is in single precision so far.

    Raises:
        ConversionError: an op has no form in TFLite, with the fragment's name.
    """
    return _step_model(step, config, weights, "fp16" if precision == "fp16" else "fp32")


@lru_cache(maxsize=_KEPT_MODELS)
def _step_model(step: Step, config: SpaceConfig, weights: Weights, precision: Precision) -> bytes:
    fragment, shapes = step.fragment, tuple(value_shape(value, config) for value in step.inputs)
    module = fragment_module(fragment, config, weights)
    # An op of one width is the same module wherever it stands; to trace it takes as long as all else.
    alike = (config, shapes, (fragment, weights) if config.chain else (fragment.kind, fragment.op))
    try:
        if alike not in _programs:
            _programs[alike] = trace(module, shapes)
        model = _converted(module, _programs[alike], shapes, precision)
    except ConversionError as error:
        raise ConversionError(f"{fragment}: {error}") from error
    if config.chain is not None and fragment != GLUE:
        _check_outputs(model, module, shapes[0], HALF_SHARE if precision == "fp16" else SHARE, fragment)
    return model


def _check_outputs(
    model: bytes, module: nn.Module, shape: tuple[int, ...], share: float, fragment: Fragment
) -> None:
    """Refuse a user's module of which conversion makes another one, as of some arguments.

    Raises:
        ConversionError: the model gives other outputs than the module.
    """
    graph = read_graph(model)
    values = {graph.tensors[place].name: nhwc_array(probe(shape)) for place in graph.inputs}
    ((found, _),) = tflite_outputs(model, {}, values, "")
    if not is_alike(torch.from_numpy(found), torch.from_numpy(nhwc_array(probed(module, shape))), share):
        raise ConversionError(
            f"{fragment}: its TFLite model gives other outputs; use other layers or arguments, or measure in ONNX Runtime"
        )


def nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape in the order of a model's ends."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def nhwc_array(tensor: Tensor) -> Any:
    """Return a tensor's numbers in the order of a model's ends."""
    found = tensor.numpy()
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1)) if found.ndim == 4 else found

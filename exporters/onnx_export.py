"""Fragments to ONNX, by torch.onnx. Imports torch and onnx; runs in the converter's process.

A fragment becomes a weight part, a ModelProto that holds initializers alone, and one chunk of nodes for every
value that it may be fed. Chunks are ModelProtos too. Parsing concatenated protobuf messages merges them
(https://protobuf.dev/programming-guides/encoding/#last-one-wins), so chunks and parts in any number make up one
model as long as no node and no initializer is in it twice.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.helper import make_node
from torch import Tensor, nn

from exporters.cache import ExportedFragment
from exporters.calibration import calibrate, calibrated_steps
from exporters.chain_modules import HALF_SHARE, SHARE, is_alike, probe, probed
from exporters.conversion import installed_version
from exporters.errors import ConversionError
from exporters.formats import Precision
from exporters.fragments import (
    GLUE,
    HEAD,
    IMAGE,
    LOGITS,
    STEM,
    Fragment,
    Step,
    all_values,
    value_shape,
)
from exporters.networks import check_half, constant_beyond_half, fragment_module
from exporters.onnx_quantization import quantize, scale_of, without_input_pairs
from exporters.own_run_worker import onnx_outputs
from exporters.weights import Weights
from space import SpaceConfig
from space.text import reason_of

OPSET = 17  # with IR version 8: the newest that ONNX Runtime 1.17 loads and the TorchScript exporter writes


def export_fragment(
    fragment: Fragment, config: SpaceConfig, weights: Weights, precision: Precision
) -> ExportedFragment:
    """Export one fragment; the layout is JSON `{"nodes": {"INPUT ...": base64 of a chunk}}`.

    The glue's has chunks for the ends of segments, too, where values are not float32: `inputs` and `outputs`.

    Raises:
        ConversionError: a checkpoint does not fit its architecture.
    """
    possible = calibrated_steps(fragment, config, weights, precision)
    if fragment == GLUE:
        sums = {
            step.output: _chunk(_export_part(step, config, weights, precision), step) for step in possible
        }
        inputs, outputs = _ends(config, weights, precision)
        return ExportedFragment(part=None, layout=_layout(nodes=sums, inputs=inputs, outputs=outputs))
    exported = _export_part(possible[0], config, weights, precision)
    part = onnx.ModelProto()
    _name_constants(part, exported, _names(exported, possible[0]))
    return ExportedFragment(
        part=bytes(part.SerializeToString()),
        layout=_layout(nodes={step.inputs[0]: _chunk(exported, step) for step in possible}),
    )


def _export_part(step: Step, config: SpaceConfig, weights: Weights, precision: Precision) -> onnx.ModelProto:
    """Export what a step runs as a part of linked models: an int8 value is quantized where it is written."""
    exported = _export_step(step, config, weights, precision)
    if precision != "int8":
        return exported
    quantized = _quantize(exported, step, config, weights)
    return quantized if step.fragment == STEM else without_input_pairs(quantized, ["a", "b"])


def _ends(
    config: SpaceConfig, weights: Weights, precision: Precision
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return chunks that lead from float32 to each value between fragments, and back where a value is no float32.

    The float32 side is called VALUE.float32.
    """
    inner = [value for value in all_values(config) if value not in (IMAGE, LOGITS)]
    if precision == "fp32":
        return {}, {}
    if precision == "fp16":
        half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
        return (
            {value: _nodes([make_node("Cast", [f"{value}.float32"], [value], to=half)]) for value in inner},
            {value: _nodes([make_node("Cast", [value], [f"{value}.float32"], to=single)]) for value in inner},
        )
    ranges = calibrate(config, weights).ranges
    return {value: _pair(value, *scale_of(*ranges[value])) for value in inner if value in ranges}, {}


def _pair(value: str, scale: float, zero_point: int) -> bytes:
    names = [f"{value}.scale", f"{value}.zero"]
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32), names[0]),
        numpy_helper.from_array(np.array(zero_point, np.uint8), names[1]),
    ]
    nodes = [
        make_node("QuantizeLinear", [f"{value}.float32", *names], [f"{value}.int8"]),
        make_node("DequantizeLinear", [f"{value}.int8", *names], [value]),
    ]
    return _nodes(nodes, constants)


def _nodes(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = ()) -> bytes:
    chunk = onnx.ModelProto()
    chunk.graph.node.extend(nodes)
    chunk.graph.initializer.extend(constants)
    return bytes(chunk.SerializeToString())


def _layout(**chunks: Mapping[str, bytes]) -> bytes:
    found = {
        name: {value: base64.b64encode(one).decode() for value, one in by_value.items()}
        for name, by_value in chunks.items()
    }
    return json.dumps(found).encode()


def _export_step(step: Step, config: SpaceConfig, weights: Weights, precision: Precision) -> onnx.ModelProto:
    """Export what a step runs, before int8, with the inputs `a` and `b` and the output `out`.

    Raises:
        ConversionError: ONNX has no form for an op of it.
    """
    fragment = step.fragment
    module = fragment_module(fragment, config, weights)
    dtype, shape = torch.float32, value_shape(step.inputs[0], config)
    right = probed(module, shape) if config.chain is not None and fragment != GLUE else None
    if precision == "fp16":
        check_half(module, f"{fragment}: ")
        module = _Halved(module, casts_input=fragment == STEM, casts_output=fragment == HEAD)
        dtype = torch.float32 if fragment == STEM else torch.float16
    given = [torch.zeros(*shape, dtype=dtype) for _ in step.inputs]
    try:
        exported = _export(module, given, ["a", "b"][: len(given)], "out")
    except Exception as error:  # whatever torch raises for what ONNX has no form for
        raise ConversionError(
            f"{fragment}: torch.onnx.export does not take it in {precision}: {reason_of(error)}; use other layers, or measure in "
            "TFLite"
        ) from error
    if config.chain is not None:
        _free_batch(exported)
    beyond = _infinities(exported) if precision == "fp16" else 0
    if beyond and beyond > _infinities(_export_step(step, config, weights, "fp32")):
        raise ConversionError(f"{fragment}: {constant_beyond_half()}")
    if right is not None:
        _check_outputs(
            exported, right, probe(shape).to(dtype), HALF_SHARE if precision == "fp16" else SHARE, fragment
        )
    return exported


def _check_outputs(
    exported: onnx.ModelProto, right: Tensor, given: Tensor, share: float, fragment: Fragment
) -> None:
    """Refuse a user's module of which torch.onnx makes another one, as of some arguments; onnxruntime tells, where it is here.

    Raises:
        ConversionError: it gives other outputs than these of the module on what is given, or does not run.
    """
    if installed_version("onnxruntime") is None:
        return
    try:
        ((found, _),) = next(onnx_outputs(exported.SerializeToString(), {}, {"a": given.numpy()}))
    except Exception as error:  # whatever onnxruntime raises
        raise ConversionError(
            f"{fragment}: onnxruntime does not run what torch.onnx.export makes of it: {reason_of(error)}; use other layers, or "
            "measure in TFLite"
        ) from error
    if not is_alike(torch.from_numpy(found).float(), right, share):
        raise ConversionError(
            f"{fragment}: torch.onnx.export makes a model of it that gives other outputs; use other layers or arguments, or "
            "measure in TFLite"
        )


def _infinities(exported: onnx.ModelProto) -> int:
    """Return how many infinities the constants of a graph hold: a few are meant, such as the padding before a maximum."""
    values = [
        attribute.t for node in exported.graph.node for attribute in node.attribute if attribute.HasField("t")
    ]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return sum(int(np.isinf(numpy_helper.to_array(one)).sum()) for one in values if one.data_type in floats)


def _quantize(
    exported: onnx.ModelProto, step: Step, config: SpaceConfig, weights: Weights
) -> onnx.ModelProto:
    """Return a step's model in int8, its ends with the scales of the values there.

    The quantizer leaves out an activation where a scale begins at 0, and so it is told of no other: a value that some candidates
    write below 0 takes the activated output of others in a pair of its own.
    """
    calibration = calibrate(config, weights)
    names = dict(zip("ab", step.inputs, strict=False)) | {"out": step.output}
    ends = {name: scale_of(*calibration.ranges[value]) for name, value in names.items()}
    samples = calibration.inputs[step.output if step.fragment == GLUE else step.fragment]
    pair, (output,) = onnx.ModelProto(), exported.graph.output
    last = next(node for node in exported.graph.node if output.name in node.output)
    is_shared = config.chain is not None and weights.checkpoint is None  # the value, with other candidates
    if is_shared and (last.op_type == "Clip" or (last.op_type == "Relu" and ends["out"][1])):
        pair.ParseFromString(_pair("out", *ends.pop("out")))
        last.output[0] = output.name = pair.graph.node[0].input[0]
    given = [{name: one.numpy() for name, one in zip("ab", sample, strict=False)} for sample in samples]
    try:
        quantized = quantize(exported, ends, given)
    except ConversionError as error:
        raise ConversionError(f"{step.fragment}: {error}") from error
    quantized.graph.MergeFrom(pair.graph)
    return quantized


class _Called(nn.Module):
    """A module called with what it is given alone: torch.onnx would hand it the defaults of its further arguments by place."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Tensor) -> Tensor:
        y: Tensor = self.module(*given)
        return y


class _Halved(nn.Module):
    """A module that computes in half precision, whose ends stay in single precision where that is asked for."""

    def __init__(self, module: nn.Module, *, casts_input: bool, casts_output: bool) -> None:
        super().__init__()
        self.module = module.half()
        self.casts_input, self.casts_output = casts_input, casts_output

    def forward(self, *given: Tensor) -> Tensor:
        y: Tensor = self.module(*(one.half() if self.casts_input else one for one in given))
        if self.casts_output:
            return y.float()
        # A constant in single precision, which the module holds as no buffer, leads to such values.
        return y if y.dtype == torch.float16 else y.half()


def _export(module: nn.Module, given: Sequence[Tensor], inputs: list[str], output: str) -> onnx.ModelProto:
    buffer: Any = io.BytesIO()  # torch accepts a stream and declares a path only
    with warnings.catch_warnings(), _attention_in_parts():
        # torch 2.9 and newer recommend the dynamo exporter, which writes opset 18, too new for old devices.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript", DeprecationWarning)
        torch.onnx.export(
            module if len(signature(module.forward).parameters) <= len(given) else _Called(module),
            tuple(given),
            buffer,
            input_names=inputs,
            output_names=[output],
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def _free_batch(exported: onnx.ModelProto) -> None:
    """Have each reshape of one image to one image take over its first size, so that it reshapes the images of any batch."""
    graph = onnx.shape_inference.infer_shapes(exported, data_prop=True).graph
    sizes = {one.name: one.type.tensor_type.shape.dim for one in (*graph.input, *graph.value_info)}
    constants = {
        one.output[0]: one.attribute[0].t for one in exported.graph.node if one.op_type == "Constant"
    }
    reads = Counter(name for node in exported.graph.node for name in node.input)
    for node in exported.graph.node:
        if node.op_type == "Reshape" and reads[node.input[1]] == 1 and node.input[1] in constants:
            before, after = sizes.get(node.input[0]), numpy_helper.to_array(constants[node.input[1]])
            if before and before[0].dim_value == 1 and after.tolist()[:1] == [1]:
                kept = np.concatenate([[0], after[1:]]).astype(np.int64)  # 0: as in what is read
                constants[node.input[1]].CopyFrom(numpy_helper.from_array(kept))


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """Have attention be traced as products: torch's fast path of frozen weights is one operator that ONNX has no form for."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _chunk(exported: onnx.ModelProto, step: Step) -> bytes:
    """Return the nodes under names that are unique in every network, with the stem's and head's frame."""
    names = _names(exported, step) | dict(zip("ab", step.inputs, strict=False)) | {"out": step.output}
    chunk = onnx.ModelProto()
    if step.fragment == STEM:
        chunk.ir_version, chunk.producer_name = exported.ir_version, "harness"
        chunk.opset_import.extend(exported.opset_import)
        chunk.graph.name = "network"
        chunk.graph.input.extend(exported.graph.input)
        chunk.graph.input[0].name = IMAGE
    if step.fragment == HEAD:
        chunk.graph.output.extend(exported.graph.output)
        chunk.graph.output[0].name = LOGITS
    for node in exported.graph.node:
        copy = chunk.graph.node.add()
        copy.CopyFrom(node)
        copy.ClearField("name")  # optional; the values' names say as much, and every byte is sent
        _rename(copy, names)
    if step.fragment == GLUE:  # which has no part
        _name_constants(chunk, exported, names)
    return bytes(chunk.SerializeToString())


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node reads and writes, in the branches of control flow as well, whose own values keep their names."""
    node.input[:] = [names.get(value, value) for value in node.input]
    node.output[:] = [names.get(value, value) for value in node.output]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)


def _name_constants(to: onnx.ModelProto, exported: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for tensor in exported.graph.initializer:
        copy = to.graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name]


def _names(exported: onnx.ModelProto, step: Step) -> dict[str, str]:
    """Name weights and inner values by place. A network has one op in a slot, so the op need not be named."""
    fragment = step.fragment
    stage = "" if fragment.stage is None else f"s{fragment.stage}."
    prefix = stage + (f"op{fragment.slot}" if fragment.kind == "op" else fragment.kind)
    if fragment == GLUE:
        prefix = step.output
    weights = {tensor.name: f"{prefix}.w{i}" for i, tensor in enumerate(exported.graph.initializer)}
    inner = (value for node in exported.graph.node for value in node.output)
    left_out = {"": ""}  # an optional input, such as the minimum of a Clip
    return weights | {value: f"{prefix}.{i}" for i, value in enumerate(inner)} | left_out

"""Fragments and whole networks to TFLite, by TFLiteConverter. Runs in the converter's process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from exporters.cache import ExportedFragment
from exporters.errors import ConversionError
from exporters.fragments import GLUE, IMAGE, Fragment, all_values, possible_steps, value_shape
from exporters.networks import fragment_module
from exporters.recipe import Precision
from exporters.tensorflow_lowering import lower
from exporters.tflite_layout import (
    BUFFER,
    BUFFER_FIELDS,
    DATA,
    HAS_RANK,
    INPUTS,
    NAME,
    OPCODE_INDEX,
    OPERATOR_FIELDS,
    OPTIONS,
    OPTIONS_TYPE,
    OUTPUTS,
    SHAPE,
    TENSOR_FIELDS,
    TYPE,
    PartWriter,
    Rows,
)
from exporters.tflite_linking import OPERATORS, region_name
from exporters.tflite_regions import Region, regions
from exporters.weights import Weights
from space import Architecture, SpaceConfig

_UNUSED = frozenset({SHAPE, TYPE, BUFFER, NAME, HAS_RANK})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    opcode_index: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    tensors: tuple[_Tensor, ...]
    operators: tuple[_Operator, ...]
    inputs: tuple[int, ...]
    output: int


def export_fragment(
    fragment: Fragment, config: SpaceConfig, weights: Weights, precision: Precision
) -> ExportedFragment:
    """Export one fragment; the layout is JSON with the places of its rows in the part.

    `tensors` and `buffers` are the positions of the first row; `operators` maps the value that is fed (for the
    glue, the sum's value) to the position and count of rows. The glue adds `regions`, each [tensor, tensors, buffer,
    buffers], and `spare_tensors` and `spare_buffers` for regions that a network leaves empty.

    Raises:
        ConversionError: TensorFlow cannot express a layer, or the operator table lacks an operator.
    """
    if precision != "fp32":
        raise ConversionError(f"tflite models are made in fp32 so far, not in {precision}; use ONNX")
    if fragment == GLUE:
        return _export_glue(config)
    shape = _nhwc(value_shape(possible_steps(fragment, config)[0].inputs[0], config))
    graph = _read_graph(_convert(fragment_module(fragment, config, weights), [shape]))
    region, places = regions(config)[region_name(fragment)], list(all_values(config))
    ends = {graph.inputs[0], graph.output}
    inner = [i for i in range(len(graph.tensors)) if i not in ends]
    number_of = {i: region.tensor + k for k, i in enumerate(inner)}
    if len(inner) > region.tensors or sum(graph.tensors[i].data is not None for i in inner) > region.buffers:
        raise ConversionError(f"{fragment} has more tensors than tflite_regions foresees; correct its counts")
    writer = PartWriter()
    layout: dict[str, Any] = {
        **_write_tensors(writer, [graph.tensors[i] for i in inner], region, region_name(fragment))
    }
    variants = {}
    for step in possible_steps(fragment, config):
        ends_of = {graph.inputs[0]: places.index(step.inputs[0]), graph.output: places.index(step.output)}
        variants[step.inputs[0]] = _write_operators(writer, graph.operators, number_of | ends_of)
    layout["operators"] = variants
    return ExportedFragment(part=bytes(writer.data), layout=json.dumps(layout).encode())


def network_scales(architecture: Architecture, weights: Weights, precision: Precision) -> tuple[()]:
    """Return nothing: models in fp32 have no scales."""
    return ()


def export_network(network: nn.Module, config: SpaceConfig, precision: Precision, scales: tuple[()]) -> bytes:
    """Convert a whole network at once, as TFLiteConverter does it: the yardstick for linked models."""
    return _convert(network, [_nhwc(value_shape(IMAGE, config))])


def _export_glue(config: SpaceConfig) -> ExportedFragment:
    """Export the sums, and with them everything that belongs to no fragment in particular."""
    table, places = regions(config), list(all_values(config))
    writer = PartWriter()
    values = [
        _Tensor(name=value, shape=_nhwc(value_shape(value, config)), type=schema.TensorType.FLOAT32)
        for value in places
    ]
    layout: dict[str, Any] = {**_write_tensors(writer, values, table[region_name(GLUE)], "glue")}
    largest = Region(
        tensor=0,
        tensors=max(region.tensors for region in table.values()),
        buffer=0,
        buffers=max(region.buffers for region in table.values()),
    )
    spare = _write_tensors(writer, [], largest, "spare")
    layout["spare_tensors"], layout["spare_buffers"] = spare["tensors"], spare["buffers"]
    sums = {}
    for step in possible_steps(GLUE, config):
        shape = _nhwc(value_shape(step.output, config))
        graph = _read_graph(_convert(fragment_module(GLUE, config, Weights.seeded(0)), [shape, shape]))
        number_of = dict(zip(graph.inputs, map(places.index, step.inputs), strict=True))
        number_of[graph.output] = places.index(step.output)
        sums[step.output] = _write_operators(writer, graph.operators, number_of)
    layout["operators"] = sums
    layout["regions"] = {name: [r.tensor, r.tensors, r.buffer, r.buffers] for name, r in table.items()}
    return ExportedFragment(part=bytes(writer.data), layout=json.dumps(layout).encode())


def _convert(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> bytes:
    holder = tf.Module()
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    graph = tf.function(lambda *inputs: lower(module, *inputs), autograph=False)
    function = graph.get_concrete_function(*specs)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], holder).convert())


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


# --- reading what the converter made --------------------------------------------------------------------------


def _read_graph(model_bytes: bytes) -> _Graph:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model_bytes, 0))
    subgraph = model.subgraphs[0]
    tensors = []
    for tensor in subgraph.tensors:
        data = model.buffers[tensor.buffer].data
        tensors.append(
            _Tensor(
                name=tensor.name.decode(),
                shape=tuple(int(n) for n in tensor.shape),
                type=tensor.type,
                data=None if data is None or len(data) == 0 else np.asarray(data, np.uint8).tobytes(),
            )
        )
    return _Graph(
        tensors=tuple(tensors),
        operators=tuple(_read_operator(op, model.operatorCodes) for op in subgraph.operators),
        # The converter lists arguments in any order; their names, inputs_0 and inputs_1, tell which is which.
        inputs=tuple(sorted(map(int, subgraph.inputs), key=lambda i: tensors[i].name)),
        output=int(subgraph.outputs[0]),
    )


def _read_operator(op: Any, codes: Sequence[Any]) -> _Operator:
    code = codes[op.opcodeIndex]
    key = (max(code.builtinCode, code.deprecatedBuiltinCode), code.version)
    if key not in OPERATORS:
        raise ConversionError(
            f"TFLite operator {key[0]} version {key[1]} is new here; add it to tflite_linking.OPERATORS "
            "and raise EXPORTER_VERSION"
        )
    options = None
    if op.builtinOptions is not None:
        builder = flatbuffers.Builder(64)
        builder.Finish(op.builtinOptions.Pack(builder))
        options = bytes(builder.Output())
    return _Operator(
        opcode_index=OPERATORS.index(key),
        inputs=tuple(int(i) for i in op.inputs),
        outputs=tuple(int(i) for i in op.outputs),
        options_type=op.builtinOptionsType,
        options=options,
    )


# --- writing it again as rows ---------------------------------------------------------------------------------


def _write_tensors(
    writer: PartWriter, tensors: Sequence[_Tensor], region: Region, name: str
) -> dict[str, int]:
    """Fill a region: the given tensors, then unused ones; a buffer for each constant, then empty ones."""
    constants = [tensor for tensor in tensors if tensor.data is not None]
    buffer_rows = writer.rows(
        BUFFER_FIELDS,
        [frozenset({DATA} if k < len(constants) else ()) for k in range(region.buffers)],
    )
    tensor_rows = writer.rows(TENSOR_FIELDS, [_UNUSED] * region.tensors)
    buffer_of = {id(tensor): region.buffer + k for k, tensor in enumerate(constants)}
    for k, tensor in enumerate(tensors):
        label = tensor.name if name == "glue" else f"{name}.{k}"
        _write_tensor(writer, tensor_rows, k, tensor, buffer_of.get(id(tensor), 0), label)
    if len(tensors) < region.tensors:
        shape, label_position = writer.int_vector([1]), writer.string("unused")
        for k in range(len(tensors), region.tensors):
            writer.set_offset(tensor_rows, k, SHAPE, shape)
            writer.set_offset(tensor_rows, k, NAME, label_position)
            writer.set_scalar(tensor_rows, k, HAS_RANK, 1)
    for k, tensor in enumerate(constants):
        writer.set_offset(buffer_rows, k, DATA, writer.byte_vector(tensor.data or b""))
    return {"tensors": tensor_rows.start, "buffers": buffer_rows.start}


def _write_tensor(writer: PartWriter, rows: Rows, row: int, tensor: _Tensor, buffer: int, label: str) -> None:
    writer.set_scalar(rows, row, TYPE, tensor.type)
    writer.set_scalar(rows, row, BUFFER, buffer)
    writer.set_scalar(rows, row, HAS_RANK, 1)
    writer.set_offset(rows, row, SHAPE, writer.int_vector(tensor.shape))
    writer.set_offset(rows, row, NAME, writer.string(label))


def _write_operators(
    writer: PartWriter, operators: Sequence[_Operator], number_of: Mapping[int, int]
) -> tuple[int, int]:
    always = frozenset({OPCODE_INDEX, INPUTS, OUTPUTS})
    rows = writer.rows(
        OPERATOR_FIELDS,
        [always | ({OPTIONS_TYPE, OPTIONS} if op.options is not None else set()) for op in operators],
    )
    for k, op in enumerate(operators):
        writer.set_scalar(rows, k, OPCODE_INDEX, op.opcode_index)
        writer.set_offset(rows, k, INPUTS, writer.int_vector([number_of.get(i, -1) for i in op.inputs]))
        writer.set_offset(rows, k, OUTPUTS, writer.int_vector([number_of[i] for i in op.outputs]))
        if op.options is not None:
            writer.set_scalar(rows, k, OPTIONS_TYPE, op.options_type)
            writer.set_offset(rows, k, OPTIONS, writer.table(op.options))
    return rows.start, rows.count

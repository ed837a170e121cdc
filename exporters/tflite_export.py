"""Fragments to TFLite, by TFLiteConverter and LiteRT's quantizer. Runs in the converter's process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from exporters import tflite_layout as fbs
from exporters.cache import ExportedFragment
from exporters.calibration import calibrate, calibrated_steps
from exporters.errors import ConversionError
from exporters.formats import Precision
from exporters.fragments import GLUE, Fragment, Step, all_values, value_shape
from exporters.tflite_conversion import nhwc, nhwc_array, step_model
from exporters.tflite_graph import Graph, Operator, TfliteTensor, operator_name, read_graph, with_ends
from exporters.tflite_layout import PartWriter, Rows
from exporters.tflite_linking import OPERATORS, region_name
from exporters.tflite_quantization import Range, observed_ranges, quantize, scale_of
from exporters.tflite_regions import Region, region_table
from exporters.weights import Weights
from space import SpaceConfig

_UNUSED = frozenset({fbs.SHAPE, fbs.TYPE, fbs.BUFFER, fbs.NAME, fbs.HAS_RANK})


def export_fragment(
    fragment: Fragment, config: SpaceConfig, weights: Weights, precision: Precision
) -> ExportedFragment:
    """Export one fragment; the layout is JSON with the places of its rows in the part.

    `tensors` and `buffers` are the positions of the first row; `operators` maps the value that is fed (for the
    glue, the sum's value) to the position and count of rows. The glue adds `regions`, each [tensor, tensors, buffer,
    buffers], and `spare_tensors` and `spare_buffers` for regions that a network leaves empty.

    Raises:
        ConversionError: TensorFlow cannot express a layer, the operator table lacks an operator, or a checkpoint does
            not fit its architecture.
    """
    if fragment == GLUE:
        return _export_glue(config, weights, precision)
    possible = calibrated_steps(fragment, config, weights, precision)
    graph = _step_graph(possible[0], config, weights, precision)
    table = region_table(config, precision)
    region, places = table.regions[region_name(fragment)], list(all_values(config))
    number_of = {i: region.tensor + k for k, i in enumerate(graph.inner)}
    if len(graph.inner) > region.tensors or graph.buffers > region.buffers:
        raise ConversionError(f"{fragment} has more tensors than tflite_regions foresees; correct its counts")
    writer = PartWriter()
    inner = [graph.tensors[i] for i in graph.inner]
    layout: dict[str, Any] = {**_write_tensors(writer, inner, region, region_name(fragment), precision)}
    variants = {}
    for step in possible:
        ends_of = {graph.inputs[0]: places.index(step.inputs[0]), graph.output: places.index(step.output)}
        variants[step.inputs[0]] = _write_operators(writer, graph.operators, number_of | ends_of, table.codes)
    layout["operators"] = variants
    return ExportedFragment(part=bytes(writer.data), layout=json.dumps(layout).encode())


def _export_glue(config: SpaceConfig, weights: Weights, precision: Precision) -> ExportedFragment:
    """Export the sums, and with them everything that belongs to no fragment in particular."""
    table, places = region_table(config, precision), list(all_values(config))
    writer = PartWriter()
    values = [_value_tensor(value, config, weights, precision) for value in places]
    region = table.regions[region_name(GLUE)]
    layout: dict[str, Any] = {**_write_tensors(writer, values, region, "glue", precision)}
    largest = Region(
        tensor=0,
        tensors=max(region.tensors for region in table.regions.values()),
        buffer=0,
        buffers=max(region.buffers for region in table.regions.values()),
    )
    spare = _write_tensors(writer, [], largest, "spare", precision)
    layout["spare_tensors"], layout["spare_buffers"] = spare["tensors"], spare["buffers"]
    sums = {}
    for step in calibrated_steps(GLUE, config, weights, precision):
        graph = _step_graph(step, config, weights, precision)
        number_of = dict(zip(graph.inputs, map(places.index, step.inputs), strict=True))
        number_of[graph.output] = places.index(step.output)
        sums[step.output] = _write_operators(writer, graph.operators, number_of, table.codes)
    layout["operators"] = sums
    if table.codes != OPERATORS[precision]:
        layout["codes"] = table.codes
    layout["regions"] = {
        name: [r.tensor, r.tensors, r.buffer, r.buffers] for name, r in table.regions.items()
    }
    return ExportedFragment(part=bytes(writer.data), layout=json.dumps(layout).encode())


# --- converting -----------------------------------------------------------------------------------------------


def _step_graph(step: Step, config: SpaceConfig, weights: Weights, precision: Precision) -> Graph:
    """Convert what a step runs, its ends in int8 with the scales of the values there."""
    model = step_model(step, config, weights, precision)
    graph = read_graph(model)
    if precision != "int8":
        return graph
    given = calibrate(config, weights).ranges
    ranges = _ranges_by_name(
        graph, [given[value] for value in step.inputs], _step_ranges(step, config, weights)
    )
    quantized = read_graph(quantize(model, ranges))
    ends = zip((*quantized.inputs, quantized.output), (*step.inputs, step.output), strict=True)
    return with_ends(
        quantized, {place: _value_tensor(value, config, weights, precision) for place, value in ends}
    )


@lru_cache(maxsize=64)
def _step_ranges(step: Step, config: SpaceConfig, weights: Weights) -> tuple[Range, ...]:
    """Return the ranges of what a step's operators write, the last that of the step's output."""
    model = step_model(step, config, weights, "int8")
    graph = read_graph(model)
    calibration = calibrate(config, weights)
    samples = calibration.inputs[step.output if step.fragment == GLUE else step.fragment]
    seen = observed_ranges(model, ([nhwc_array(one) for one in sample] for sample in samples))
    seen[graph.tensors[graph.output].name] = calibration.ranges[step.output]
    return tuple(seen[graph.tensors[op.outputs[0]].name] for op in graph.operators)


def _ranges_by_name(graph: Graph, inputs: Sequence[Range], written: Sequence[Range]) -> dict[str, Range]:
    ranges = {graph.tensors[i].name: one for i, one in zip(graph.inputs, inputs, strict=True)}
    for op, found in zip(graph.operators, written, strict=True):
        ranges[graph.tensors[op.outputs[0]].name] = found
    return ranges


def _value_tensor(value: str, config: SpaceConfig, weights: Weights, precision: Precision) -> TfliteTensor:
    shape = nhwc(value_shape(value, config))
    ranges = calibrate(config, weights).ranges if precision == "int8" else {}
    if value not in ranges:  # in int8 one that no network of a checkpoint has
        return TfliteTensor(name=value, shape=shape, type=schema.TensorType.FLOAT32)
    scale, zero_point = scale_of(*ranges[value])
    return TfliteTensor(
        name=value,
        shape=shape,
        type=schema.TensorType.INT8,
        scales=(scale,),
        zero_points=(zero_point,),
    )


# --- writing it again as rows ---------------------------------------------------------------------------------


def _write_tensors(
    writer: PartWriter, tensors: Sequence[TfliteTensor], region: Region, name: str, precision: Precision
) -> dict[str, int]:
    """Fill a region: the given tensors, then unused ones; a buffer for each constant, then empty ones."""
    constants = [tensor for tensor in tensors if tensor.data is not None]
    buffer_rows = writer.rows(
        fbs.BUFFER_FIELDS,
        [frozenset({fbs.DATA} if k < len(constants) else ()) for k in range(region.buffers)],
    )
    fields = (*fbs.TENSOR_FIELDS, fbs.QUANTIZATION) if precision == "int8" else fbs.TENSOR_FIELDS
    quantized = [k < len(tensors) and tensors[k].scales != () for k in range(region.tensors)]
    tensor_rows = writer.rows(fields, [_UNUSED | ({fbs.QUANTIZATION} if one else set()) for one in quantized])
    buffer_of = {id(tensor): region.buffer + k for k, tensor in enumerate(constants)}
    for k, tensor in enumerate(tensors):
        label = tensor.name if name == "glue" else f"{name}.{k}"
        _write_tensor(writer, tensor_rows, k, tensor, buffer_of.get(id(tensor), 0), label)
    if len(tensors) < region.tensors:
        shape, label_position = writer.int_vector([1]), writer.string("unused")
        for k in range(len(tensors), region.tensors):
            writer.set_offset(tensor_rows, k, fbs.SHAPE, shape)
            writer.set_offset(tensor_rows, k, fbs.NAME, label_position)
            writer.set_scalar(tensor_rows, k, fbs.HAS_RANK, 1)
    for k, tensor in enumerate(constants):
        writer.set_offset(buffer_rows, k, fbs.DATA, writer.byte_vector(tensor.data or b""))
    return {"tensors": tensor_rows.start, "buffers": buffer_rows.start}


def _write_tensor(
    writer: PartWriter, rows: Rows, row: int, tensor: TfliteTensor, buffer: int, label: str
) -> None:
    writer.set_scalar(rows, row, fbs.TYPE, tensor.type)
    writer.set_scalar(rows, row, fbs.BUFFER, buffer)
    writer.set_scalar(rows, row, fbs.HAS_RANK, 1)
    writer.set_offset(rows, row, fbs.SHAPE, writer.int_vector(tensor.shape))
    writer.set_offset(rows, row, fbs.NAME, writer.string(label))
    if tensor.scales:
        writer.set_offset(rows, row, fbs.QUANTIZATION, writer.table(_packed_quantization(tensor)))


def _packed_quantization(tensor: TfliteTensor) -> bytes:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = list(tensor.scales), list(tensor.zero_points)
    quantization.quantizedDimension = tensor.axis
    builder = flatbuffers.Builder(64)
    builder.Finish(quantization.Pack(builder))
    return bytes(builder.Output())


def _write_operators(
    writer: PartWriter,
    operators: Sequence[Operator],
    number_of: Mapping[int, int],
    codes: Sequence[tuple[int, int]],
) -> tuple[int, int]:
    unknown = [op.code for op in operators if op.code not in codes]
    if unknown:
        raise ConversionError(
            f"TFLite operator {operator_name(unknown[0][0])} version {unknown[0][1]} was not foreseen; export the space anew"
        )
    always = frozenset({fbs.OPCODE_INDEX, fbs.INPUTS, fbs.OUTPUTS})
    rows = writer.rows(
        fbs.OPERATOR_FIELDS,
        [always | ({fbs.OPTIONS_TYPE, fbs.OPTIONS} if op.options is not None else set()) for op in operators],
    )
    for k, op in enumerate(operators):
        writer.set_scalar(rows, k, fbs.OPCODE_INDEX, codes.index(op.code))
        writer.set_offset(rows, k, fbs.INPUTS, writer.int_vector([number_of.get(i, -1) for i in op.inputs]))
        writer.set_offset(rows, k, fbs.OUTPUTS, writer.int_vector([number_of[i] for i in op.outputs]))
        if op.options is not None:
            writer.set_scalar(rows, k, fbs.OPTIONS_TYPE, op.options_type)
            writer.set_offset(rows, k, fbs.OPTIONS, writer.table(op.options))
    return rows.start, rows.count

"""Fragments and whole networks to ONNX, by torch.onnx. Imports torch and onnx; runs in the converter's process.

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
from collections.abc import Iterable, Sequence
from typing import Any

import onnx
import torch
from torch import nn

from exporters.cache import ExportedFragment
from exporters.fragments import GLUE, HEAD, IMAGE, LOGITS, STEM, Fragment, Step, possible_steps, value_shape
from exporters.networks import fragment_module
from exporters.weights import Weights
from space import SpaceConfig

OPSET = 17  # with IR version 8: the newest that ONNX Runtime 1.17 loads and the TorchScript exporter writes


def export_fragment(fragment: Fragment, config: SpaceConfig, weights: Weights) -> ExportedFragment:
    """Export one fragment; the layout is JSON `{"nodes": {"INPUT ...": base64 of a chunk}}`.

    Raises:
        ConversionError: a checkpoint does not fit its architecture.
    """
    module = fragment_module(fragment, config, weights)
    possible = possible_steps(fragment, config)
    shapes = [value_shape(value, config) for value in possible[0].inputs]
    exported = _export(module, shapes, ["a", "b"][: len(shapes)], "out")
    nodes = {step.output if fragment == GLUE else step.inputs[0]: _chunk(exported, step) for step in possible}
    layout = {"nodes": {value: base64.b64encode(chunk).decode() for value, chunk in nodes.items()}}
    return ExportedFragment(
        part=None if fragment == GLUE else _weight_part(exported, fragment),
        layout=json.dumps(layout).encode(),
    )


def export_network(network: nn.Module, config: SpaceConfig) -> bytes:
    """Convert a whole network at once, as torch.onnx does it: the yardstick for linked models."""
    return bytes(_export(network, [value_shape(IMAGE, config)], [IMAGE], LOGITS).SerializeToString())


def _export(
    module: nn.Module, shapes: Iterable[Sequence[int]], inputs: list[str], output: str
) -> onnx.ModelProto:
    buffer: Any = io.BytesIO()  # torch accepts a stream and declares a path only
    images = tuple(torch.zeros(*shape) for shape in shapes)
    with warnings.catch_warnings():
        # torch 2.9 and newer recommend the dynamo exporter, which writes opset 18, too new for old devices.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript", DeprecationWarning)
        torch.onnx.export(
            module,
            images,
            buffer,
            input_names=inputs,
            output_names=[output],
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def _chunk(exported: onnx.ModelProto, step: Step) -> bytes:
    """Return the nodes under names that are unique in every network, with the stem's and head's frame."""
    names = (
        _names(exported, step.fragment) | dict(zip("ab", step.inputs, strict=False)) | {"out": step.output}
    )
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
        copy.input[:] = [names[value] for value in node.input]
        copy.output[:] = [names[value] for value in node.output]
    return bytes(chunk.SerializeToString())


def _weight_part(exported: onnx.ModelProto, fragment: Fragment) -> bytes:
    names = _names(exported, fragment)
    part = onnx.ModelProto()
    for tensor in exported.graph.initializer:
        copy = part.graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name]
    return bytes(part.SerializeToString())


def _names(exported: onnx.ModelProto, fragment: Fragment) -> dict[str, str]:
    """Name weights and inner values by place. A network has one op in a slot, so the op need not be named."""
    stage = "" if fragment.stage is None else f"s{fragment.stage}."
    prefix = stage + (f"op{fragment.slot}" if fragment.kind == "op" else fragment.kind)
    weights = {tensor.name: f"{prefix}.w{i}" for i, tensor in enumerate(exported.graph.initializer)}
    inner = (value for node in exported.graph.node for value in node.output)
    return weights | {value: f"{prefix}.{i}" for i, value in enumerate(inner)}

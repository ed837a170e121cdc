"""Model files for any tool, made of linked models.

A linked model is valid where it is meant to run, but unusual: an ONNX one is a concatenation, which protobuf parsers
merge and some viewers do not; a TFLite one has tensors that no operator uses. Here both are written again in
the ordinary form. That takes a fraction of a second and the format's own library, imported late.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exporters.formats import Format, Precision
from exporters.library import FragmentLibrary, Progress
from exporters.weights import Weights
from space import Architecture


def standalone(
    architecture: Architecture,
    format: Format,
    *,
    cache_dir: Path | str,
    weights: Weights | None = None,
    precision: Precision = "fp32",
    on_progress: Progress | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return one network as an ordinary model file, one image of the space's size at a time.

    ONNX: input `image` (1, C, H, W), output `logits` (1, classes); every node has a name. TFLite: input
    (1, H, W, C), weights in inline buffers, nothing unused, and the signature `serving_default` with these names. Both carry
    `metadata_of` the network, and `metadata` beside it. Other arguments are those of `FragmentLibrary.open`.

    Raises:
        ConversionError: as `FragmentLibrary.open` and `FragmentLibrary.assembly`.
    """
    library = FragmentLibrary.open(
        format,
        cache_dir=cache_dir,
        config=architecture.config,
        weights=weights,
        precision=precision,
        on_progress=on_progress,
    )
    linked = library.assembly(architecture).whole()
    notes = metadata_of(architecture, format, library.weights, precision) | dict(metadata or {})
    return _plain_onnx(linked, notes) if format == "onnx" else _plain_tflite(linked, notes)


def metadata_of(
    architecture: Architecture, format: Format, weights: Weights, precision: Precision
) -> dict[str, str]:
    """Return a file's facts about its network: name, input, weights and precision.

    Less than fp32 with random weights, which fits latencies alone, is called seeded.
    """
    config = architecture.config
    seeded = weights.checkpoint is None
    image_type = "int8" if (format, precision) == ("tflite", "int8") else "float32"
    return {
        "harness.architecture": str(architecture),
        "harness.graph_hash": architecture.graph_hash,
        "harness.space": config.name,
        "harness.layout": "NCHW" if format == "onnx" else "NHWC",
        "harness.image": f"{config.in_channels} channels, {config.image_size} x {config.image_size}, {image_type}",
        "harness.precision": precision + ", seeded" * (seeded and precision != "fp32"),
        "harness.normalization": "none: the weights are random"
        if seeded
        else "that of the training: pixels / 255, less its mean, over its standard deviation, for each channel",
        "harness.weights": weights.identity,
    }


def _plain_onnx(linked: bytes, metadata: Mapping[str, str]) -> bytes:
    import onnx

    model = onnx.load_from_string(linked)  # merges the parts
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _plain_tflite(linked: bytes, metadata: Mapping[str, str]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(linked, 0))
    graph = model.subgraphs[0]
    numbers = [*graph.inputs, *graph.outputs]
    for op in graph.operators:
        numbers += [*op.inputs, *op.outputs]
    used = sorted({int(number) for number in numbers if number >= 0})
    place = {number: k for k, number in enumerate(used)} | {-1: -1}
    codes = sorted({op.opcodeIndex for op in graph.operators})

    buffers, tensors = [model.buffers[0]], []
    for number in used:
        tensor = graph.tensors[number]
        if tensor.buffer:
            buffers.append(model.buffers[tensor.buffer])
            tensor.buffer = len(buffers) - 1
        tensors.append(tensor)
    for op in graph.operators:
        op.inputs, op.outputs = _renumber(op.inputs, place), _renumber(op.outputs, place)
        op.opcodeIndex = codes.index(op.opcodeIndex)
    graph.inputs, graph.outputs = _renumber(graph.inputs, place), _renumber(graph.outputs, place)
    graph.tensors, model.buffers = tensors, buffers
    model.operatorCodes = [model.operatorCodes[code] for code in codes]

    model.metadata = list(model.metadata or [])
    for key, text in metadata.items():
        note = schema.MetadataT()
        note.name, note.buffer = key, len(buffers)
        model.metadata.append(note)
        content = schema.BufferT()
        content.data = np.frombuffer(text.encode(), np.uint8)
        buffers.append(content)
    model.signatureDefs = [_signature(schema, graph)]

    builder = flatbuffers.Builder(len(linked))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _signature(schema: Any, graph: Any) -> Any:
    """Return the signature that TensorFlow Lite's own converter gives, by the names of the ONNX model's ends."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    for name, ends, field in (("image", graph.inputs, "inputs"), ("logits", graph.outputs, "outputs")):
        end = schema.TensorMapT()
        end.name, end.tensorIndex = name, ends[0]
        setattr(signature, field, [end])
    return signature


def _renumber(numbers: Any, place: dict[int, int]) -> list[int]:
    return [place[int(number)] for number in numbers]

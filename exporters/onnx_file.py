"""ONNX files read as data: inputs, outputs, versions; external data is folded in.

Nothing of a file is run here: protobuf parses it, which bounds what it reads, and no runtime sees it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from exporters.model_input import FileFacts, ModelEnd, precision_of
from space.errors import ConfigError
from space.system_errors import with_remedy

MOST_TENSORS = 1_000_000
_QUANTIZED = re.compile(r"QuantizeLinear|QLinear\w+|QGemm")
_DYNAMIC = re.compile(r"DynamicQuantize\w+|MatMulInteger\w*|ConvInteger")


def read_onnx(path: Path, data: bytes, limit_bytes: int) -> tuple[FileFacts, bytes]:
    """Return an ONNX file's facts, and its bytes with external data folded in.

    Raises: ConfigError for what is no ONNX model, or external data that is absent, cut off, outside the folder or too large.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"{path}: no ONNX model, or a damaged one ({error or 'it cannot be parsed'}); copy or export it again"
        ) from error
    _check_texts(path, model)
    if not model.graph.node or not model.ir_version:
        raise ConfigError(
            f"{path}: no ONNX model, or a damaged one (it has no graph); copy or export it again"
        )
    facts = FileFacts(
        inputs=tuple(_inputs(path, model)),
        outputs=tuple(map(_end, model.graph.output)),
        precision=_precision(path, model),
        versions=_versions(model),
    )
    outside = [tensor for tensor in _tensors(path, model) if tensor.data_location == tensor.EXTERNAL]
    if not outside:
        return facts, data
    left_bytes = limit_bytes - len(data)
    for tensor in outside:
        try:
            left_bytes -= _fold(path, tensor, left_bytes)
        except OSError as error:
            reason = with_remedy(error, "put it beside the model")
            raise ConfigError(f"{path}: its external data cannot be read: {reason}") from error
    return facts, model.SerializeToString(deterministic=True)


def _check_texts(path: Path, model: Any) -> None:
    """Refuse names that are no UTF-8, which protobuf hands out as bytes. Raises: ConfigError."""
    values = [*model.graph.input, *model.graph.output]
    texts = [one.name for one in values]
    texts += [dim.dim_param for one in values for dim in one.type.tensor_type.shape.dim]
    for text in texts:
        if isinstance(text, bytes):
            raise ConfigError(f"{path}: the name {text[:40]!r} in it is no UTF-8; export the model again")


def _inputs(path: Path, model: Any) -> Iterator[ModelEnd]:
    own = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in own:
            continue
        if not value.type.HasField("tensor_type"):
            raise ConfigError(
                f"{path}: input {value.name!r} is no tensor, and harness gives tensors alone; export without it"
            )
        if not value.type.tensor_type.HasField("shape"):
            raise ConfigError(
                f"{path}: input {value.name!r} says no sizes, not even how many; export it with them, or write them into it: "
                "onnx.tools.update_model_dims"
            )
        found = _end(value, least=0)
        if found.dtype == "object":
            raise ConfigError(
                f"{path}: input {value.name!r} holds text, and harness gives numbers alone; export the model from its numbers on"
            )
        yield found


def _end(value: Any, least: int = 1) -> ModelEnd:
    """Return an input or output; what is no tensor has no known type, and sizes below the `least` count as free."""
    kind = value.type.tensor_type
    shape = (
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= least else (dim.dim_param or None)
        for dim in kind.shape.dim
    )
    return ModelEnd(name=value.name, dtype=_dtype(kind.elem_type), shape=tuple(shape))


def _dtype(number: int) -> str:
    """Return the name of an element type, numpy's where it has one, `undefined` for a number of none."""
    import onnx

    try:
        name = str(onnx.TensorProto.DataType.Name(number)).lower()
    except ValueError:
        return "undefined"
    return {"float": "float32", "double": "float64", "string": "object"}.get(name, name)


def _graphs(path: Path, model: Any) -> Iterator[Any]:
    """Yield a model's graph and functions, and the graphs inside their nodes."""
    waiting, seen = [model.graph, *model.functions], 0
    while waiting:
        one = waiting.pop()
        yield one
        for node in one.node:
            seen += 1 + len(node.attribute)
            if seen > MOST_TENSORS:
                raise ConfigError(
                    f"{path}: more than {MOST_TENSORS:,} nodes and attributes; harness reads no such model"
                )
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _tensors(path: Path, model: Any) -> Iterator[Any]:
    """Yield the tensors that a model holds, in nodes too."""
    for one in _graphs(path, model):
        if hasattr(one, "initializer"):  # a function has none
            yield from one.initializer
            for sparse in one.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def _precision(path: Path, model: Any) -> str:
    """Return the precision of the weights and ops of a model's graph and functions, and of the graphs inside their nodes."""
    weights, values, ops = Counter[str](), Counter[str](), set[str]()
    for graph in _graphs(path, model):
        tensors = {one.name: one for one in getattr(graph, "initializer", ())}
        for node in graph.node:
            if node.op_type == "Constant":
                held = [one.t for one in node.attribute if one.HasField("t")]
                tensors |= dict(zip(node.output, held, strict=False))
        counts = {name: (_dtype(one.data_type), prod(one.dims)) for name, one in tensors.items()}
        for node in graph.node:
            if _is_packed(node) and node.input[1] in counts:
                counts[node.input[1]] = ("uint4", 2 * counts[node.input[1]][1])
            elif node.op_type == "QuantizeLinear" and node.input and node.input[0] in counts:
                # Runtimes do so when they load it.
                counts[node.input[0]] = (_quantized(node, tensors), counts[node.input[0]][1])
            else:
                ops.add(str(node.op_type))  # bytes where it is no UTF-8
                if node.op_type == "QuantizeLinear":
                    values[_quantized(node, tensors)] += 1
        for dtype, count in counts.values():
            weights[dtype] += count
    value_bits = 8 if any(map(_QUANTIZED.fullmatch, ops)) else 0
    if 2 * (values["int16"] + values["uint16"]) > values.total():
        value_bits = 16
    return precision_of(
        weights,
        values=[_dtype(value.type.tensor_type.elem_type) for value in model.graph.input],
        value_bits=value_bits,
        dynamic=any(map(_DYNAMIC.fullmatch, ops)),
    )


def _quantized(node: Any, tensors: Mapping[str, Any]) -> str:
    """Return the element type that a QuantizeLinear writes: that of its zero point, or the one that it names."""
    if len(node.input) > 2 and node.input[2] in tensors:
        return _dtype(tensors[node.input[2]].data_type)
    named = next((one.i for one in node.attribute if one.name == "output_dtype"), 0)
    return _dtype(named) if named else "uint8"


def _is_packed(node: Any) -> bool:
    """Return whether a node is onnxruntime's product with weights of 4 bits, two in a byte of its second input."""
    bits = next((one.i for one in node.attribute if one.name == "bits"), 4)
    return node.op_type == "MatMulNBits" and len(node.input) > 1 and bits == 4


def _versions(model: Any) -> str:
    opsets = ", ".join(f"{one.domain or 'ai.onnx'} {one.version}" for one in list(model.opset_import)[:8])
    return f"IR version {model.ir_version}, opset {opsets}"


def _fold(path: Path, tensor: Any, left_bytes: int) -> int:
    """Put a tensor's external data into it; return how many bytes those are. Raises: ConfigError."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    if any(isinstance(word, bytes) for word in (*told, *told.values())):
        raise ConfigError(f"{path}: tensor {tensor.name!r}: its place is no UTF-8; export the model again")
    source = _beside(path, told.get("location", ""))
    try:
        offset, length = int(told.get("offset") or 0), int(told.get("length") or -1)
    except ValueError as error:
        raise ConfigError(f"{path}: tensor {tensor.name!r}: {error}; export the model again") from error
    size = source.stat().st_size
    length = size - offset if length < 0 else length
    if offset < 0 or length < 0 or offset + length > size:
        raise ConfigError(
            f"{path}: tensor {tensor.name!r} ends at byte {offset + length} of {source.name}, which has {size}; "
            "copy the file whole, or export the model again"
        )
    if length > left_bytes:
        raise ConfigError(
            f"{path}: its external data is over the limit of 2 GiB in all that a model may have; "
            "use a smaller model, or one of less precision"
        )
    with source.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    return length


def _beside(path: Path, location: str) -> Path:
    """Return the file of external data, which lies in the model's folder. Raises: ConfigError."""
    folder = path.parent.resolve()
    target = folder / location
    if not location or "\0" in location or Path(location).is_absolute() or ".." in Path(location).parts:
        raise ConfigError(
            f"{path}: its external data lies at {location!r}, outside its folder, where harness does not read; "
            "save the model with its data beside it"
        )
    try:
        resolved = target.resolve()
    except (OSError, RuntimeError) as error:  # links that lead to themselves
        raise ConfigError(
            f"{path}: its external data {location!r} is a link to itself; copy it beside the model"
        ) from error
    if not resolved.is_relative_to(folder):
        raise ConfigError(
            f"{path}: its external data {location!r} is a link out of its folder, where harness does not read; "
            "copy the data beside the model"
        )
    if not target.is_file():
        raise ConfigError(f"{path}: its external data {location!r} is not there; copy it beside the model")
    return target

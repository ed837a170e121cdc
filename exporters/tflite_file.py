"""TFLite files: what they say of themselves, read by their schema as data alone.

The readers that flatbuffers makes for Python check each access against the buffer's end and raise; no runtime sees the file.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from exporters.model_input import FLOATS, INTEGERS, UNKNOWN, FileFacts, ModelInput, precision_of
from space.errors import ConfigError

MAGIC = b"TFL3"
MOST_TENSORS = 1_000_000
_BAD = (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, AssertionError)
_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "BFLOAT16": "bfloat16",
    "BOOL": "bool",
    "STRING": "object",
} | {f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (4, 8, 16, 32, 64)}


def read_tflite(path: Path, data: bytes) -> FileFacts:
    """Return what a TFLite file says of itself. Raises: ConfigError for what is no TFLite model."""
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != MAGIC:
        raise ConfigError(f"{path}: no TFLite model (it lacks the mark TFL3); copy or convert it again")
    try:
        model = schema.Model.GetRootAs(data, 0)
        if not 0 < model.SubgraphsLength() <= MOST_TENSORS:
            raise ValueError("it has no graph")
        graph = model.Subgraphs(0)
        for length in (
            graph.TensorsLength(),
            graph.OperatorsLength(),
            model.BuffersLength(),
            graph.InputsLength(),
        ):
            if length > MOST_TENSORS:
                raise ValueError(f"it has {length:,} tensors or operators")
        names = {value: _DTYPES.get(name, name.lower()) for name, value in vars(schema.TensorType).items()}
        inputs = tuple(_inputs(path, model, graph, names))
        versions = f"schema {model.Version()}, {graph.OperatorsLength()} operators"
        return FileFacts(inputs=inputs, precision=_precision(model, graph, names), versions=versions)
    except _BAD as error:
        raise ConfigError(f"{path}: a damaged TFLite model ({error}); copy or convert it again") from error


def _inputs(path: Path, model: Any, graph: Any, dtypes: dict[Any, str]) -> Iterator[ModelInput]:
    aliases = _aliases(model)
    for place in range(graph.InputsLength()):
        number = graph.Inputs(place)
        tensor = graph.Tensors(number)
        name = (tensor.Name() or b"").decode()
        dtype = dtypes.get(tensor.Type(), "undefined")
        if dtype == "object":
            raise ConfigError(
                f"{path}: input {name!r} holds text, and harness gives numbers alone; convert the model from its numbers on"
            )
        shape = [tensor.Shape(axis) for axis in range(_bounded(tensor.ShapeLength()))]
        signed = [
            tensor.ShapeSignature(axis) for axis in range(_bounded(tensor.ShapeSignatureLength()))
        ] or shape
        sizes = tuple(size if size > 0 else None for size in signed)
        yield ModelInput(name=name, dtype=dtype, shape=sizes, aliases=aliases.get(number, ()))


def _aliases(model: Any) -> dict[int, tuple[str, ...]]:
    """Return the names of the first graph's inputs in its signatures, by tensor."""
    found: dict[int, tuple[str, ...]] = {}
    for place in range(_bounded(model.SignatureDefsLength())):
        signature = model.SignatureDefs(place)
        if signature.SubgraphIndex() == 0:
            for number in range(_bounded(signature.InputsLength())):
                one = signature.Inputs(number)
                name = (one.Name() or b"").decode()
                found[one.TensorIndex()] = (*found.get(one.TensorIndex(), ()), name)
    return found


def _precision(model: Any, graph: Any, dtypes: dict[Any, str]) -> str:
    weights: Counter[str] = Counter()
    values: Counter[str] = Counter()
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        dtype = dtypes.get(tensor.Type(), "undefined")
        buffer = model.Buffers(tensor.Buffer()) if 0 < tensor.Buffer() < model.BuffersLength() else None
        if buffer is not None and (buffer.DataLength() or buffer.Size()):
            weights[dtype] += prod(
                max(1, tensor.Shape(axis)) for axis in range(_bounded(tensor.ShapeLength()))
            )
        else:
            values[dtype] += 1
    integers = sum(values[dtype] for dtype in (*INTEGERS, "int16"))
    is_integer = integers > sum(values[dtype] for dtype in FLOATS)
    found = precision_of(weights, integer_values=is_integer, dynamic=False)
    if found != UNKNOWN:
        return found
    return next((FLOATS[dtype] for dtype, _ in values.most_common() if dtype in FLOATS), UNKNOWN)


def _bounded(length: int) -> int:
    if length > MOST_TENSORS:
        raise ValueError(f"a list of {length:,} entries")
    return length

"""TFLite files read as data by their schema: inputs, outputs, versions.

The readers that flatbuffers makes for Python check each access against the buffer's end and raise; no runtime sees the file.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from exporters.model_input import FLOATS, INTEGERS, FileFacts, ModelEnd, precision_of
from space.errors import ConfigError, did_you_mean

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


@dataclass(frozen=True, slots=True)
class _Signature:
    """A signature of a file: its graph, and its names of inputs and outputs with their tensors."""

    key: str
    graph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


def read_tflite(path: Path, data: bytes, signature: str = "") -> FileFacts:
    """Return a TFLite file's facts: of the graph of a signature that it has, else of its only one.

    Raises: ConfigError for what is no TFLite model, and for several signatures of which none is named.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != MAGIC:
        raise ConfigError(f"{path}: no TFLite model (it lacks the mark TFL3); copy or convert it again")
    try:
        model = schema.Model.GetRootAs(data, 0)
        if not 0 < model.SubgraphsLength() <= MOST_TENSORS:
            raise ValueError("it has no graph")
        signatures = _signatures(model)
        chosen = _chosen(path, signatures, signature)
        graph = model.Subgraphs(0 if chosen is None else chosen.graph)
        for length in (
            graph.TensorsLength(),
            graph.OperatorsLength(),
            model.BuffersLength(),
            graph.InputsLength(),
            graph.OutputsLength(),
        ):
            if length > MOST_TENSORS:
                raise ValueError(f"it has {length:,} tensors or operators")
        names = {value: _DTYPES.get(name, name.lower()) for name, value in vars(schema.TensorType).items()}
        return FileFacts(
            inputs=tuple(_inputs(path, graph, chosen or _of_graph(signatures, 0), names)),
            outputs=tuple(_outputs(graph, chosen, _of_graph(signatures, 0), names)),
            precision=_precision(model, graph, names),
            versions=f"schema {model.Version()}, {graph.OperatorsLength()} operators",
            signature="" if chosen is None else chosen.key,
            signatures=tuple(one.key for one in signatures),
        )
    except _BAD as error:
        raise ConfigError(f"{path}: a damaged TFLite model ({error}); copy or convert it again") from error


def _signatures(model: Any) -> list[_Signature]:
    found = []
    for place in range(_bounded(model.SignatureDefsLength())):
        one = model.SignatureDefs(place)
        if not 0 <= one.SubgraphIndex() < model.SubgraphsLength():
            raise ValueError(f"a signature of graph {one.SubgraphIndex()}, which it lacks")
        inputs = [one.Inputs(number) for number in range(_bounded(one.InputsLength()))]
        outputs = [one.Outputs(number) for number in range(_bounded(one.OutputsLength()))]
        found.append(
            _Signature(
                (one.SignatureKey() or b"").decode(),
                one.SubgraphIndex(),
                tuple(((end.Name() or b"").decode(), end.TensorIndex()) for end in inputs),
                tuple(((end.Name() or b"").decode(), end.TensorIndex()) for end in outputs),
            )
        )
    return found


def _chosen(path: Path, signatures: Sequence[_Signature], name: str) -> _Signature | None:
    """Return the signature to run, None where the file's first graph is all that there is to choose.

    Raises: ConfigError where there are several graphs to choose from and none of them is named.
    """
    is_choice = any(one.graph for one in signatures)
    named = next((one for one in signatures if one.key == name), None)
    if named is not None or not is_choice:
        return named if is_choice else None
    if len(signatures) == 1:
        return signatures[0]
    shown = "; ".join(
        f"{one.key} ({', '.join(end for end, _ in one.inputs) or 'no inputs'})" for one in signatures
    )
    if name:
        near = did_you_mean(name, (one.key for one in signatures))
        raise ConfigError(f"{path}: has no signature {name!r}{near} (it has: {shown})")
    raise ConfigError(
        f"{path}: has {len(signatures)} signatures, and which one is run makes its latency; name it with --signature: {shown}"
    )


def _of_graph(signatures: Sequence[_Signature], graph: int) -> _Signature | None:
    """Return the signature that names the ends of a graph."""
    return next((one for one in signatures if one.graph == graph), None)


def _inputs(
    path: Path, graph: Any, signature: _Signature | None, dtypes: dict[Any, str]
) -> Iterator[ModelEnd]:
    for place in range(graph.InputsLength()):
        found = _end(graph, graph.Inputs(place), () if signature is None else signature.inputs, dtypes)
        if found.dtype == "object":
            raise ConfigError(
                f"{path}: input {found.name!r} holds text, and harness gives numbers alone; convert the model from its numbers on"
            )
        yield found


def _outputs(
    graph: Any, chosen: _Signature | None, known: _Signature | None, dtypes: dict[Any, str]
) -> list[ModelEnd]:
    """Return the outputs by the order of their names, as each runtime tells them."""
    numbers = [tensor for _, tensor in chosen.outputs] if chosen is not None else []
    numbers = numbers or [graph.Outputs(place) for place in range(graph.OutputsLength())]
    names = chosen or known
    ends = (_end(graph, number, () if names is None else names.outputs, dtypes) for number in numbers)
    return sorted(ends, key=lambda end: end.name)


def _end(graph: Any, number: int, called: Sequence[tuple[str, int]], dtypes: dict[Any, str]) -> ModelEnd:
    """Return the input or output that is a tensor of a graph; `called` are a signature's names with their tensors."""
    tensor = graph.Tensors(number)
    shape = [tensor.Shape(axis) for axis in range(_bounded(tensor.ShapeLength()))]
    signed = [tensor.ShapeSignature(axis) for axis in range(_bounded(tensor.ShapeSignatureLength()))] or shape
    told = tensor.Quantization()
    is_scaled = told is not None and told.ScaleLength() == 1 and told.ZeroPointLength() <= 1
    return ModelEnd(
        name=(tensor.Name() or b"").decode(),
        dtype=dtypes.get(tensor.Type(), "undefined"),
        shape=tuple(size if size > 0 else None for size in signed),
        aliases=tuple(end for end, one in called if one == number),
        scale=float(told.Scale(0)) if is_scaled else 0.0,
        zero_point=int(told.ZeroPoint(0)) if is_scaled and told.ZeroPointLength() else 0,
    )


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
    of_8, of_16 = sum(values[dtype] for dtype in INTEGERS), values["int16"]
    is_integer = of_8 + of_16 > sum(values[dtype] for dtype in FLOATS)
    value_bits = (16 if of_16 > of_8 else 8) if is_integer else 0
    most_common = [dtype for dtype, _ in values.most_common()]
    return precision_of(weights, values=most_common, value_bits=value_bits, dynamic=False)


def _bounded(length: int) -> int:
    if length > MOST_TENSORS:
        raise ValueError(f"a list of {length:,} entries")
    return length

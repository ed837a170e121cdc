"""Contents of a TFLite model of one subgraph, as plain values, and ends brought to other scales. Needs no tensorflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters.errors import ConversionError

QUANTIZE = (schema.BuiltinOperator.QUANTIZE, 1)
_OPERATOR_NAMES: Mapping[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteTensor:
    """`scales` and `zero_points` are empty where it is not quantized; there is one for each place along `axis`, or one."""

    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes | None = None
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """`code` is (BuiltinOperator, version) in schema.fbs; inputs and outputs are places of tensors, -1 for none.

    `options` is a finished flatbuffer, whose root is the table of a type that `options_type` tells.
    """

    code: tuple[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Operators are in the order in which they run; `inputs` are in that of the converted module's arguments."""

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    output: int

    @property
    def inner(self) -> tuple[int, ...]:
        """The places of tensors that are neither an input nor the output."""
        ends = {*self.inputs, self.output}
        return tuple(place for place in range(len(self.tensors)) if place not in ends)

    @property
    def buffers(self) -> int:
        """Number of inner tensors that are constant."""
        return sum(self.tensors[place].data is not None for place in self.inner)


def read_graph(model_bytes: bytes) -> Graph:
    """Return the graph of a finished model.

    Raises:
        ConversionError: it has an operator that is not one of TFLite's own.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model_bytes, 0))
    subgraph = model.subgraphs[0]
    tensors = []
    for tensor in subgraph.tensors:
        quantization = tensor.quantization
        quantized = quantization is not None and quantization.scale is not None
        tensors.append(
            TfliteTensor(
                name=tensor.name.decode(),
                shape=tuple(int(n) for n in tensor.shape) if tensor.shape is not None else (),
                type=tensor.type,
                data=_read_data(model.buffers[tensor.buffer], model_bytes),
                scales=tuple(map(float, quantization.scale)) if quantized else (),
                zero_points=tuple(map(int, quantization.zeroPoint)) if quantized else (),
                axis=quantization.quantizedDimension if quantized else 0,
            )
        )
    return Graph(
        tensors=tuple(tensors),
        operators=tuple(_read_operator(op, model.operatorCodes) for op in subgraph.operators),
        # The converter lists arguments in any order; their names, inputs_0 and inputs_1, tell which is which.
        inputs=tuple(sorted(map(int, subgraph.inputs), key=lambda i: tensors[i].name)),
        output=int(subgraph.outputs[0]),
    )


def with_ends(graph: Graph, ends: Mapping[int, TfliteTensor]) -> Graph:
    """Return a graph whose ends, by place, have the given scales: by a QUANTIZE operator where they have others.

    An operator that passes its input's scale on, such as pooling or a concatenation, leaves no choice inside.
    """
    tensors, before, after = list(graph.tensors), list[Operator](), list[Operator]()
    inputs, output = list(graph.inputs), graph.output
    for place, wanted in ends.items():
        found = graph.tensors[place]
        if (found.type, found.scales, found.zero_points) == (wanted.type, wanted.scales, wanted.zero_points):
            continue
        tensors.append(replace(found, type=wanted.type, scales=wanted.scales, zero_points=wanted.zero_points))
        if place == graph.output:
            output = len(tensors) - 1
            after.append(_rescale(place, output))
        else:
            inputs[inputs.index(place)] = len(tensors) - 1
            before.append(_rescale(len(tensors) - 1, place))
    return Graph(
        tensors=tuple(tensors),
        operators=(*before, *graph.operators, *after),
        inputs=tuple(inputs),
        output=output,
    )


def operator_name(code: int) -> str:
    """Return the name of an operator in schema.fbs."""
    return _OPERATOR_NAMES.get(code, f"operator {code}")


def _rescale(source: int, target: int) -> Operator:
    return Operator(code=QUANTIZE, inputs=(source,), outputs=(target,), options_type=0, options=None)


def _read_data(buffer: Any, model_bytes: bytes) -> bytes | None:
    if buffer.offset > 1:  # the quantizer puts large weights behind the flatbuffer
        return model_bytes[buffer.offset : buffer.offset + buffer.size]
    if buffer.data is None or len(buffer.data) == 0:
        return None
    return np.asarray(buffer.data, np.uint8).tobytes()


def _read_operator(op: Any, codes: Sequence[Any]) -> Operator:
    code = codes[op.opcodeIndex]
    if code.customCode is not None or op.builtinOptions2 is not None:
        name = (code.customCode or operator_name(code.builtinCode).encode()).decode(errors="replace")
        raise ConversionError(f"the converter made {name}, which runtimes do not have; use other layers")
    options = None
    if op.builtinOptions is not None:
        builder = flatbuffers.Builder(64)
        builder.Finish(op.builtinOptions.Pack(builder))
        options = bytes(builder.Output())
    return Operator(
        code=(max(code.builtinCode, code.deprecatedBuiltinCode), code.version),
        inputs=tuple(int(i) for i in op.inputs),
        outputs=tuple(int(i) for i in op.outputs),
        options_type=op.builtinOptionsType,
        options=options,
    )

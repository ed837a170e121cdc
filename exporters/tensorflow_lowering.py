"""PyTorch modules as TensorFlow graphs in NHWC. Imports torch and tensorflow; runs in the converter's process.

`torch.export` writes a module as a program of ATen's ops, which is walked op by op (`exporters.tensorflow_ops`). Feature maps
are (1, H, W, C) here and (1, C, H, W) in torch; the two formats' models take images in these two orders.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from exporters.errors import ConversionError
from exporters.tensorflow_ops import OPS, op_name
from exporters.tensorflow_values import Value, arranged, boundary_order, constant
from space.text import first_of, reason_of

_SHOWN_OPS = 4


def trace(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> ExportedProgram:
    """Return the program of a module in eval mode, for float32 tensors of shapes in torch's order; all its ops are known here.

    Nothing is converted yet, so that this tells within a second if a module can be.

    Raises:
        ConversionError: torch cannot trace it, it does not map these tensors to one, or it has ops that have no TensorFlow form.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, tuple(torch.zeros(shape) for shape in shapes), strict=False)
            if any(_is_in_place(node) for node in _calls(program)):
                program = program.run_decompositions({})
            unknown: set[Any] = {node.target for node in _calls(program) if not _is_known(node)}
            if unknown:
                table: Any = torch.export.default_decompositions()
                program = program.run_decompositions({op: table[op] for op in unknown if op in table})
    except Exception as error:  # whatever torch raises for what it does not trace
        raise ConversionError(
            f"{type(module).__name__} cannot be traced by torch.export: {reason_of(error)}; compute with tensors of fixed "
            "shapes, and branch on no value of theirs"
        ) from error
    unknown_nodes = [node for node in _calls(program) if not _is_known(node)]
    if unknown_nodes:
        shown = first_of(list(map(_place, unknown_nodes)), _SHOWN_OPS, "; ")
        raise ConversionError(
            f"no TensorFlow form for {shown}; use another layer there, or measure in ONNX Runtime"
        )
    if (outputs := len(program.graph_signature.user_outputs)) != 1:
        raise ConversionError(f"{type(module).__name__} gives {outputs} values; a part computes one tensor")
    return program


def lower(program: ExportedProgram, weights: Mapping[str, torch.Tensor], *inputs: Any) -> Any:
    """Return the TensorFlow tensor that a traced program computes from others, with the weights of a module's `state_dict`.

    Feature maps come and go as (1, H, W, C).

    Raises:
        ConversionError: an op has arguments that have no TensorFlow form.
    """
    values = _placeholders(program, weights, inputs)
    for node in program.graph.nodes:
        if node.op == "output":
            results: Any = fx.map_arg(node.args[0], values.__getitem__)
            (result,) = results
            return arranged(result, boundary_order(len(result.order))).tensor
        if node.op == "call_function":
            arguments: Any = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            args, kwargs = arguments
            try:
                values[node] = _function(node)(*args, **kwargs)
            except Exception as error:  # ours, and whatever TensorFlow raises for such arguments
                said = str(error) if isinstance(error, ConversionError) else reason_of(error)
                raise ConversionError(f"no TensorFlow form for {_place(node)}: {said}") from error
    raise ConversionError("the program returns nothing")


def _placeholders(
    program: ExportedProgram, weights: Mapping[str, torch.Tensor], inputs: Sequence[Any]
) -> dict[fx.Node, Any]:
    given, values = iter(inputs), dict[fx.Node, Any]()
    known = program.constants | dict(weights)
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = kinds[node.name]
            if spec.kind == InputKind.USER_INPUT:
                tensor = next(given)
                values[node] = Value(tensor=tensor, order=boundary_order(len(tensor.shape)))
            else:
                values[node] = constant(known[str(spec.target)].detach().numpy())
    return values


def _function(node: fx.Node) -> Any:
    if node.target is operator.getitem:
        return operator.getitem
    return lambda *args, **kwargs: OPS[op_name(node)](node, *args, **kwargs)


def _calls(program: ExportedProgram) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


def _is_known(node: fx.Node) -> bool:
    return node.target is operator.getitem or op_name(node) in OPS


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _place(node: fx.Node) -> str:
    """Return an op's name and the module that calls it."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return f"op {op_name(node)}"
    path, kind = stack[-1]
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    return f"op {op_name(node)} in {path or 'the module itself'} ({name})"

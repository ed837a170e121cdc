"""Identity of a torch module by its graph of ATen ops: digest, shapes, costs, and where its weights are used. Imports torch.

A module is run once, in evaluation mode and on tensors without data, and each op is written down (`make_fx`). Names of parameters
and of the module's own parts are in no digest: what counts are ops, their order, their arguments and shapes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from space.errors import ArchitectureError
from space.layout import FLOAT_BYTES, MapSizes, Traced
from space.module_functions import running
from space.text import reason_of

MAX_NODES = 20_000  # of a graph: what has more is no candidate of a site
# A step is what a runtime runs at once: these take no step of their own after the op whose output they alone read.
_FUSED = ("batch_norm", "relu", "relu_", "hardtanh", "hardtanh_")
_VIEWS = (
    "flatten",
    "view",
    "reshape",
    "dropout",
    "detach",
    "alias",
    "lift_fresh_copy",
    "_to_copy",
    "squeeze",
    "unsqueeze",
)
_CONVOLUTIONS = ("conv2d", "conv1d", "conv3d", "convolution")
# Arguments that depend on the machine and not on the module: whether cuDNN is there.
_MACHINE_ARGUMENTS = {"batch_norm": (8,), "layer_norm": (5,), "group_norm": (5,), "instance_norm": (8,)}
_ATEN = torch.ops.aten
# Attention on a processor, of which torch has no formula.
_AS_ON_GPUS = {_ATEN._scaled_dot_product_flash_attention_for_cpu: _ATEN._scaled_dot_product_flash_attention}
# Nor of a layer of an LSTM, two products with weights each step, and of a bilinear layer.
_FORMULAS = {
    **flop_registry,
    _ATEN._trilinear: lambda x, weight, *_, out_val: 2 * out_val.numel() * weight[0].numel(),
    _ATEN.mkldnn_rnn_layer: lambda x, own, fed, *_, **__: (
        2 * x.shape[0] * x.shape[1] * (own.numel() + fed.numel())
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleGraph:
    """A module's graph: nodes in running order, and which of the module's tensors each `get_attr` node reads, by its name.

    Names of the module's state are those of `state_dict`: `state` has parameters and the statistics of BatchNorms. Any other
    tensor is a constant, `made`, whether the module keeps it as a buffer or makes it.
    """

    nodes: tuple[fx.Node, ...]
    names: dict[str, str]
    state: dict[str, Tensor]
    made: dict[str, Tensor]
    # Convolution and the BatchNorm behind it, by the names of these modules.
    folds: tuple[tuple[str, str], ...] = ()

    def reads(self, node: fx.Node, place: int) -> str:
        """Return the name of the state that an argument of a node is, empty where it is none."""
        given = node.args[place] if place < len(node.args) else None
        return self.names.get(given.name, "") if isinstance(given, fx.Node) else ""


def trace(module: nn.Module, shape: tuple[int, ...], *, runs: int = 1) -> tuple[Traced, ModuleGraph]:
    """Return the identity and costs of a module that reads one float32 tensor of `shape`, (1, C, H, W), and its graph.

    The graph is that of the last of `runs`: a module that keeps no state has the same in each.

    Raises:
        ArchitectureError: it cannot be traced: the message says why, and what to do, and begins with no name of the module.
    """
    if any(nn.parameter.is_lazy(one) or one.is_meta for one in module.parameters()):
        raise ArchitectureError(
            "has parameters that have no values yet; make no lazy layers, and none on 'meta'"
        )
    try:
        # Without gradients: for these the counter of MACs adds ops to the graph.
        module = copy.deepcopy(module).eval().requires_grad_(False)
    except Exception as error:  # of weights that are computed once, in place of parameters
        raise ArchitectureError(
            f"cannot be copied: {reason_of(error)}; keep parameters, buffers and plain values in it (in place of "
            "torch.nn.utils.weight_norm take that of torch.nn.utils.parametrizations)"
        ) from error
    for _ in range(runs - 1):
        _run(module, shape)
    graph, macs = _graph(module, shape)
    for node in graph.nodes:
        if node.op == "call_function":
            _check_op(node)
    output = graph.nodes[-1].args[0]
    if not isinstance(output, fx.Node):
        raise ArchitectureError("returns no single tensor; return one")
    value = _value(output)
    if value.dtype != torch.float32:
        raise ArchitectureError(f"returns {value.dtype}; return float32")
    graph = replace(graph, folds=_folds(module, graph))
    params = sum(one.numel() for one in module.parameters())
    return (
        Traced(
            digest=_digest(graph, shape),
            params=params,
            macs=macs,
            peak_bytes=FLOAT_BYTES * _peak(graph),
            output=tuple(value.shape),
            passes=output.op == "placeholder",
        ),
        graph,
    )


def learning_of(module: nn.Module, shape: tuple[int, ...]) -> list[object]:
    """Return how a fresh module learns, in JSON's values: a digest of its graph in training, and the scale of each weight.

    The digest is empty where the graph depends on values, or the module cannot be run on two images of `shape`, (1, C, H, W).
    """
    scales = [_octaves(one.detach()) for one in module.parameters()]
    try:
        graph, _ = _graph(copy.deepcopy(module).train().requires_grad_(False), (2, *shape[1:]))
        return [_digest(graph, shape), scales]
    except ArchitectureError:
        return ["", scales]


def _octaves(weight: Tensor) -> int | None:
    """Return a tensor's root mean square as a logarithm, in eighths: what rounding moves on another machine stays as it is."""
    size = float(weight.double().square().mean().sqrt()) if weight.numel() else 0.0
    return round(8 * math.log2(size)) if 0 < size < math.inf else None


def op_name(node: fx.Node) -> str:
    """Return an op's name without namespace and overload, such as `conv2d`."""
    return str(getattr(node.target, "_opname", "") or getattr(node.target, "__name__", node.target))


def _graph(module: nn.Module, shape: tuple[int, ...]) -> tuple[ModuleGraph, int]:
    """Return a module's graph, and its multiply-accumulates of convolutions and matrix products."""
    counter = _Counter()  # type: ignore[no-untyped-call]

    def counted(x: Tensor) -> Any:
        with counter:
            return module(x)

    with _running(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        traced = make_fx(counted, tracing_mode="fake", pre_dispatch=True, _allow_non_fake_inputs=True)(
            torch.zeros(shape)
        )
    nodes = tuple(traced.graph.nodes)
    if len(nodes) > MAX_NODES:
        raise ArchitectureError(f"runs {len(nodes):,} ops, more than {MAX_NODES:,}; make it smaller")
    statistics = {
        one.name
        for node in nodes
        if op_name(node) == "batch_norm"
        for one in node.args[3:5]
        if isinstance(one, fx.Node)
    }
    owned = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    names, state, made = {}, {}, {}
    for node in nodes:
        if node.op == "get_attr":
            tensor = getattr(traced, str(node.target))
            if id(tensor) in owned and (isinstance(tensor, nn.Parameter) or node.name in statistics):
                names[node.name] = owned[id(tensor)]
                state[owned[id(tensor)]] = tensor
            else:
                made[node.name] = tensor
    graph = ModuleGraph(nodes=nodes, names=names, state=state, made=made)
    return graph, counter.flops // 2


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count operations by torch's own formulas, two for each multiply-accumulate; attention's are those of its GPU kernel."""

    supports_higher_order_operators = True
    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = getattr(func, "overloadpacket", func)
        formula = _FORMULAS.get(_AS_ON_GPUS.get(op, op))
        if formula is None and getattr(func, "namespace", "") == "aten":
            with self:
                found = func.decompose(*args, **kwargs)  # in inference mode an op comes whole
            if found is not NotImplemented:
                return found
        found = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=found)
        return found


@contextmanager
def _running() -> Iterator[None]:
    """Run a user's module: what it raises is an ArchitectureError."""
    try:
        with running():
            yield
    except (Exception, SystemExit) as error:
        raise ArchitectureError(_untraceable(error)) from error


_DEPENDS = "does something that depends on the values of its input, which no exported model can; decide by shapes alone"


def _check_op(node: fx.Node) -> None:
    namespace, name = str(getattr(node.target, "namespace", "")), op_name(node)
    if namespace not in ("aten", "prims", "") or (namespace == "" and "getitem" not in name):
        raise ArchitectureError(
            f"runs {namespace or 'the function'}::{name}, an op that is not torch's own; write it with torch's ops"
        )
    value = node.meta.get("val")
    if isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape):
        raise ArchitectureError(_DEPENDS)
    if _is_random(node):
        raise ArchitectureError(
            f"draws random numbers ({name}) when it is evaluated; draw them in training alone: if self.training"
        )


def _is_random(node: fx.Node) -> bool:
    """Return whether an op draws random numbers, in evaluation and not in training alone, with a chance that is not 0."""
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    for place, argument in enumerate(target._schema.arguments):
        if argument.name in ("train", "training", "p", "dropout", "dropout_p"):
            absent = node.kwargs.get(argument.name, argument.default_value)
            if not (node.args[place] if place < len(node.args) else absent):
                return False
    return True


def _untraceable(error: BaseException) -> str:
    kind = type(error).__name__
    text = " ".join(str(error).split())[:200]
    if "DataDependent" in kind or "data-dependent" in text or "item" in text.lower() or "Guard" in kind:
        return _DEPENDS
    if isinstance(error, ModuleNotFoundError):
        return f"imports {error.name} when it runs, where it is not found; import it at the top of the file"
    return f"cannot be run on its input: {kind}: {text}; see that it takes (B, channels_in, H, W)"


def _value(node: fx.Node) -> Tensor:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise ArchitectureError("returns no single tensor; return one")
    return value


def _folds(module: nn.Module, graph: ModuleGraph) -> tuple[tuple[str, str], ...]:
    """Return each BatchNorm with the convolution whose weights its scale can become part of: each of a state read once.

    Raises: ArchitectureError.
    """
    read = [
        graph.reads(node, 3 if _calls(node, "batch_norm") else 1)
        for node in graph.nodes
        if _calls(node, "batch_norm", *_CONVOLUTIONS)
    ]
    found = []
    for norm in graph.nodes:
        if not _calls(norm, "batch_norm"):
            continue
        before = norm.args[0]
        assert isinstance(before, fx.Node)
        weight, mean = graph.reads(before, 1), graph.reads(norm, 3)  # a norm may have no scale
        name, conv = (one.rpartition(".")[0] for one in (mean or graph.reads(norm, 1), weight))
        fits = (
            _calls(before, *_CONVOLUTIONS)
            and len(before.users) == 1
            and bool(weight)
            and read.count(weight) == read.count(mean) == 1
            and norm.args[5:6] == (False,)  # by its own statistics, not by the batch's
            and isinstance(module.get_submodule(conv), nn.Conv2d)
        )
        if not fits or not isinstance(module.get_submodule(name), nn.BatchNorm2d):
            raise ArchitectureError(
                f"BatchNorm {name} follows no convolution of its own, so that its scale cannot be folded into weights; put it "
                "right after a Conv2d that nothing else reads, or take another norm"
            )
        found.append((conv, name))
    return tuple(found)


def _calls(node: fx.Node, *names: str) -> bool:
    return node.op == "call_function" and op_name(node) in names


def _run(module: nn.Module, shape: tuple[int, ...]) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with _running(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        module(torch.zeros(shape))


def _digest(graph: ModuleGraph, shape: tuple[int, ...]) -> str:
    """Return the sha256 of the ops in running order: arguments, constants and shapes, but no name of the module's."""
    number = {node.name: place for place, node in enumerate(graph.nodes)}
    states = list(dict.fromkeys(graph.names.values()))  # one that is read twice is not two
    lines: list[object] = [list(shape)]
    for node in graph.nodes:
        if node.op == "placeholder":
            lines.append("input")
        elif node.op == "get_attr":
            if node.name in graph.made:
                lines.append(["constant", _content(graph.made[node.name])])
            else:
                name = graph.names[node.name]
                tensor = graph.state[name]
                kind = [] if tensor.dtype == torch.float32 else [str(tensor.dtype)]
                lines.append(["state", states.index(name), list(tensor.shape), *kind])
        elif node.op == "output":
            lines.append(["output", _plain(node.args[0], number)])
        else:
            skipped = _MACHINE_ARGUMENTS.get(op_name(node), ())
            args = [_plain(one, number) for place, one in enumerate(node.args) if place not in skipped]
            options = {key: _plain(value, number) for key, value in sorted(node.kwargs.items())}
            value = node.meta.get("val")
            sizes = list(value.shape) if isinstance(value, Tensor) else None
            lines.append([str(node.target), args, options, sizes])
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def _plain(value: Any, number: dict[str, int]) -> object:
    if isinstance(value, fx.Node):
        return f"%{number[value.name]}"
    if isinstance(value, list | tuple):
        return [_plain(one, number) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _content(tensor: Tensor) -> list[object]:
    try:  # numpy has not all types
        content = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    except RuntimeError as error:
        raise ArchitectureError(
            f"reads a constant tensor of {tensor.dtype}, {tensor.layout}, that is not plain; keep a dense one"
        ) from error
    return [str(tensor.dtype), list(tensor.shape), hashlib.sha256(content).hexdigest()]


def _peak(graph: ModuleGraph) -> int:
    """Return the largest number of values of feature maps alive during a step, as `space.memory` counts them."""
    maps, place = MapSizes(), dict[str, int]()
    for node in graph.nodes:
        if node.op == "placeholder":
            place[node.name] = maps.write(_value(node).numel())
        if node.op != "call_function":
            continue
        read = [place[one.name] for one in node.all_input_nodes if one.name in place]
        value, name = node.meta.get("val"), op_name(node)
        first = node.all_input_nodes[0] if node.all_input_nodes else None
        joins = name in _VIEWS or (
            name in _FUSED and first is not None and first.op == "call_function" and len(first.users) == 1
        )
        if not isinstance(value, Tensor) or (joins and read):
            if read:
                place[node.name] = read[0]
        elif read:  # what reads no feature map is a constant
            place[node.name] = maps.write(value.numel(), *read)
    return maps.peak()

"""Modules of a chain of sites, of any ops, with the weights that are exported. Imports torch.

Weights are drawn by what the module's graph does with them, so that equal graphs have equal weights, whatever the parameters are
called: convolutions and matrix products as by He et al. (arXiv:1502.01852, eq. 10), scales of norms about 1. Then the
last of them before the output are scaled, until the module gives back the scale that it is given: a branch beside the module's
input adds a tenth to the variance, so that activations stay sane through as many sites as there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from exporters.errors import ConversionError
from exporters.fragments import Fragment, possible_steps, value_shape
from space import SpaceConfig
from space.errors import ArchitectureError
from space.layout import Traced
from space.module_functions import forget_modules
from space.networks import build_chain_module
from space.registry import forget_traced
from space.text import first_of
from space.tracing import ModuleGraph, op_name, trace

BRANCH = math.sqrt(0.1)  # of a residual branch, beside what it is added to
_ROUNDS = 4  # of scaling: where gates or activations stand behind, the output does not follow in proportion
_IMAGES = 4
_SHOWN = 3  # names that a message shows
# Of an output, in single and in half precision: rounding moves it by less, an argument that is lost by more.
SHARE, HALF_SHARE = 1e-3, 0.05
_LEAST = 1e-6  # of random weights
# Where an op has its weight and bias among its arguments.
_PRODUCTS = {
    "conv1d": 1,
    "conv2d": 1,
    "conv3d": 1,
    "conv_transpose2d": 1,
    "einsum": 1,
    "linear": 1,
    "addmm": 2,
    "mm": 1,
    "matmul": 1,
}
_NORMS = {"batch_norm": 1, "instance_norm": 1, "layer_norm": 2, "group_norm": 2, "rms_norm": 2}


def seeded_module(fragment: Fragment, config: SpaceConfig, seed: int) -> tuple[nn.Module, ModuleGraph]:
    """Return a fragment of a chain with seeded weights, for inference, and its graph.

    Raises:
        ConversionError: its function gives another module than when the space was defined.
    """
    module, graph = traced_module(fragment, config)
    rng = seeded_generator(fragment, seed)
    with torch.no_grad():
        _draw(graph, module, rng)
        given = rng.uniform(-1, 1, (_IMAGES, *_input_shape(graph)[1:])) * math.sqrt(3)  # of variance 1
        _scale(graph, module, torch.from_numpy(given.astype(np.float32)))
    return module, graph


def seeded_generator(fragment: Fragment, seed: int) -> np.random.Generator:
    """Return the source of a fragment's random weights."""
    name = int.from_bytes(hashlib.sha256(str(fragment).encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64([seed, name]))


def set_weights(target: Tensor, values: np.ndarray) -> None:
    """Set a tensor, but to no zero and to no denormal: either may run at another speed."""
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.where(np.abs(values) < _LEAST, _LEAST, values)))


def traced_module(fragment: Fragment, config: SpaceConfig) -> tuple[nn.Module, ModuleGraph]:
    """Return a fragment with fresh weights, for inference, and its graph.

    Raises:
        ConversionError: its function gives another module than when the space was defined.
    """
    chain = config.chain
    assert chain is not None
    defined = chain.module(fragment.kind, fragment.stage, fragment.op)
    shape = value_shape(possible_steps(fragment, config)[0].inputs[0], config)

    def build() -> tuple[nn.Module, Traced, ModuleGraph]:
        module = build_chain_module(defined, chain).eval().requires_grad_(False)
        return module, *trace(module, shape)

    try:
        module, traced, graph = build()
        if traced != defined.traced:
            forget_modules()  # a file that the code reads may be another than when this process ran it
            module, traced, graph = build()
    except ArchitectureError as error:
        raise ConversionError(f"space {config.name!r}, {fragment}: {error}") from error
    if traced != defined.traced:
        forget_traced(config.name)
        raise ConversionError(
            f"space {config.name!r}, {fragment}: {defined.function} makes another module now than when the space was read; "
            "read its definition again"
        )
    return module, graph


def fold(fragment: Fragment, module: nn.Module, graph: ModuleGraph) -> nn.Module:
    """Fold, in place, each BatchNorm of a fragment's module into the convolution before it.

    Raises:
        ConversionError: it then computes something else: the BatchNorm does more than its class, or is not called as a module.
    """
    if not graph.folds:
        return module.eval()
    shape = _input_shape(graph)
    right = probed(module.eval(), shape)
    try:
        for conv_name, norm_name in graph.folds:
            conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            module.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
            module.set_submodule(norm_name, nn.Identity())
        is_same = is_alike(probed(module.eval(), shape), right)
    # The code reads what is no longer there, or the module itself is one of the two.
    except (AttributeError, TypeError, ValueError, RuntimeError):
        is_same = False
    if not is_same:
        names = first_of([norm for _, norm in graph.folds], _SHOWN)
        raise ConversionError(
            f"{fragment}: BatchNorm {names} folded into the convolution before it gives other outputs; let it be a plain "
            "nn.BatchNorm2d without hooks, and call it and the convolution as modules"
        )
    return module


def probe(shape: Sequence[int]) -> Tensor:
    """Return the tensor on which a user's module is compared with what is made of it."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def probed(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the output of a module on the probe of a shape."""
    with torch.no_grad():
        found: Tensor = module(probe(shape))
    return found


def is_alike(found: Tensor, right: Tensor, share: float = SHARE) -> bool:
    """Return whether an output is another one up to a share, of rounding; what is not finite is judged elsewhere."""
    return found.shape == right.shape and (
        not bool(right.isfinite().all()) or bool((found - right).norm() <= share * right.norm())
    )


def _input_shape(graph: ModuleGraph) -> tuple[int, ...]:
    return tuple(graph.nodes[0].meta["val"].shape)


def _draw(graph: ModuleGraph, module: nn.Module, rng: np.random.Generator) -> None:
    state = module.state_dict(keep_vars=True)
    drawn = set[str]()
    for node, place, name in _uses(graph):
        if name not in drawn and torch.is_floating_point(state[name]):
            drawn.add(name)
            set_weights(state[name], _values(node, place, state[name], rng).astype(np.float32))


def _values(node: fx.Node, place: int, target: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Draw a state by what the op that reads it first does with it, as its `place`-th argument."""
    name, shape = op_name(node), tuple(target.shape)
    if name in _NORMS:
        role = place - _NORMS[name]  # scale, offset, mean, variance
        return rng.uniform(-0.1, 0.1, shape) if role in (1, 2) else rng.uniform(0.8, 1.2, shape)
    if name in _PRODUCTS and place == _PRODUCTS[name]:
        fan_in = target[:, 0].numel() if name == "conv_transpose2d" else target[0].numel()
        return rng.normal(0, math.sqrt(2 / max(fan_in, 1)), shape)
    if name in ("mul", "mul_"):
        return rng.uniform(0.8, 1.2, shape)
    return rng.uniform(-0.1, 0.1, shape)  # a bias, or what else is added or takes part


def _uses(graph: ModuleGraph) -> Iterator[tuple[fx.Node, int, str]]:
    """Yield each op that reads a state, in running order, with the place among its arguments and the state's name.

    What merely reshapes or transposes a state is looked through, and what is returned is read by the output. An argument may
    be a list, as of `cat`, or named, in any place behind the others.
    """
    names = dict(graph.names)
    for node in graph.nodes:
        if node.op not in ("call_function", "output"):
            continue
        inputs = node.all_input_nodes
        if node.op == "call_function" and len(inputs) == 1 and inputs[0].name in names:
            names[node.name] = names[inputs[0].name]
            continue
        for place, argument in enumerate((*node.args, *node.kwargs.values())):
            read = list[fx.Node]()
            fx.map_arg(argument, read.append)
            for one in read:
                if one.name in names:
                    yield node, place, names[one.name]


def _last_states(graph: ModuleGraph) -> list[str]:
    """Return the states that scale the output: weights and biases behind which no other weight stands."""
    reads: dict[str, list[tuple[int, str]]] = {}
    for node, place, name in _uses(graph):
        reads.setdefault(node.name, []).append((place, name))
    left, seen, found = list(graph.nodes[-1].all_input_nodes), set[str](), list[str]()
    while left:
        node = left.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        kind = op_name(node) if node.op == "call_function" else ""
        if node.name in reads and (kind in _NORMS or kind in _PRODUCTS):
            least = _NORMS.get(kind, 0)
            found += [
                name for place, name in reads[node.name] if kind in _PRODUCTS or place in (least, least + 1)
            ]
        else:
            left += node.all_input_nodes
    return sorted(set(found))


def _scale(graph: ModuleGraph, module: nn.Module, given: Tensor) -> None:
    """Scale the last weights so that the module gives back the scale that it is given."""
    state = module.state_dict(keep_vars=True)
    last = [state[name] for name in _last_states(graph)]
    if not last:
        return
    drawn = [tensor.clone() for tensor in last]
    for tensor in last:
        tensor.zero_()
    beside = module(given)
    for tensor, values in zip(last, drawn, strict=True):
        tensor.copy_(values)
    is_residual = float(beside.std()) > 0.1
    goal = BRANCH * float(beside.std()) if is_residual else 1.0
    for _ in range(_ROUNDS):
        found = float((module(given) - beside).std() if is_residual else module(given).std())
        if not math.isfinite(found) or found <= 0:
            return
        for tensor in last:
            tensor.mul_(min(max(goal / found, 0.1), 10.0))

"""Numbers of each fragment's tensors and buffers, the same in every TFLite model of a space.

Operators name tensors, and tensors name buffers, by their place in a vector of the whole model. If a fragment has the
same places in every network, its tables never change. Every pair of stage and slot therefore owns a *region* of both
vectors, as long as its largest op needs; a smaller op leaves the rest to tensors that no operator uses and to
empty buffers. They cost a runtime no time and no arena. Imports torch and tensorflow; runs in the converter's process.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import fx, nn

from exporters.fragments import GLUE, Fragment, all_fragments, all_values, possible_steps
from exporters.networks import fragment_module
from exporters.recipe import Precision
from exporters.tflite_conversion import step_model
from exporters.tflite_graph import QUANTIZE, Graph, read_graph
from exporters.tflite_linking import OPERATORS, region_name
from exporters.tflite_quantization import Range, quantize
from exporters.weights import Weights
from space import SpaceConfig, layers, networks

_BLOX_MODULES = (layers.__name__, networks.__name__)
_BLOX_LAYERS = {
    nn.AdaptiveAvgPool2d,
    nn.Conv2d,
    nn.Linear,
    nn.ModuleList,
    nn.ReLU,
    nn.Sequential,
    nn.Sigmoid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Give the first place and the number of places in the vectors of tensors and of buffers."""

    tensor: int
    tensors: int
    buffer: int
    buffers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTable:
    """The region of every fragment by `region_name`, in the order of their places, and the operator codes of every model."""

    regions: Mapping[str, Region]
    codes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """Most tensors and buffers that a converted fragment has, its ends not counted, and the codes of its operators."""

    tensors: int
    buffers: int
    codes: frozenset[tuple[int, int]] = frozenset()


@lru_cache(maxsize=1)
def region_table(config: SpaceConfig, precision: Precision) -> RegionTable:
    """Return where the fragments of a space have their tensors and buffers.

    The glue's region holds the tensors of all values and buffer 0, which is empty by TFLite's convention.

    Raises:
        ConversionError: a fragment has an op that TFLite has no form for.
    """
    needed = {region_name(GLUE): (len(all_values(config)), 1)}
    codes = set[tuple[int, int]]()
    for fragment in all_fragments(config):
        if fragment != GLUE:
            name, needs = region_name(fragment), _needs(fragment, config, precision)
            before = needed.get(name, (0, 0))
            needed[name] = (max(before[0], needs.tensors), max(before[1], needs.buffers))
            codes |= needs.codes
    found, tensor, buffer = {}, 0, 0
    for name, (tensors, buffers) in needed.items():
        found[name] = Region(tensor=tensor, tensors=tensors, buffer=buffer, buffers=buffers)
        tensor, buffer = tensor + tensors, buffer + buffers
    listed = OPERATORS[precision]
    return RegionTable(regions=found, codes=(*listed, *sorted(codes - set(listed))))


def _needs(fragment: Fragment, config: SpaceConfig, precision: Precision) -> _Needs:
    """Count by layers in the stages of Blox, which takes no time; in a chain of sites, or by other layers, in what is converted.

    A chain's fragment may end in an op whose int8 form has a scale of its own, and then rescales, whatever its layers are.
    """
    if config.chain is None:
        found = needs_of_layers(fragment_module(fragment, config, Weights.seeded(0)), precision)
        if found is not None:
            return _Needs(tensors=found[0], buffers=found[1])
    step = possible_steps(fragment, config)[0]
    model = step_model(step, config, Weights.seeded(0), precision)
    graph = read_graph(model)
    if precision != "int8":
        return _counted(graph)
    return _counted(read_graph(quantize(model, _any_ranges(graph))), rescaled_ends=len(step.inputs) + 1)


def _counted(graph: Graph, rescaled_ends: int = 0) -> _Needs:
    codes = {op.code for op in graph.operators} | ({QUANTIZE} if rescaled_ends else set())
    return _Needs(tensors=len(graph.inner) + rescaled_ends, buffers=graph.buffers, codes=frozenset(codes))


def _any_ranges(graph: Graph) -> dict[str, Range]:
    """Return ranges, whatever they are: what the quantizer does of tensors and operators does not depend on them."""
    return {tensor.name: (-1.0, 1.0) for tensor in graph.tensors if tensor.data is None}


def needs_of_layers(module: nn.Module, precision: Precision) -> tuple[int, int] | None:
    """Return how many tensors and buffers a module of Blox's layers has at most, its ends not counted; None for others'."""
    if not all(
        type(one) in _BLOX_LAYERS or type(one).__module__ in _BLOX_MODULES for one in module.modules()
    ):
        return None
    tensors, buffers = -1, 0  # the last result is a value, not an inner tensor
    for node in fx.symbolic_trace(module).graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        found = _needs_of_layer(module, node)
        if found is None:
            return None
        tensors, buffers = tensors + found[0], buffers + found[1]
        if precision == "fp16" and isinstance(_layer(module, node), nn.Conv2d | nn.Linear):
            tensors += 2  # weights and bias in single precision
    return max(tensors, 0), buffers


def _needs_of_layer(module: nn.Module, node: fx.Node) -> tuple[int, int] | None:
    layer, sources = _layer(module, node), [a for a in node.args if isinstance(a, fx.Node)]
    before = _layer(module, sources[0]) if sources else None
    if isinstance(layer, nn.Conv2d):
        if not _is_plain(layer):
            return None
        # PAD: amounts, result
        return (5, 3) if layer.stride != (1, 1) and layer.padding != (0, 0) else (3, 2)
    if isinstance(layer, nn.Linear):
        return 3, 2  # weights, bias, result
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return 2, 1  # axes, result
    if isinstance(layer, nn.Sigmoid) or (node.target in (operator.add, operator.mul) and len(sources) == 2):
        return 1, 0
    if isinstance(layer, nn.ReLU) and isinstance(before, nn.Conv2d):
        return 0, 0  # fused into it
    if node.target is torch.flatten and isinstance(before, nn.AdaptiveAvgPool2d):
        return 0, 0
    return None


def _layer(module: nn.Module, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is of Blox's kind: dense or depthwise, padded to keep its size or not at all."""
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros" or conv.dilation != (1, 1):
        return False
    is_kept = all(2 * p == k - 1 for p, k in zip(conv.padding, conv.kernel_size, strict=True))
    is_depthwise = conv.groups == conv.in_channels == conv.out_channels
    return (conv.groups == 1 or is_depthwise) and (is_kept or conv.padding == (0, 0))

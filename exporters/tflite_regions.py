"""Which numbers the tensors and buffers of each fragment have in every TFLite model of a space.

Operators name tensors, and tensors name buffers, by their place in a vector of the whole model. If a fragment has the
same places in every network, its tables never change. Every pair of stage and slot therefore owns a *region* of both
vectors, as long as its largest op needs; a smaller op leaves the rest to tensors that no operator uses and to
empty buffers. They cost a runtime no time and no arena. Imports torch; runs in the converter's process.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import fx, nn

from exporters.fragments import GLUE, Fragment, all_fragments, all_values
from exporters.networks import fragment_module
from exporters.recipe import Precision
from exporters.tflite_linking import region_name
from exporters.weights import Weights
from space import SpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Give the first place and the number of places in the vectors of tensors and of buffers."""

    tensor: int
    tensors: int
    buffer: int
    buffers: int


@lru_cache(maxsize=1)
def regions(config: SpaceConfig, precision: Precision) -> Mapping[str, Region]:
    """Return the region of every fragment by `region_name`, in the order of their places.

    The glue's holds the tensors of all values and buffer 0, which is empty by TFLite's convention.
    """
    needed = {region_name(GLUE): (len(all_values(config)), 1)}
    for fragment in all_fragments(config):
        if fragment != GLUE:
            name, (tensors, buffers) = region_name(fragment), _needs(fragment, config, precision)
            before = needed.get(name, (0, 0))
            needed[name] = (max(before[0], tensors), max(before[1], buffers))
    found, tensor, buffer = {}, 0, 0
    for name, (tensors, buffers) in needed.items():
        found[name] = Region(tensor=tensor, tensors=tensors, buffer=buffer, buffers=buffers)
        tensor, buffer = tensor + tensors, buffer + buffers
    return found


def _needs(fragment: Fragment, config: SpaceConfig, precision: Precision) -> tuple[int, int]:
    """Return how many tensors and buffers a converted fragment has at most, its ends not counted."""
    module = fragment_module(fragment, config, Weights.seeded(0))
    tensors, buffers = -1, 0  # the last result is a value, not an inner tensor
    for node in fx.symbolic_trace(module).graph.nodes:
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        more = _needs_of_layer(layer, node.target)
        tensors, buffers = tensors + more[0], buffers + more[1]
        if precision == "fp16" and isinstance(layer, nn.Conv2d | nn.Linear):
            tensors += 2  # weights and bias in single precision
    return max(tensors, 0), buffers


def _needs_of_layer(layer: nn.Module | None, target: Any) -> tuple[int, int]:
    if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1) and layer.padding != (0, 0):
        return 5, 3  # PAD too: its amounts and its result
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return 3, 2  # weights, bias, result
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return 2, 1  # axes, result
    if isinstance(layer, nn.Sigmoid) or target in (operator.add, operator.mul):
        return 1, 0
    return 0, 0  # ReLU is fused into what precedes it

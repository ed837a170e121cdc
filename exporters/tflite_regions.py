"""Numbers of each fragment's tensors and buffers, the same in every TFLite model of a space.

Operators name tensors, and tensors name buffers, by their place in a vector of the whole model. If a fragment has the
same places in every network, its tables never change. Every pair of stage and slot therefore owns a *region* of both
vectors, as long as its largest op needs; a smaller op leaves the rest to tensors that no operator uses and to
empty buffers. They cost a runtime no time and no arena. Imports torch and tensorflow; runs in the converter's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from exporters.formats import Precision
from exporters.fragments import GLUE, Fragment, all_fragments, all_values, possible_steps
from exporters.tflite_conversion import step_model
from exporters.tflite_graph import QUANTIZE, Graph, read_graph
from exporters.tflite_linking import OPERATORS, region_name
from exporters.tflite_quantization import quantize
from exporters.weights import Weights
from space import SpaceConfig

# Of the ops and other fragments of Blox, whatever their width: tensors but for their ends, constants among them, and layers with
# weights. A convolution has two constants and its result, with the BatchNorm and ReLU behind it; where it has a stride and is
# padded, also the amounts and the padded map.
_BLOX_NEEDS = {
    "stem": (2, 2, 1),
    "conv": (11, 8, 4),
    "mbconv": (33, 18, 8),
    "bconv": (59, 36, 18),
    "reduction": (11, 7, 3),
    "head": (4, 3, 1),
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
    """Look up fragments of Blox, which takes no time; count a chain's, or other ops', in what is converted.

    A chain's fragment may end in an op whose int8 form has a scale of its own, and then rescales, whatever its layers are.
    """
    known = _BLOX_NEEDS.get(fragment.op or fragment.kind)
    if config.chain is None and known is not None:
        tensors, buffers, products = known
        # In half precision weights and bias are in single precision once more.
        return _Needs(tensors=tensors + 2 * products * (precision == "fp16"), buffers=buffers)
    step = possible_steps(fragment, config)[0]
    model = step_model(step, config, Weights.seeded(0), precision)
    graph = read_graph(model)
    if precision != "int8":
        return _counted(graph)
    # Any ranges will do: what the quantizer makes of tensors and operators does not depend on them.
    ranges = {tensor.name: (-1.0, 1.0) for tensor in graph.tensors if tensor.data is None}
    return _counted(read_graph(quantize(model, ranges)), rescaled_ends=len(step.inputs) + 1)


def _counted(graph: Graph, rescaled_ends: int = 0) -> _Needs:
    codes = {op.code for op in graph.operators} | ({QUANTIZE} if rescaled_ends else set())
    return _Needs(tensors=len(graph.inner) + rescaled_ends, buffers=graph.buffers, codes=frozenset(codes))

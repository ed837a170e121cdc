"""Fragments of the nodes in a linked ONNX model, by the names that ONNX Runtime's profiler prints.

The nodes of a linked model have no names, as every byte is sent to every device. The profiler then prints `Add_10` for
node 10, and for a node that an optimizer put in place of others only a number of its own. `with_node_names` gives
nodes the names of the values that they write (see exporters.fragments); ONNX Runtime keeps them:

    s0.h                 untouched
    s0.op0.2             convolution and ReLU fused (ARM): the convolution's name
    s0.op0.3_nchwc       convolution and ReLU fused in blocked layout (x86): the value that the ReLU writes
    ReorderOutput_token_131   conversion to or from the blocked layout: no name of ours

A profile's event adds `_kernel_time`. Seen in ONNX Runtime 1.31; names of other forms yield no fragment.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from exporters.errors import ConversionError
from exporters.onnx_linking import MODEL_GRAPH
from exporters.protobuf import bytes_field, changed, split_fields
from space import Architecture
from space.assembly import Assembly

# Field numbers in onnx.proto.
_GRAPH_NODE = 1
_NODE_OUTPUT, _NODE_NAME = 2, 3

_VALUE = re.compile(
    r"(?<![A-Za-z0-9.])"  # ONNX Runtime may put a word and _ before a name, and _ and a word behind it
    r"(?:(?P<whole>stem|head)\.w?\d+|(?P<logits>logits)"
    r"|s(?P<stage>\d+)\.(?:(?P<x>x)|(?P<sum>[hy])|n(?P<node>[12])|op(?P<slot>[01])\.w?\d+|(?P<fixed>reduction|site)\.w?\d+))"
    r"(?![A-Za-z0-9.])"
)
_REORDER = re.compile(r"Reorder(?:Input|Output)(?![A-Za-z0-9.])")


def with_node_names(assembly: Assembly) -> Assembly:
    """Return the same ONNX model, every node of which is named by the first value that it writes.

    The parts are the same; the skeleton is longer and has another digest. Use it to profile, not to measure.

    Raises:
        ConversionError: the model is of another format, whose operators have no names.
    """
    if assembly.format != "onnx":
        raise ConversionError(
            f"a {assembly.format} model's operators have no names; take a model of an onnx library"
        )
    skeleton = changed(assembly.skeleton, (MODEL_GRAPH, _GRAPH_NODE), _named_node)
    return dataclasses.replace(assembly, skeleton=skeleton, digest="")


def node_fragment(name: str, architecture: Architecture | None = None) -> str | None:
    """Return the fragment that a node of a named model belongs to, None if its name does not tell.

    The texts are `stem`, `stage 0 op 1 conv`, `stage 0 sum`, `reduction 0` and `head`; of a chain `site 0 mb3`. Names
    know slots, not ops: without the architecture, `stage 0 op 1` is all that is known. A node that sums within an op
    belongs to the op.
    """
    found = _VALUE.search(name)
    if found is None:
        return None
    if found["whole"] or found["logits"]:
        return found["whole"] or "head"
    stage = int(found["stage"])
    chain = None if architecture is None else architecture.config.chain
    if found["x"] and not stage:
        return "stem"
    if found["fixed"] == "site" or (found["x"] and chain is not None):
        return _site_name(architecture, stage - 1 if found["x"] else stage)
    if found["x"]:  # what a stage reads was written before it
        return f"reduction {stage - 1}"
    if found["fixed"]:
        return f"reduction {stage}"
    if found["sum"]:
        return f"stage {stage} sum"
    slot = int(found["slot"] or int(found["node"]) - 1)
    return f"stage {stage} op {slot}" + _op_name(architecture, stage, slot)


def node_fragments(names: Iterable[str], architecture: Architecture | None = None) -> tuple[str | None, ...]:
    """Return the fragment of each node of a run, given in the order in which they ran.

    A conversion of layout, which has no name of ours, counts to the fragment of the node before it, at the start to
    that of the first node behind it. What else has no fragment stays None.
    """
    names = list(names)
    fragments = [node_fragment(name, architecture) for name in names]
    latest = next((fragment for fragment in fragments if fragment is not None), None)
    for k, name in enumerate(names):
        if fragments[k] is None and _REORDER.match(name):
            fragments[k] = latest
        latest = fragments[k] or latest
    return tuple(fragments)


def _named_node(node: bytes) -> bytes:
    fields = list(split_fields(node))
    output = next(field.content for field in fields if field.number == _NODE_OUTPUT)
    unnamed = b"".join(field.raw for field in fields if field.number != _NODE_NAME)
    return unnamed + bytes_field(_NODE_NAME, output)


def _site_name(architecture: Architecture | None, place: int) -> str:
    chain = None if architecture is None else architecture.config.chain
    if architecture is None or chain is None or place >= len(chain.sites):
        return f"site {place}"
    names = [module.name for _, _, module in chain.modules(architecture.blocks)]
    return f"site {place} {names[place]}"


def _op_name(architecture: Architecture | None, stage: int, slot: int) -> str:
    if architecture is None or stage >= len(architecture.blocks):
        return ""
    block = architecture.blocks[stage]
    op = block.op1 if slot else block.op0
    return "" if op is None else f" {op}"

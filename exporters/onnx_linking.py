"""ONNX skeletons: the chunks of nodes of a model's steps, one after the other. Needs no ONNX library.

The stem's chunk also declares the model and its input, the head's its output. A segment lacks one of them or both: what
they would have declared is then written here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from exporters.fragments import GLUE, HEAD, STEM, Fragment, Step, value_shape
from exporters.protobuf import bytes_field, changed, number_field, split_fields
from space import SpaceConfig

ALIGNMENT = 1
WINDOW_BYTES = 32 << 10  # how far back deflate can refer

# Field numbers in onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) and the one element type used.
MODEL_GRAPH = 7
_GRAPH_NAME, _GRAPH_INPUT, _GRAPH_OUTPUT = 2, 11, 12
_FLOAT = 1
# From a ValueInfoProto to its shape: the fields type, tensor_type and shape; a shape holds its sizes as fields of number 1.
_TO_SHAPE = (2, 1, 2)
_SIZE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSkeletons:
    """Make the skeletons of the networks of one library from its fragments' layouts."""

    # By the value that is fed; for the glue by the sum's value.
    chunks: Mapping[Fragment, Mapping[str, bytes]]
    # What leads from VALUE.float32 to a value that a segment reads, if it is no float32.
    inputs: Mapping[str, bytes]
    outputs: Mapping[str, bytes]  # and what leads back
    config: SpaceConfig

    @classmethod
    def from_layouts(cls, layouts: Mapping[Fragment, bytes], config: SpaceConfig) -> OnnxSkeletons:
        """Read what `exporters.onnx_export` wrote."""
        read = {fragment: json.loads(layout) for fragment, layout in layouts.items()}
        return cls(
            chunks={fragment: _decoded(layout.get("nodes", {})) for fragment, layout in read.items()},
            inputs=_decoded(read[GLUE].get("inputs", {})),
            outputs=_decoded(read[GLUE].get("outputs", {})),
            config=config,
        )

    def skeleton(self, steps: tuple[Step, ...], part_bytes: Mapping[Fragment, int]) -> bytes:
        """Return the skeleton of a model: header, input, output and all nodes in topological order."""
        chunks = self.chunks
        pieces = [
            chunks[step.fragment][step.output if step.fragment == GLUE else step.inputs[0]] for step in steps
        ]
        if steps[0].fragment != STEM:
            pieces.insert(0, self._header() + self._end(_GRAPH_INPUT, steps[0].inputs[0], self.inputs))
        if steps[-1].fragment != HEAD:
            pieces.append(self._end(_GRAPH_OUTPUT, steps[-1].output, self.outputs))
        return b"".join(pieces)

    def dictionary(self) -> bytes:
        """Return the common parts of skeletons, in their order, for use as zlib preset dictionary.

        One chunk of each fragment is enough: the chunks for other inputs differ in a few names only.
        """
        order = sorted((fragment for fragment in self.chunks if self.chunks[fragment]), key=_running_order)
        return b"".join(next(iter(self.chunks[fragment].values())) for fragment in order)[-WINDOW_BYTES:]

    def _header(self) -> bytes:
        """Return the model's header from the stem's chunk: versions and producer; and a name for the graph."""
        (stem,) = self.chunks[STEM].values()
        fields = [field.raw for field in split_fields(stem) if field.number != MODEL_GRAPH]
        return b"".join(fields) + bytes_field(MODEL_GRAPH, bytes_field(_GRAPH_NAME, b"segment"))

    def _end(self, number: int, value: str, leading: Mapping[str, bytes]) -> bytes:
        """Declare a value as the graph's input or output, in float32: a ValueInfoProto with its type and shape."""
        sizes = [bytes_field(1, number_field(1, size)) for size in value_shape(value, self.config)]
        tensor = number_field(1, _FLOAT) + bytes_field(2, b"".join(sizes))
        name = f"{value}.float32" if value in leading else value
        value_info = bytes_field(1, name.encode()) + bytes_field(2, bytes_field(1, tensor))
        return bytes_field(MODEL_GRAPH, bytes_field(number, value_info)) + leading.get(value, b"")


def with_batch(skeleton: bytes, batch: int) -> bytes:
    """Return a skeleton whose input and output are of some images: their first sizes are all that names a number of images.

    Raises: ValueError: the bytes are no skeleton.
    """

    def first_size(shape: bytes) -> bytes:
        _, *others = split_fields(shape)
        first = bytes_field(_SIZE, number_field(1, batch))
        return first + b"".join(field.raw for field in others)

    for end in (_GRAPH_INPUT, _GRAPH_OUTPUT):
        skeleton = changed(skeleton, (MODEL_GRAPH, end, *_TO_SHAPE), first_size)
    return skeleton


def _decoded(chunks: Mapping[str, str]) -> dict[str, bytes]:
    return {value: base64.b64decode(text) for value, text in chunks.items()}


def _running_order(fragment: Fragment) -> tuple[int, int, str]:
    last = 1 << 30
    stage = {"glue": -2, "stem": -1, "head": last}.get(fragment.kind, fragment.stage or 0)
    return stage, (fragment.slot or 0) if fragment.kind == "op" else 2, fragment.op or ""

"""TFLite skeletons: the flatbuffer's root, and vectors that point to the rows in the parts behind it.

The parts (see tflite_layout) hold all tensors, operators, buffers and weights. Needs neither tensorflow nor flatbuffers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.formats import Precision
from exporters.fragments import GLUE, Fragment, Step, all_values
from exporters.tflite_layout import ALIGNMENT, PartWriter
from space import SpaceConfig

_FLOAT_OPERATORS = (
    (0, 1),  # ADD
    (3, 1),  # CONV_2D
    (4, 1),  # DEPTHWISE_CONV_2D
    (9, 1),  # FULLY_CONNECTED
    (14, 1),  # LOGISTIC
    (18, 1),  # MUL
    (34, 1),  # PAD
    (40, 1),  # MEAN
)
_DEQUANTIZE = (6, 3)  # of weights in half precision
# The operator codes of every model, as (BuiltinOperator, version) in schema.fbs; operators name them by place. The
# quantizer keeps the versions of the float model. A space whose fragments have others lists them behind these, in the glue's
# layout: a runtime refuses a model that lists an operator which it does not know, whether it is used or not.
OPERATORS: Mapping[Precision, tuple[tuple[int, int], ...]] = {
    "fp32": _FLOAT_OPERATORS,
    "fp16": (*_FLOAT_OPERATORS, _DEQUANTIZE),
    "int8": _FLOAT_OPERATORS,
}

_SCHEMA_VERSION = 3
_DEPRECATED_CODE, _CODE_VERSION, _CODE = 0, 2, 3
_VERSION, _CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS = range(5)
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS, _NAME = range(5)


def region_name(fragment: Fragment) -> str:
    """Return the name of the region of tensors that a fragment uses: one for each stage and slot, not for each op."""
    if fragment.kind == "op":
        return f"s{fragment.stage}.op{fragment.slot}"
    return fragment.kind if fragment.stage is None else f"s{fragment.stage}.{fragment.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteSkeletons:
    """Make the skeletons of the networks of one library from its fragments' layouts.

    `template` holds the words (32 bits) of a skeleton up to the operators' vector; `tensors` and `buffers` are
    the words at which the entries of these two vectors begin, `input` and `output` those that name the tensors of the
    model's ends. `places` are the tensors of the values.
    """

    layouts: Mapping[Fragment, Mapping[str, Any]]
    template: npt.NDArray[np.uint32]
    tensors: int
    buffers: int
    input: int
    output: int
    places: Mapping[str, int]

    @classmethod
    def from_layouts(
        cls, layouts: Mapping[Fragment, bytes], config: SpaceConfig, precision: Precision
    ) -> TfliteSkeletons:
        """Read what `exporters.tflite_export` wrote."""
        read = {fragment: json.loads(layout) for fragment, layout in layouts.items()}
        last = list(read[GLUE]["regions"].values())[-1]
        tensors, buffers = last[0] + last[1], last[2] + last[3]
        codes = [(code, version) for code, version in read[GLUE].get("codes", OPERATORS[precision])]
        head, input, output = _write_head(codes, tensors, buffers)
        template = np.zeros(len(head) // 4 + buffers + 1 + tensors + 1, np.uint32)
        template[: len(head) // 4] = np.frombuffer(head, np.uint32)
        template[len(head) // 4 + buffers] = tensors
        return cls(
            layouts=read,
            template=template,
            buffers=len(head) // 4,
            tensors=len(head) // 4 + buffers + 1,
            input=input,
            output=output,
            places={value: k for k, value in enumerate(all_values(config))},
        )

    def skeleton(self, steps: tuple[Step, ...], part_bytes: Mapping[Fragment, int]) -> bytes:
        """Return the skeleton of what runs these steps: root, names, and vectors of offsets into the parts behind it."""
        runs = [self._operators_of(step) for step in steps]
        first = len(self.template)
        words = np.empty(first + sum(count for _, _, count in runs), np.uint32)
        words[:first] = self.template
        words[first - 1] = len(words) - first
        words[self.input] = self.places[steps[0].inputs[0]]
        words[self.output] = self.places[steps[-1].output]
        part_at, end = {}, 4 * len(words)
        for fragment, size_bytes in part_bytes.items():
            part_at[fragment] = end + -end % ALIGNMENT
            end = part_at[fragment] + size_bytes
        present = {region_name(fragment): fragment for fragment in part_bytes}
        glue = self.layouts[GLUE]
        for name, (tensor, tensors, buffer, buffers) in glue["regions"].items():
            fragment = present.get(name, GLUE)
            layout, spare = self.layouts[fragment], "" if name in present else "spare_"
            at = part_at[fragment]
            _point(words, self.tensors + tensor, tensors, at + layout[f"{spare}tensors"])
            _point(words, self.buffers + buffer, buffers, at + layout[f"{spare}buffers"])
        for fragment, position, count in runs:
            _point(words, first, count, part_at[fragment] + position)
            first += count
        return words.tobytes()

    def dictionary(self) -> bytes:
        """Return nothing: skeletons are runs of equal words and need no dictionary."""
        return b""

    def _operators_of(self, step: Step) -> tuple[Fragment, int, int]:
        by_value = self.layouts[step.fragment]["operators"]
        position, count = by_value[step.output if step.fragment == GLUE else step.inputs[0]]
        return step.fragment, position, count


def _point(words: npt.NDArray[np.uint32], word: int, count: int, target: int) -> None:
    """Point entries of a vector to consecutive rows, the first of which stands at byte `target`."""
    words[word : word + count] = target - 4 * word


def _write_head(operators: Sequence[tuple[int, int]], tensors: int, buffers: int) -> tuple[bytes, int, int]:
    """Write everything before the entries of the first vector; the vectors are buffers, tensors, operators.

    Return it with the words that are to name the tensors of the model's input and output.
    """
    writer = PartWriter(data=bytearray(b"\0\0\0\0TFL3"))
    model = writer.rows(
        (_VERSION, _CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS),
        [frozenset({_VERSION, _CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS})],
    )
    struct.pack_into("<I", writer.data, 0, model.start)
    writer.set_scalar(model, 0, _VERSION, _SCHEMA_VERSION)

    codes_vector = writer.int_vector([0] * len(operators))
    code_fields = (_DEPRECATED_CODE, _CODE_VERSION, _CODE)
    codes = writer.rows(code_fields, [frozenset(code_fields)] * len(operators))
    for k, (code, version) in enumerate(operators):
        entry = codes_vector + 4 + 4 * k
        struct.pack_into("<I", writer.data, entry, codes.start + 4 * k - entry)
        writer.set_scalar(codes, k, _DEPRECATED_CODE, code)  # old runtimes read this one
        writer.set_scalar(codes, k, _CODE, code)
        writer.set_scalar(codes, k, _CODE_VERSION, version)
    writer.set_offset(model, 0, _CODES, codes_vector)
    writer.set_offset(model, 0, _DESCRIPTION, writer.string("harness"))

    subgraphs_vector = writer.int_vector([0])
    subgraph_fields = (_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS, _NAME)
    subgraph = writer.rows(subgraph_fields, [frozenset(subgraph_fields)])
    struct.pack_into("<I", writer.data, subgraphs_vector + 4, subgraph.start - subgraphs_vector - 4)
    writer.set_offset(model, 0, _SUBGRAPHS, subgraphs_vector)
    ends = writer.int_vector([0]), writer.int_vector([0])
    for field, position in zip((_INPUTS, _OUTPUTS), ends, strict=True):
        writer.set_offset(subgraph, 0, field, position)
    writer.set_offset(subgraph, 0, _NAME, writer.string("main"))

    writer.align(4)
    vector = len(writer.data)
    writer.set_offset(model, 0, _BUFFERS, vector)
    writer.set_offset(subgraph, 0, _TENSORS, vector + 4 + 4 * buffers)
    writer.set_offset(subgraph, 0, _OPERATORS, vector + 8 + 4 * buffers + 4 * tensors)
    writer.data.extend(struct.pack("<I", buffers))
    first, last = (position // 4 + 1 for position in ends)  # a vector's count comes before its entries
    return bytes(writer.data), first, last

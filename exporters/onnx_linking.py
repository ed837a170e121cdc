"""ONNX skeletons: the chunks of nodes of a network's steps, one after the other. Needs no ONNX library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from exporters.fragments import GLUE, Fragment, Step

ALIGNMENT = 1
WINDOW_BYTES = 32 << 10  # how far back deflate can refer


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSkeletons:
    """Make the skeletons of the networks of one library from its fragments' layouts."""

    chunks: Mapping[
        Fragment, Mapping[str, bytes]
    ]  # by the value that is fed; for the glue by the sum's value

    @classmethod
    def from_layouts(cls, layouts: Mapping[Fragment, bytes]) -> OnnxSkeletons:
        """Read what `exporters.onnx_export` wrote."""
        return cls(
            chunks={
                fragment: {
                    value: base64.b64decode(text) for value, text in json.loads(layout)["nodes"].items()
                }
                for fragment, layout in layouts.items()
            }
        )

    def skeleton(self, steps: tuple[Step, ...], part_bytes: Mapping[Fragment, int]) -> bytes:
        """Return the skeleton of a network: header, input, output and all nodes in topological order."""
        chunks = self.chunks
        return b"".join(
            [
                chunks[step.fragment][step.output if step.fragment == GLUE else step.inputs[0]]
                for step in steps
            ]
        )

    def dictionary(self) -> bytes:
        """Return what skeletons have in common, in their order, for use as zlib preset dictionary.

        One chunk of each fragment is enough: the chunks for other inputs differ in a few names only.
        """
        order = sorted(self.chunks, key=_running_order)
        return b"".join(next(iter(self.chunks[fragment].values())) for fragment in order)[-WINDOW_BYTES:]


def _running_order(fragment: Fragment) -> tuple[int, int, str]:
    last = 1 << 30
    stage = {"glue": -2, "stem": -1, "head": last}.get(fragment.kind, fragment.stage or 0)
    return stage, (fragment.slot or 0) if fragment.kind == "op" else 2, fragment.op or ""

"""The authority's process (see `exporters.processes`): expected outputs, one a request.

It runs torch's own operators on the weights that are exported, so it judges exporting, linking, the device and its runtime.
A request is {"config", "weights", "name", "batch"}, the name of a network or a segment. The answer is
{"onnx": [...], "tflite": [...]}, the sums that judge its output in the order of each format's axes, or {"error": message}.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from exporters.expected import fixed_image, judged_parts, output_sums
from exporters.fragments import Step, steps, value_shape
from exporters.networks import fragment_module
from exporters.processes import serve
from exporters.weights import Weights
from exporters.worker import read_weights
from space import Architecture, SpaceConfig
from space.errors import HarnessError
from space.segments import PREFIX, Segment

KEPT_VALUES = 256  # networks in the order of their names share most of what they compute
KEPT_BYTES = 1 << 29
IMAGES_AT_ONCE = 8  # of a batch


def answers(request: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Give the one answer to a request."""
    config = SpaceConfig(**request["config"])
    try:
        weights = read_weights(request["weights"], config)
        yield dict(expected_sums(request["name"], config, weights, request["batch"]))
    except HarnessError as error:
        yield {"error": str(error)}


def expected_sums(name: str, config: SpaceConfig, weights: Weights, batch: int = 1) -> dict[str, list[float]]:
    """Return the sums (8,) of a network's or a segment's output on the agent's fixed input, by format; of a batch 8 for each
    group of images.

    Raises: ConversionError when the weights do not fit, ArchitectureError for a name of no network.
    """
    if name.startswith(PREFIX):
        plan = steps(Segment.parse(name, config))
    else:
        plan = steps(Architecture.parse(name, config))
    outputs = [
        run(plan, config, weights, range(begin, min(begin + IMAGES_AT_ONCE, batch)))
        for begin in range(0, batch, IMAGES_AT_ONCE)
    ]
    output = torch.cat(outputs).numpy()
    last = output.transpose(0, 2, 3, 1) if output.ndim == 4 else output
    orders = {"onnx": output, "tflite": last}
    return {
        key: [one for part in judged_parts(array, batch) for one in output_sums(part)]
        for key, array in orders.items()
    }


_kept: OrderedDict[str, Tensor] = OrderedDict()
_module = lru_cache(maxsize=KEPT_VALUES)(fragment_module)


def run(plan: Iterable[Step], config: SpaceConfig, weights: Weights, images: range = range(1)) -> Tensor:
    """Return the output of the last of some steps; the first one reads these images of the fixed input.

    Values that were computed are kept.
    """
    named: dict[str, tuple[str, Tensor]] = {}
    key, value = "", torch.empty(0)
    for step in plan:
        if not named:
            shape = value_shape(step.inputs[0], config)[1:]
            named[step.inputs[0]] = (
                f"{config.to_plain()} {weights.identity} {shape} {images}",
                torch.from_numpy(fixed_image((len(images), *shape), images.start)),
            )
        keys, inputs = zip(*(named[name] for name in step.inputs), strict=True)
        key = hashlib.sha256(f"{step.fragment} {keys}".encode()).hexdigest()
        if key not in _kept:
            _kept[key] = _module(step.fragment, config, weights)(*inputs)
        _kept.move_to_end(key)
        value = _kept[key]
        named[step.output] = key, value
    kept_bytes = sum(one.nbytes for one in _kept.values())
    while len(_kept) > KEPT_VALUES or kept_bytes > KEPT_BYTES:
        kept_bytes -= _kept.popitem(last=False)[1].nbytes
    return value


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(serve(answers))

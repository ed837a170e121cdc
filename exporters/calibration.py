"""Ranges of the values that flow through a space's fragments, from which int8 takes its scales. Imports torch.

A part is shared by networks only if what it reads and writes has the same scale in all of them. So a value that passes from
one fragment to another has one range, whatever wrote it: the widest seen in some networks that run on some images; and values
that one fragment may read in turn have one range in common. What stays inside a fragment has the range that its inputs give it.

A checkpoint's network shares its parts with none: each of its values has the range that it has there, on calibration images where
such are given (post-training quantization, as in Jacob et al., arXiv:1712.05877).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exporters.calibration_images import MOST_IMAGES, CalibrationImages, load_images
from exporters.errors import ConversionError
from exporters.formats import Precision
from exporters.fragments import (
    GLUE,
    IMAGE,
    Fragment,
    Step,
    all_fragments,
    fragments_of,
    possible_steps,
    reading_choices,
    steps,
    value_shape,
)
from exporters.networks import fragment_module
from exporters.weights import Weights
from space import Architecture, SpaceConfig

IMAGES = 2  # random ones of a network
# Of a fragment, one an image; of an op's possible values each is seen at least once.
LEAST_INPUTS, MOST_INPUTS = 8, 24
_SEED = 20221128


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Ranges (lowest, highest) of the values between fragments, 0 among them, and some inputs of each fragment.

    An input is one tensor (1, C, H, W) for each value that the fragment reads: two for a sum of the glue, which is found by its
    output's name.
    """

    ranges: Mapping[str, tuple[float, float]]
    inputs: Mapping[Fragment | str, tuple[tuple[Tensor, ...], ...]]


@lru_cache(maxsize=1)
def calibrate(config: SpaceConfig, weights: Weights) -> Calibration:
    """Run networks of a space on random images, of a checkpoint its own on its calibration images; return what flowed.

    Random images are drawn as the agent's fixed input is spread, evenly from -1 to 1. A checkpoint without calibration images
    has them, too: its ranges then fit a measurement of latency, and no image of a task.

    Raises:
        ConversionError: a checkpoint does not fit its architecture, its calibration images changed since they were named, or
            values are not finite on them.
    """
    modules: dict[Fragment, nn.Module] = {}
    ranges: dict[str, tuple[float, float]] = {}
    inputs: dict[Fragment | str, list[tuple[Tensor, ...]]] = {}
    most = MOST_INPUTS if _images_of(weights) is None else MOST_IMAGES
    # By value, what each op, candidate or sum of ops wrote there; and these, each with a fragment that keeps an input of it.
    written, read = dict[str, dict[str, Tensor]](), set[tuple[str, Fragment]]()
    for architecture, image in _runs(config, weights):
        values, writers = {IMAGE: torch.from_numpy(image)}, {IMAGE: ""}
        _widen(ranges, IMAGE, values[IMAGE])
        for step in steps(architecture):
            if step.fragment not in modules:
                modules[step.fragment] = fragment_module(step.fragment, config, weights)
            given = tuple(values[name] for name in step.inputs)
            with torch.inference_mode():
                values[step.output] = modules[step.fragment](*given)
            key = step.output if step.fragment == GLUE else step.fragment
            if len(inputs.setdefault(key, [])) < most:
                inputs[key].append(given)
                read |= {(writers[name], step.fragment) for name in step.inputs}
            _widen(ranges, step.output, values[step.output])
            summed = "+".join(writers[name] for name in step.inputs)
            writers[step.output] = step.fragment.op or (
                summed if step.fragment == GLUE else step.fragment.kind
            )
            written.setdefault(step.output, {})[writers[step.output]] = values[step.output]
    if weights.checkpoint is None:  # whose network feeds each fragment one value
        # What one op writes may be far from what others do, as negative values from those behind a ReLU.
        for step in (step for one in modules if one != GLUE for step in possible_steps(one, config)):
            for writer, tensor in written.get(step.inputs[0], {}).items():
                if (writer, step.fragment) not in read:
                    read.add((writer, step.fragment))
                    inputs[step.fragment].append((tensor,))
                    with torch.inference_mode():
                        _widen(ranges, step.output, modules[step.fragment](tensor))
        ranges[IMAGE] = (-1.0, 1.0)
        _share(ranges, config)
    return Calibration(ranges=ranges, inputs={key: tuple(kept) for key, kept in inputs.items()})


def calibrated_steps(
    fragment: Fragment, config: SpaceConfig, weights: Weights, precision: Precision
) -> tuple[Step, ...]:
    """Return the steps that may run a fragment; in int8 those whose values have a range, of a checkpoint its network's own."""
    found = possible_steps(fragment, config)
    if precision != "int8" or weights.checkpoint is None:
        return found
    own = frozenset(steps(weights.checkpoint.architecture))
    return tuple(step for step in found if step in own)


def _share(ranges: dict[str, tuple[float, float]], config: SpaceConfig) -> None:
    """Give values that the same fragment may read the widest of their ranges, and those that share a value with them."""
    groups: list[set[str]] = []
    for fragment in all_fragments(config):
        if fragment != GLUE:
            values = {step.inputs[0] for step in possible_steps(fragment, config)}
            values = values.union(*(group for group in groups if group & values))
            groups = [*(group for group in groups if not group & values), values]
    for group in groups:
        lows, highs = zip(*(ranges[value] for value in group), strict=True)
        ranges |= dict.fromkeys(group, (min(lows), max(highs)))


def _widen(ranges: dict[str, tuple[float, float]], value: str, tensor: Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise ConversionError(
            f"{value} is not finite on the calibration images, so that int8 has no scale for it; take other images or weights, "
            "or export fp32"
        )
    low, high = ranges.get(value, (0.0, 0.0))
    ranges[value] = min(low, float(tensor.min())), max(high, float(tensor.max()))


def _images_of(weights: Weights) -> CalibrationImages | None:
    return None if weights.checkpoint is None else weights.checkpoint.calibration


def _runs(config: SpaceConfig, weights: Weights) -> Iterator[tuple[Architecture, NDArray[np.float32]]]:
    """Yield networks, each with an image (1, C, H, W) that it runs on."""
    images = _images_of(weights)
    if images is not None and weights.checkpoint is not None:
        for image in load_images(images, config):
            yield weights.checkpoint.architecture, image[None]
        return
    rng = np.random.Generator(np.random.PCG64(_SEED))
    for architecture in _networks(config, weights):
        for _ in range(IMAGES):
            yield architecture, rng.uniform(-1, 1, value_shape(IMAGE, config)).astype(np.float32)


def _networks(config: SpaceConfig, weights: Weights) -> Iterator[Architecture]:
    """Yield random networks until every step of the space was run, and every fragment often enough."""
    if weights.checkpoint is not None:
        for _ in range(LEAST_INPUTS):
            yield weights.checkpoint.architecture
        return
    missing = {
        (step.fragment, step.inputs) for one in all_fragments(config) for step in possible_steps(one, config)
    }
    counts = dict.fromkeys(all_fragments(config), 0)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    while missing or min(counts.values()) * IMAGES < LEAST_INPUTS:
        digits = rng.integers(config.radices)
        blocks = [config.blocks[places[int(k)]] for places, k in zip(config.choices, digits, strict=True)]
        if config.chain is not None and missing:  # some are too rare to wait for
            fragment, inputs = sorted(missing, key=str)[int(rng.integers(len(missing)))]
            for choice, names in (reading_choices(fragment, inputs[0], config.chain) or {}).items():
                name = str(rng.choice(sorted(names)))
                blocks[choice] = config.blocks[config.table.by_text[name]]
        architecture = Architecture(blocks=tuple(blocks), config=config)
        missing -= {(step.fragment, step.inputs) for step in steps(architecture)}
        for fragment in fragments_of(architecture):
            counts[fragment] += 1
        yield architecture

"""File sizes of networks of a space as stand-alone models, without making 91,125 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporters import Format, FragmentLibrary, Weights
from harness.devices.config import DEFAULT_PRECISION, Precision
from space import Architecture, SpaceConfig
from space.indexing import FloatArray


def sizes_by_block(
    model_format: Format, cache_dir: Path, config: SpaceConfig, precision: Precision = DEFAULT_PRECISION
) -> tuple[FloatArray, float]:
    """Return the bytes that each block adds to a model file in each stage, (stages, B), and a constant.

    A file is a skeleton and parts, and what a stage adds to either hardly depends on the other stages: so the sizes are those of
    one network and, for each stage, what each of its blocks adds there. For ONNX that is exact; in TFLite files padding differs
    by up to 128 bytes, 0.002 %. Exports the fragments that the cache lacks.
    Raises: ConversionError when the fragments cannot be exported.
    """
    library = FragmentLibrary.open(
        model_format, cache_dir=cache_dir, config=config, weights=Weights.seeded(0), precision=precision
    )

    def size(stage: int, block: int) -> int:
        blocks = [config.blocks[places[0]] for places in config.choices]
        blocks[stage] = config.blocks[block]
        assembly = library.assembly(Architecture(blocks=tuple(blocks), config=config))
        total = len(assembly.skeleton)
        for digest in assembly.parts:
            total += -total % assembly.alignment + len(library.part(digest))
        return total

    first = size(0, config.choices[0][0])
    added = np.zeros((config.stages, len(config.blocks)))
    for stage, places in enumerate(config.choices):
        added[stage, list(places)] = [size(stage, block) - first for block in places]
    return added, float(first)

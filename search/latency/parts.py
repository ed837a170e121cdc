"""Sums of the measured parts of networks, and of the ops of a cell.

Parts are a mapping from a segment's text, such as `segment:cell0:conv-mbconv+in`, to its ratio: its latency as a model of its
own over the reference network's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from search.latency.evaluation import check_ratios
from search.latency.ridge import Linear
from space import ArchitectureError, Block, SpaceConfig
from space.errors import ConfigError
from space.segments import Segment, all_segments
from space.text import agreeing

SHOWN = 3  # absent parts that a message names


def parts_sum(parts: Mapping[str, float], config: SpaceConfig) -> Linear:
    """Return the sum of a network's parts, a function of indices (n,): the ratio of each cell and what all networks share.

    In a chain the ratios of the candidates at all sites of a choice are added; a candidate that is no segment adds 0.

    Raises:
        ConfigError: a part is absent, is no segment of the space, or its ratio is not finite and above 0.
    """
    known, needed = _known(parts, config), all_segments(config)
    if absent := [str(segment) for segment in needed if segment not in known]:
        raise ConfigError(
            f"{len(absent)} of {len(needed)} parts of space {config.name!r} {agreeing(len(absent), 'is', 'are')} not measured, "
            f"such as {', '.join(absent[:SHOWN])}; measure every segment of the space first"
        )
    blocks, fixed = np.zeros((config.stages, len(config.blocks))), 0.0
    for segment in needed:
        choice = None if segment.place is None else config.layout.sites[segment.place].choice
        if choice is None or segment.block is None:
            fixed += known[segment]
        else:
            blocks[choice, config.table.by_block[segment.block]] += known[segment]
    return Linear(config=config, constant=fixed, blocks=blocks)


def cell_excess(parts: Mapping[str, float], config: SpaceConfig) -> dict[tuple[int, Block], float]:
    """Return the relative excess of each measured cell of two ops over the sum of the same ops as single-op cells.

    Keys are the stage and the block; cells of which a part is not measured are absent.

    Raises:
        ConfigError: as `parts_sum`, but not for absent parts.
    """
    known, excess = _known(parts, config), dict[tuple[int, Block], float]()
    for segment in all_segments(config):
        stage, block = segment.stage, segment.block
        if stage is None or block is None or block.op0 is None or segment not in known:
            continue
        singles = [replace(segment, block=Block(op0=None, op1=op, wiring="single")) for op in block.ops]
        if all(single in known for single in singles):
            excess[stage, block] = known[segment] / sum(known[single] for single in singles) - 1
    return excess


def _known(parts: Mapping[str, float], config: SpaceConfig) -> dict[Segment, float]:
    known = {}
    for text, ratio in parts.items():
        try:
            segment = Segment.parse(text, config)
        except ArchitectureError as error:
            raise ConfigError(f"part {text!r}: {error}") from error
        check_ratios(f"part {text}: ratio", np.array([ratio], dtype=np.float64))
        known[segment] = float(ratio)
    return known

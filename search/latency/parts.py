"""Sums of the measured parts of networks, and of the ops of a cell.

Parts are a mapping from a segment's text, such as `segment:cell0:conv-mbconv+in`, to its ratio: its latency as a model of its
own over the reference network's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.latency.evaluation import check_ratios
from search.latency.ridge import Linear
from space import ArchitectureError, Block, SpaceConfig
from space.chain import Chain
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
    known = _known(parts, config)
    if config.chain is not None:
        return _chain_parts(known, config, config.chain)
    stages = range(config.stages)
    fixed = [Segment(kind="stem", config=config), Segment(kind="head", config=config)]
    fixed += [Segment(kind="reduction", stage=stage, config=config) for stage in stages]
    cells = [
        [Segment(kind="cell", stage=stage, block=block, config=config) for block in config.blocks]
        for stage in stages
    ]
    _check_known(known, fixed + [cell for row in cells for cell in row], config)
    blocks = np.array([[known[cell] for cell in row] for row in cells])
    return Linear(config=config, constant=sum(known[one] for one in fixed), blocks=blocks)


def _chain_parts(known: Mapping[Segment, float], config: SpaceConfig, chain: Chain) -> Linear:
    _check_known(known, all_segments(config), config)
    blocks, fixed = np.zeros((config.stages, len(config.blocks))), 0.0
    for segment, ratio in known.items():
        choice = None if segment.stage is None else chain.sites[segment.stage].choice
        if choice is None or segment.block is None:
            fixed += ratio
        else:
            blocks[choice, config.table.by_block[segment.block]] += ratio
    return Linear(config=config, constant=fixed, blocks=blocks)


def _check_known(known: Mapping[Segment, float], needed: Sequence[Segment], config: SpaceConfig) -> None:
    if absent := [str(segment) for segment in needed if segment not in known]:
        raise ConfigError(
            f"{len(absent)} of {len(needed)} parts of space {config.name!r} {agreeing(len(absent), 'is', 'are')} not measured, "
            f"such as {', '.join(absent[:SHOWN])}; measure every segment of the space first"
        )


def cell_excess(parts: Mapping[str, float], config: SpaceConfig) -> dict[tuple[int, Block], float]:
    """Return the relative excess of each measured cell of two ops over the sum of the same ops as single-op cells.

    Keys are the stage and the block; cells of which a part is not measured are absent.

    Raises:
        ConfigError: as `parts_sum`, but not for absent parts.
    """
    known, excess = _known(parts, config), dict[tuple[int, Block], float]()
    if config.chain is not None:  # whose blocks are of one op
        return excess
    for stage in range(config.stages):
        for block in config.blocks:
            singles = [
                Segment(
                    kind="cell", stage=stage, block=Block(op0=None, op1=op, wiring="single"), config=config
                )
                for op in block.ops
            ]
            whole = Segment(kind="cell", stage=stage, block=block, config=config)
            if block.op0 is not None and all(segment in known for segment in (whole, *singles)):
                excess[stage, block] = known[whole] / sum(known[single] for single in singles) - 1
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

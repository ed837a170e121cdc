"""The segments of a network, as running it goes through them."""

from __future__ import annotations

from space import Architecture
from space.segments import Segment


def segments_of(architecture: Architecture) -> tuple[Segment, ...]:
    """Return the segments of one network in running order: each reads what the one before it wrote."""
    config = architecture.config
    found = [Segment(kind="stem", config=config)]
    for stage, block in enumerate(architecture.blocks):
        found.append(Segment(kind="cell", stage=stage, block=block, config=config))
        found.append(Segment(kind="reduction", stage=stage, config=config))
    return (*found, Segment(kind="head", config=config))

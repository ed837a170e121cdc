"""Stages: a network's blocks in running order, each with what all networks run behind it, as distillation replaces them.

Blox's stage is a cell and the reduction behind it. In a chain of sites a stage is a choice: it begins at the first site that
follows the choice and ends where the next stage begins, so that fixed sites belong to the choice before them, and those at the
front to the first one. Stem, stages and head are the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass

from space.block import Block
from space.config import SpaceConfig
from space.errors import ArchitectureError

Shape = tuple[int, int, int]  # channels, rows and columns of a feature map


@dataclass(frozen=True, slots=True)
class SpaceStage:
    """A stage of a space, by its number from 0.

    Raises:
        ArchitectureError: the space has no such stage, or it is a chain in which sites of one choice enclose another's.
    """

    config: SpaceConfig
    number: int

    def __post_init__(self) -> None:
        check_stages(self.config, "a stage")
        if self.number not in range(self.config.stages):
            raise ArchitectureError(
                f"space {self.config.name!r} has no stage {self.number}; its stages are 0 to {self.config.stages - 1}"
            )

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks that may be chosen, in canonical order of the stage."""
        return tuple(self.config.blocks[place] for place in self.config.choices[self.number])

    @property
    def ops(self) -> tuple[str, ...]:
        """The names from which its blocks choose."""
        return tuple(dict.fromkeys(op for block in self.blocks for op in block.ops))

    @property
    def sites(self) -> range:
        """The places of its sites: in Blox of a cell and a reduction."""
        return stage_sites(self.config)[self.number]

    @property
    def prefix(self) -> str:
        """Prefix of its weights' names in the state dict of a whole network."""
        return f"stages.{self.number}." if self.config.chain is None else ""

    @property
    def input_shape(self) -> Shape:
        """The shape of what it reads, for one image."""
        return shape_at(self.config, self.sites.start)

    @property
    def output_shape(self) -> Shape:
        """The shape of what it gives, for one image."""
        return shape_at(self.config, self.sites.stop)


def stage_sites(config: SpaceConfig) -> tuple[range, ...]:
    """Return the places of the sites of each stage, one stage after the other."""
    firsts = [next(config.layout.followers(choice))[0] for choice in range(config.stages)]
    ends = [*firsts[1:], len(config.layout.sites)]
    return tuple(range(first, end) for first, end in zip([0, *firsts[1:]], ends, strict=True))


def check_stages(config: SpaceConfig, what: str) -> None:
    """Refuse to do `what` with a chain in which sites of one choice enclose those of another: these have no stages.

    Raises:
        ArchitectureError: it is so; the message names the choice and the sites.
    """
    for choice, places in enumerate(stage_sites(config)):
        for place, site in config.layout.followers(choice):
            if place not in places:
                raise ArchitectureError(
                    f"{what}: in space {config.name!r} site {site.name} follows the choice of site "
                    f"{next(config.layout.followers(choice))[1].name}, with sites of other choices between them; give it a "
                    "choice of its own"
                )


def shape_at(config: SpaceConfig, place: int | None) -> Shape:
    """Return the shape of what a site reads, by its place; for None of what the head reads."""
    _, channels, rows, columns = config.layout.shape(place)
    return channels, rows, columns

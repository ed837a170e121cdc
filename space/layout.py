"""Layout of the networks of a space of any kind: sites between a stem and a head, each with the modules that it may run.

    image -> stem -> site 0 -> site 1 -> ... -> head -> logits

Sites that follow one *choice* run the block that the network chooses there; a site of one module follows none. Costs, memory,
stages, segments and sums of parts are computed from this alone. A new kind of space needs one more function that returns a
`NetworkLayout`, as `space.cells` has for Blox and `space.chain` for a space of one's own, and torch modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from space.block import Block, BlockTable

SegmentKind = Literal["stem", "cell", "reduction", "head", "site"]

FLOAT_BYTES = 4


@dataclass(slots=True)
class MapSizes:
    """The feature maps of a part in the order they are written: how many values each has, and what each step reads."""

    values: list[int] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)

    def write(self, values: int, *reads: int) -> int:
        """Add a step that reads some maps and writes one of `values` values; return the new map."""
        self.values.append(values)
        self.reads.append(reads)
        return len(self.values) - 1

    def peak(self) -> int:
        """Return the largest number of values alive during a step; the last map is the part's output."""
        last_read = {read: step for step, reads in enumerate(self.reads) for read in reads}
        alive = most = 0
        for step, values in enumerate(self.values):
            alive += values
            most = max(most, alive)
            alive -= sum(
                self.values[one] for one in {step, *self.reads[step]} if last_read.get(one, one) == step
            )
        return most


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """Facts on a module for images of a certain shape: its graph's digest, its costs for one image, its output.

    `digest` names the ops, their order and all shapes, whatever the parameters are called; `peak_bytes` is the peak of feature
    maps as `space.memory` counts it; `passes`: the module gives back what it is given.
    """

    digest: str
    params: int
    macs: int
    peak_bytes: int
    output: tuple[int, ...]
    passes: bool = False


class SiteModule(Protocol):
    """A module that a site may run: its name, its block if it is chosen or called by one, and what is known of it."""

    @property
    def name(self) -> str: ...

    @property
    def block(self) -> Block | None: ...

    @property
    def traced(self) -> Traced: ...


P_co = TypeVar("P_co", bound=SiteModule, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(Generic[P_co]):
    """A place between stem and head. `choice` counts the choices of a space from 0; None where there is one candidate alone.

    It maps (channels_in, size, size) to (channels_out, ceil(size / stride), ceil(size / stride)).
    """

    name: str
    choice: int | None
    channels_in: int
    channels_out: int
    stride: int
    size: int
    candidates: tuple[P_co, ...]

    def candidate(self, name: str) -> P_co:
        """Return the candidate of a name. Raises: KeyError for a name of none."""
        for module in self.candidates:
            if module.name == name:
                return module
        raise KeyError(name)

    def runs(self, block: Block) -> P_co:
        """Return the module that it runs where the network's block of its choice is this one."""
        return self.candidates[0] if self.choice is None else self.candidate(str(block))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkLayout(Generic[P_co]):
    """Stem, sites and head. `kinds`: what the sites are called in turn, each kind with numbers of its own.

    `reference`: the blocks of the network that all others are timed against. `table` has all blocks, by default those of the
    candidates in their order; `choices` and `digits` are those of `SpaceConfig`.
    """

    stem: P_co
    sites: tuple[Site[P_co], ...]
    head: P_co
    reference: tuple[str, ...] = ()
    kinds: tuple[SegmentKind, ...] = field(default=("site",), repr=False)
    table: BlockTable = field(
        default=BlockTable(blocks=(), raw=(), by_block={}, by_text={}, by_raw={}), repr=False
    )
    choices: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    digits: tuple[Mapping[int, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chosen = {
            site.choice: tuple(module.block for module in site.candidates if module.block)
            for site in self.sites
            if site.choice is not None
        }
        if not self.table.blocks:
            blocks = tuple(dict.fromkeys(block for choice in chosen.values() for block in choice))
            by_block = {block: i for i, block in enumerate(blocks)}
            by_text = {str(block): i for block, i in by_block.items()}
            table = BlockTable(blocks=blocks, raw=(), by_block=by_block, by_text=by_text, by_raw={})
            object.__setattr__(self, "table", table)
        places = self.table.by_block
        choices = tuple(tuple(places[block] for block in chosen[choice]) for choice in range(len(chosen)))
        object.__setattr__(self, "choices", choices)
        digits = tuple({block: digit for digit, block in enumerate(blocks)} for blocks in choices)
        object.__setattr__(self, "digits", digits)

    def shape(self, place: int | None) -> tuple[int, ...]:
        """Return the shape (1, C, H, W) of what a site reads, by its place; for None of what the head reads."""
        if place is None or place == len(self.sites):
            return self.sites[-1].candidates[0].traced.output if self.sites else self.stem.traced.output
        site = self.sites[place]
        return 1, site.channels_in, site.size, site.size

    def followers(self, choice: int) -> Iterator[tuple[int, Site[P_co]]]:
        """Yield the sites that follow a choice, each with its place among all."""
        for place, site in enumerate(self.sites):
            if site.choice == choice:
                yield place, site

    def chosen(self, choice: int) -> Iterator[tuple[int, P_co]]:
        """Yield the candidates of all sites that follow a choice, each with the place of its block in the table."""
        for _, site in self.followers(choice):
            yield from zip(self.choices[choice], site.candidates, strict=True)

    def fixed(self) -> Iterator[P_co]:
        """Yield the modules that all networks run: stem, those of the sites without a choice, and head."""
        yield self.stem
        yield from (site.candidates[0] for site in self.sites if site.choice is None)
        yield self.head

    def modules(self, blocks: tuple[Block, ...]) -> Iterator[tuple[int, Site[P_co], P_co]]:
        """Yield each site of the network of these blocks, one a choice, with its place and the module that it runs."""
        for place, site in enumerate(self.sites):
            yield place, site, site.runs(blocks[site.choice or 0])

    def numbered(self, place: int) -> tuple[SegmentKind, int]:
        """Return the kind of a site and its number among those of its kind, by its place."""
        return self.kinds[place % len(self.kinds)], place // len(self.kinds)

    def place(self, kind: SegmentKind, number: int) -> int:
        """Return the place of a site: the inverse of `numbered`."""
        return number * len(self.kinds) + self.kinds.index(kind)

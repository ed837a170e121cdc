"""A space of one's own as data: a chain of sites between a fixed stem and a fixed head.

    image -> stem -> site 0 -> site 1 -> ... -> head -> logits

Each site runs one of its candidates, which are torch modules; what is known of each of them, `Traced`, is counted once, when the
space is read (`space.definition`), so that a chain needs no torch and travels as JSON. Sites that follow one *choice* run the
same candidate; a site of one candidate follows none. A candidate is a `Block` of one op to all that works with blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from space.block import Block, BlockTable

Option = bool | int | float | str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A torch module at a place of the chain, made by `FUNCTION(channels_in, channels_out, stride, **options)`.

    `function` is the name of a shipped one (`space.candidates`), or `module:function` beside the definition's file or in an
    installed package. `given` are those three numbers. `name` is the candidate's; of stem and head it is that word.
    """

    name: str
    function: str
    options: tuple[tuple[str, Option], ...] = ()
    given: tuple[int, int, int]
    traced: Traced

    @property
    def block(self) -> Block:
        """The candidate as a block: of one op, itself."""
        return Block(op0=None, op1=self.name, wiring="single")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place of the chain. `choice` counts the choices of a space from 0; None where there is one candidate alone.

    It maps (channels_in, size, size) to (channels_out, ceil(size / stride), ceil(size / stride)).
    """

    name: str
    choice: int | None
    channels_in: int
    channels_out: int
    stride: int
    size: int
    candidates: tuple[Module, ...]

    def candidate(self, name: str) -> Module:
        """Return the candidate of a name. Raises: KeyError for a name of none."""
        for module in self.candidates:
            if module.name == name:
                return module
        raise KeyError(name)

    def runs(self, block: Block) -> Module:
        """Return the module that it runs where the network's block of its choice is this one."""
        return self.candidates[0] if self.choice is None else self.candidate(block.op1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Stem, sites and head. `folder`: where the definition's own functions are looked up; empty where it has none.

    `reference`: the candidates of the network that all others are timed against, one a choice. Chains of one `digest` are equal.
    """

    stem: Module
    sites: tuple[Site, ...]
    head: Module
    folder: str = ""
    reference: tuple[str, ...] = ()
    digest: str = field(init=False)
    table: BlockTable = field(init=False, repr=False)
    choices: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    digits: tuple[Mapping[int, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        blocks: dict[Block, None] = {}
        for site in self.sites:
            if site.choice is not None:
                blocks |= {module.block: None for module in site.candidates}
        by_block = {block: i for i, block in enumerate(blocks)}
        chosen: dict[int, tuple[int, ...]] = {}
        for site in self.sites:
            if site.choice is not None:
                chosen[site.choice] = tuple(by_block[module.block] for module in site.candidates)
        by_text = {str(block): i for block, i in by_block.items()}
        table = BlockTable(blocks=tuple(blocks), raw=(), by_block=by_block, by_text=by_text, by_raw={})
        object.__setattr__(self, "digest", _digest(self))
        object.__setattr__(self, "table", table)
        choices = tuple(chosen[choice] for choice in range(len(chosen)))
        object.__setattr__(self, "choices", choices)
        digits = tuple({block: digit for digit, block in enumerate(places)} for places in choices)
        object.__setattr__(self, "digits", digits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"chain {self.digest}"

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in JSON's types, of which `Chain.from_plain` makes the chain again."""
        plain: dict[str, Any] = {
            "stem": asdict(self.stem),
            "sites": [asdict(site) for site in self.sites],
            "head": asdict(self.head),
            "folder": self.folder,
            "reference": self.reference,
        }
        found: dict[str, Any] = json.loads(json.dumps(plain))  # tuples become lists
        return found

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Chain:
        """Return the chain that `to_plain` has written."""
        return cls(
            stem=_module(plain["stem"]),
            sites=tuple(
                Site(**(site | {"candidates": tuple(map(_module, site["candidates"]))}))
                for site in plain["sites"]
            ),
            head=_module(plain["head"]),
            folder=plain["folder"],
            reference=tuple(plain["reference"]),
        )

    def shape(self, place: int | None) -> tuple[int, ...]:
        """Return the shape (1, C, H, W) of what a site reads, by its place; for None of what the head reads."""
        if place is None or place == len(self.sites):
            return self.sites[-1].candidates[0].traced.output if self.sites else self.stem.traced.output
        site = self.sites[place]
        return 1, site.channels_in, site.size, site.size

    def module(self, kind: str, place: int | None = None, name: str | None = None) -> Module:
        """Return the module of `kind` stem, head or site: of a site, by its place, the candidate of a name."""
        if kind == "site":
            return self.sites[place or 0].candidate(name or "")
        return self.stem if kind == "stem" else self.head

    def followers(self, choice: int) -> Iterator[tuple[int, Site]]:
        """Yield the sites that follow a choice, each with its place in the chain."""
        for place, site in enumerate(self.sites):
            if site.choice == choice:
                yield place, site

    def modules(self, blocks: tuple[Block, ...]) -> Iterator[tuple[int, Site, Module]]:
        """Yield each site of the network of these blocks, one a choice, with its place and the module that it runs."""
        for place, site in enumerate(self.sites):
            yield place, site, site.runs(blocks[site.choice or 0])


def _digest(chain: Chain) -> str:
    """Return the sha256 of what networks are: the choices with the names of their candidates, and the graphs of all modules.

    With their parameters: a module may have some that its graph does not read.
    """

    def identity_of(module: Module) -> list[object]:
        return [module.name, module.traced.digest, module.traced.params]

    identity = {
        "stem": identity_of(chain.stem),
        "sites": [[site.choice, [identity_of(module) for module in site.candidates]] for site in chain.sites],
        "head": identity_of(chain.head),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _module(plain: Mapping[str, Any]) -> Module:
    traced = Traced(**{**plain["traced"], "output": tuple(plain["traced"]["output"])})
    options = tuple((key, value) for key, value in plain["options"])
    return Module(**{**plain, "options": options, "given": tuple(plain["given"]), "traced": traced})

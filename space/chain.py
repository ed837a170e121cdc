"""A space of one's own as data: a chain of sites between a fixed stem and a fixed head, a `space.layout.NetworkLayout`.

Each site runs one of its candidates, which are torch modules; what is known of each of them, `Traced`, is counted once, when the
space is read (`space.definition`), so that a chain needs no torch and travels as JSON. A candidate is a `Block` of one op to all
that works with blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from space.block import Block
from space.layout import NetworkLayout, Site, Traced

Option = bool | int | float | str


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain(NetworkLayout[Module]):
    """NetworkLayout of a definition. `folder`: where its own functions are looked up; empty where it has none.

    Chains of one `digest` are equal.
    """

    folder: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        NetworkLayout.__post_init__(self)
        object.__setattr__(self, "digest", _digest(self))

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

    def module(self, kind: str, place: int | None = None, name: str | None = None) -> Module:
        """Return the module of `kind` stem, head or site: of a site, by its place, the candidate of a name."""
        if kind == "site":
            return self.sites[place or 0].candidate(name or "")
        return self.stem if kind == "stem" else self.head


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

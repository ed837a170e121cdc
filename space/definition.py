"""Spaces of one's own, from a TOML file or from Python: checked, traced once, and then a `Space` as any other.

    name = "mine"
    image_size = 64
    classes = 7

    [candidates]
    mb3 = { module = "mbconv", expansion = 3 }
    ghost = { module = "my_ops:ghost", ratio = 2 }    # a function (channels_in, channels_out, stride, *, ratio) of my_ops.py
    skip = "identity"

    [stem]
    module = "conv"
    channels = 16
    stride = 2

    [[sites]]
    candidates = ["mb3", "ghost"]
    channels = 24
    stride = 2

    [[sites]]
    candidates = ["mb3", "ghost", "skip"]
    repeat = 3

    [head]
    module = "linear"

A site keeps its channels where none are given; of repeated sites the first has the stride. Sites with one `choice`, a word, run
the same candidate; a site of one candidate is fixed. Reading a definition runs the code that it names.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from space.architecture import SPACES, Space
from space.chain import Chain, Module, Option
from space.config import MAX_NETWORKS, SpaceConfig
from space.costs import network_cost
from space.errors import ArchitectureError, did_you_mean, shown
from space.indexing import blocks_of, drawn, random_words
from space.layout import Site, Traced
from space.module_functions import (
    build_module,
    forget_modules,
    is_self_contained,
    source_digest,
    written_as,
)
from space.text_files import read_text

if TYPE_CHECKING:
    from torch import nn

MAX_FILE_BYTES = 1 << 20
MAX_SITES, MAX_CANDIDATES = 256, 256
MAX_IMAGE, MAX_CHANNELS, MAX_CLASSES = 4096, 65_536, 1_000_000
MAX_STRIDE = 16
REFERENCES = 1_001  # networks among which the reference is the median by MACs: all, or a sample
DIGEST_CHARACTERS = 12  # of a space's name
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED = ("in", "out", "all", "segments", *SPACES)


def load_space(path: str | Path) -> Space:
    """Return the space that a TOML file defines. It runs the code that the file names.

    Raises:
        ArchitectureError: the file cannot be read, or defines no space: the message names the place, the value and the remedy.
    """
    path = Path(path)
    return defined_space(read_definition(path), folder_of(path), str(path))


def read_definition(path: Path) -> dict[str, Any]:
    """Return the content of a definition's file, unchecked. Raises: ArchitectureError when it is no TOML file."""
    text = read_text(
        path, error=ArchitectureError, remedy="name the TOML file of a space", most=MAX_FILE_BYTES
    )
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ArchitectureError(f"{path}: is not TOML: {error}") from error


def folder_of(path: Path) -> str:
    """Return where a definition's own functions are looked up: beside its file."""
    return str(path.absolute().parent)


def definition_key(document: Mapping[str, Any], folder: str) -> str:
    """Return a digest of a definition's whole content, its functions' code included; empty where some of that code is not known.

    Code beside the definition is known where it is in one file and reads no other.
    """
    sources = _sources(document, folder)
    if sources is None:
        return ""
    facts = [document, sources, version("torch"), _own_digest()]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def forget_traces() -> None:
    """Forget modules traced in this process and the files run for them: the next definition is traced anew."""
    _own_traced.cache_clear()
    forget_modules()


def _sources(document: Mapping[str, Any], folder: str) -> list[list[str]] | None:
    """Return a definition's own functions, each with the digest of its code; None where not all of that is known."""
    tables = [document.get("stem"), document.get("head")]
    candidates = document.get("candidates")
    tables += list(candidates.values()) if isinstance(candidates, Mapping) else []
    modules = [table.get("module") if isinstance(table, Mapping) else table for table in tables]
    sources = []
    for text in sorted({one for one in modules if isinstance(one, str) and ":" in one}):
        source = source_digest(text, folder) if is_self_contained(text, folder) else ""
        if not source:
            return None
        sources.append([text, source])
    return sources


@cache
def _own_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def define(
    name: str,
    *,
    image_size: int,
    classes: int,
    candidates: Mapping[str, Any],
    sites: Sequence[Mapping[str, Any]],
    stem: Mapping[str, Any],
    head: Mapping[str, Any] | str | Callable[..., Any] = "linear",
    in_channels: int = 3,
) -> Space:
    """Return a space of one's own from Python values, those of a TOML file; a module may be a function that other processes find.

    Such functions stand at the top of one file, or of installed packages.

    Raises:
        ArchitectureError: as `load_space`.
    """
    document = {
        "name": name,
        "image_size": image_size,
        "classes": classes,
        "in_channels": in_channels,
        "candidates": dict(candidates),
        "stem": stem,
        "sites": list(sites),
        "head": head,
    }
    folders: dict[str, None] = {}
    document = _named_functions(document, name, folders)
    if len(folders) > 1:
        raise ArchitectureError(
            f"space {name!r}: its functions are in {' and '.join(folders)}; put them into one file, or into a package"
        )
    return defined_space(document, next(iter(folders), ""), f"space {shown(name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A module as it is written: the function and its options, which are told apart by their types, too: `True` equals 1."""

    function: str
    options: tuple[tuple[str, Option], ...]
    kinds: tuple[type, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(type(value) for _, value in self.options))


class _Table:
    """A table of a document whose values are taken out one by one, so that what is left over is unknown."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise ArchitectureError(f"{where} = {shown(values)}: write a table of keys and values")
        self._left, self._where, self._known = dict(values), where, list[str]()

    def refuse(self, key: str, value: object, remedy: str) -> ArchitectureError:
        return ArchitectureError(f"{self._where}: {key} = {shown(value)}; {remedy}")

    def take(self, key: str, default: Any = None) -> Any:
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is None:
            near = did_you_mean(key, self._left)
            instead = near and f" (there is {near.removeprefix('; did you mean ').removesuffix('?')})"
            raise ArchitectureError(f"{self._where}: {key} is missing{instead}; write {key} = ...")
        return value

    def number(self, key: str, most: int, default: int | None = None) -> int:
        value = self.take(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise self.refuse(key, value, f"give a whole number from 1 to {most}")
        return value

    def word(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.refuse(key, value, "give a word of lower-case letters, digits and _, 40 at most")
        return value

    def has(self, key: str) -> bool:
        return key in self._left

    def rest(self) -> dict[str, Any]:
        left, self._left = self._left, {}
        return left

    def end(self) -> None:
        for key in self._left:
            near = did_you_mean(str(key), self._known, "its keys are")
            raise ArchitectureError(f"{self._where} has no key {shown(key)}{near}")


def defined_space(document: Mapping[str, Any], folder: str, source: str) -> Space:
    """Return the space of a definition's content; `source` begins messages. Raises: ArchitectureError, as `load_space`."""
    if _sources(document, folder) is None:
        forget_traces()
    table = _Table(document, source)
    name = table.word("name")
    if name in _RESERVED:
        raise table.refuse(
            "name", name, "a space of harness or a word of its own is called that; choose another"
        )
    image_size = table.number("image_size", MAX_IMAGE)
    classes = table.number("classes", MAX_CLASSES)
    in_channels = table.number("in_channels", MAX_CHANNELS, 3)
    parts = _candidates(table.take("candidates"), source)
    stem = _stem(table.take("stem"), source, folder, (in_channels, image_size))
    sites = _sites(table.take("sites"), parts, source, folder, stem.traced.output)
    last = sites[-1].candidates[0].traced.output
    head = _head(table.take("head"), source, folder, last, classes)
    table.end()
    chain = Chain(stem=stem, sites=sites, head=head, folder=folder)
    config = Space(
        name=f"{name}@{chain.digest[:DIGEST_CHARACTERS]}",
        ops=tuple(str(block) for block in chain.table.blocks),
        widths=(),
        image_size=image_size,
        classes=classes,
        in_channels=in_channels,
        chain=chain,
    )
    if len(config.radices) == 0:
        raise ArchitectureError(f"{source}: no site has two candidates; there is nothing to choose")
    if (count := config.count) > MAX_NETWORKS:
        raise ArchitectureError(
            f"{source}: over 1e{int(math.log10(count))} networks are too many to number; use fewer sites or candidates"
        )
    reference = tuple(str(config.blocks[i]) for i in blocks_of(config, _median_index(config)))
    return replace(config, chain=replace(chain, reference=reference))


def check_code(config: SpaceConfig) -> None:
    """Refuse a chain of which a function makes another module now than when its definition was read.

    Raises:
        ArchitectureError: it is so, or the function is gone; the message names it.
    """
    chain = config.chain
    if chain is None:
        return
    for module, size in _placed(chain, config.image_size):
        part = _Part(function=module.function, options=module.options)
        if _traced_once(part, chain.folder, module.given, size) != module.traced:
            raise ArchitectureError(
                f"space {config.name!r}: {module.function} makes another module now than when the space was read; what was made "
                "of that space is none of this one: begin anew with the definition as it is now"
            )


def learning_digest(config: SpaceConfig) -> str:
    """Return a text of how a chain's own modules learn, which nothing else of a space tells; empty where it has none of its own.

    The version of torch, and a digest of the modules' graphs in training and of the scales of their fresh weights.
    """
    chain = config.chain
    placed = [] if chain is None else _placed(chain, config.image_size)
    own = dict.fromkeys(
        (_Part(function=module.function, options=module.options), module.given, size)
        for module, size in placed
        if ":" in module.function
    )
    if chain is None or not own:
        return ""
    learned = [_learning(part, chain.folder, given, size) for part, given, size in own]
    return f"torch {version('torch')} {hashlib.sha256(json.dumps(learned).encode()).hexdigest()}"


def _learning(part: _Part, folder: str, given: tuple[int, int, int], size: int) -> list[object]:
    import numpy as np

    from space.tracing import learning_of

    states = random.getstate(), np.random.get_state()
    try:
        random.seed(0), np.random.seed(0)
        return learning_of(_made(part, folder, given), (1, given[0], size, size))
    finally:
        random.setstate(states[0]), np.random.set_state(states[1])


def _placed(chain: Chain, image_size: int) -> list[tuple[Module, int]]:
    """Return each module of a chain, with the size of the image that it reads."""
    ends = [(chain.stem, image_size), (chain.head, chain.shape(None)[2])]
    return ends + [(module, site.size) for site in chain.sites for module in site.candidates]


def _median_index(config: Space) -> int:
    """Return the network of median MACs, of all of a small space and of a sample of a large one."""
    count = config.count
    places = range(count) if count <= REFERENCES else drawn(REFERENCES, count, random_words(0))
    ordered = sorted((network_cost(config, index).macs, index) for index in places)
    return ordered[(len(ordered) - 1) // 2][1]


def _part(value: object, where: str) -> _Part:
    """Read a module: a function's name, or a table of it and its options."""
    table = _Table({"module": value} if isinstance(value, str) else value, where)
    function = table.take("module")
    if not isinstance(function, str) or not re.fullmatch(r"[\w.]+(:[\w.]+)?", function):
        raise table.refuse("module", function, "give a shipped module's name, or module:function")
    options = []
    for key, option in table.rest().items():
        if not isinstance(option, bool | int | float | str):
            raise table.refuse(key, option, "an option is a number, a text, true or false")
        options.append((str(key), option))
    return _Part(function=function, options=tuple(sorted(options)))


def _candidates(value: object, source: str) -> dict[str, _Part]:
    where = f"{source}: [candidates]"
    table = _Table(value, where).rest()
    if not 1 <= len(table) <= MAX_CANDIDATES:
        raise ArchitectureError(f"{where} has {len(table)} candidates; name 1 to {MAX_CANDIDATES}")
    for name in table:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise ArchitectureError(
                f"{where}: {shown(name)} is no candidate's name; give a word of lower-case letters, digits and _, other than "
                f"{', '.join(_RESERVED)}"
            )
    return {name: _part(one, f"{source}: [candidates] {name}") for name, one in table.items()}


def _stem(value: object, source: str, folder: str, image: tuple[int, int]) -> Module:
    where, (in_channels, size) = f"{source}: [stem]", image
    table = _Table(value, where)
    channels, stride = table.number("channels", MAX_CHANNELS), table.number("stride", MAX_STRIDE, 1)
    part = _part(table.rest(), where)
    return _traced(part, "stem", where, folder, (in_channels, channels, stride), size)


def _head(value: object, source: str, folder: str, shape: tuple[int, ...], classes: int) -> Module:
    where = f"{source}: [head]"
    part = _part(value, where)
    return _traced(part, "head", where, folder, (shape[1], classes, 1), shape[2], wanted=(1, classes))


def _sites(
    value: object, parts: Mapping[str, _Part], source: str, folder: str, shape: tuple[int, ...]
) -> tuple[Site[Module], ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ArchitectureError(f"{source}: sites = {shown(value)}; write at least one [[sites]]")
    sites: list[Site[Module]] = []
    # By the label, or of sites without one by the name.
    choices, taken = dict[tuple[str, str], tuple[int, tuple[str, ...]]](), {"stem", "head", "glue"}
    for entry, one in enumerate(value):
        where = f"{source}: [[sites]] {entry + 1}"
        table = _Table(one, where)
        names = _names(table, parts)
        channels = table.number("channels", MAX_CHANNELS, shape[1])
        stride, repeat = table.number("stride", MAX_STRIDE, 1), table.number("repeat", MAX_SITES, 1)
        label = table.word("choice") if table.has("choice") else ""
        name = table.word("name") if table.has("name") else ""
        table.take("choice", ""), table.take("name", "")
        table.end()
        if label and len(names) == 1:
            raise table.refuse(
                "choice", label, f"the site has {names[0]} alone; list more candidates, or no choice"
            )
        if len(sites) + repeat > MAX_SITES:
            raise ArchitectureError(f"{where}: more than {MAX_SITES} sites; use fewer")
        for turn in range(repeat):
            given = shape[1], channels, stride if turn == 0 else 1
            site = f"{name}_{turn}" * bool(name and repeat > 1) or name or f"site{len(sites)}"
            if site in taken:
                raise ArchitectureError(
                    f"{where}: two parts are called {site}; give each site a name of its own"
                )
            taken.add(site)
            number: int | None = None
            known = names
            if len(names) > 1:
                number, known = choices.setdefault((label, "" if label else site), (len(choices), names))
            if known != names:
                raise table.refuse(
                    "choice", label, f"its first site has the candidates {', '.join(known)}; list the same"
                )
            modules = tuple(
                _traced(parts[one], one, f"{where}, candidate {one}", folder, given, shape[2])
                for one in names
            )
            sites.append(
                Site(
                    name=site,
                    choice=number,
                    channels_in=given[0],
                    channels_out=channels,
                    stride=given[2],
                    size=shape[2],
                    candidates=modules,
                )
            )
            shape = modules[0].traced.output
    return tuple(sites)


def _names(table: _Table, parts: Mapping[str, _Part]) -> tuple[str, ...]:
    names = table.take("candidates")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names or len(set(map(str, names))) < len(names):
        raise table.refuse("candidates", names, "list the names of at least one candidate, each once")
    for name in names:
        if name not in parts:
            near = did_you_mean(str(name), parts, "[candidates] has")
            raise table.refuse("candidates", name, f"no candidate has this name{near}")
    return tuple(names)


def _traced(
    part: _Part,
    name: str,
    where: str,
    folder: str,
    given: tuple[int, int, int],
    size: int,
    wanted: tuple[int, ...] | None = None,
) -> Module:
    """Return a module with what is known of it, its output checked."""
    _, channels, stride = given
    after = -(-size // stride)
    wanted = wanted or (1, channels, after, after)
    try:
        traced = _traced_once(part, folder, given, size)
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}: {error}") from error
    if traced.output != wanted:
        raise ArchitectureError(
            f"{where}: {part.function} makes {_sizes(traced.output)} of {_sizes((1, given[0], size, size))}, where channels = "
            f"{channels} and stride = {stride} ask for {_sizes(wanted)}; repair the module, or give other channels and stride"
        )
    return Module(name=name, function=part.function, options=part.options, given=given, traced=traced)


def _traced_once(part: _Part, folder: str, given: tuple[int, int, int], size: int) -> Traced:
    """Trace a module: sites of one shape have the same candidates, and a definition may be read again.

    Shipped modules are the same in all folders.
    """
    if ":" not in part.function:
        return _shipped_traced(part, given, size)
    return _own_traced(part, folder, source_digest(part.function, folder), given, size)


@lru_cache(maxsize=4096)
def _shipped_traced(part: _Part, given: tuple[int, int, int], size: int) -> Traced:
    return _trace(_made(part, "", given), given, size)


@lru_cache(maxsize=4096)
def _own_traced(part: _Part, folder: str, source: str, given: tuple[int, int, int], size: int) -> Traced:
    """Trace a module of code that harness does not know. `source`: the digest of its file."""
    first, second = (_made(part, folder, given, seed) for seed in range(2))
    if not {id(one) for one in first.parameters()}.isdisjoint(map(id, second.parameters())):
        raise ArchitectureError(
            f"{part.function} gives the same weights whenever it is called, and sites would share them; make new layers in it"
        )
    found = _trace(first, given, size)
    if _trace(second, given, size, runs=2) != found:
        raise ArchitectureError(
            f"{part.function} is another network each time that it is made and run; keep counters, times and random numbers that "
            "are no parameters out of it (as the vectors of torch's spectral_norm)"
        )
    return found


def _made(part: _Part, folder: str, given: tuple[int, int, int], seed: int = 0) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):  # torch's global generator is left as it was
        torch.default_generator.manual_seed(seed)
        return build_module(part.function, part.options, folder, given)


def _trace(module: nn.Module, given: tuple[int, int, int], size: int, *, runs: int = 1) -> Traced:
    from space.tracing import trace

    return trace(module, (1, given[0], size, size), runs=runs)[0]


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _named_functions(value: Any, name: str, folders: dict[str, None]) -> Any:
    """Return a document with functions of Python as text, and add the folders of their files."""
    if isinstance(value, Mapping):
        return {key: _named_functions(one, name, folders) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_named_functions(one, name, folders) for one in value]
    if not callable(value):
        return value
    text, folder = written_as(value, f"space {shown(name)}")
    if folder:
        folders[folder] = None
    return text

"""Selections of networks, as text.

    all                  every network in canonical order
    sample:N[@seed]      N networks, uniformly and without replacement; sample:N is a prefix of sample:N+1
    design:K[@seed]      K balanced rounds; in each, every block stands exactly once in every stage, or about equally often where
                         choices have different numbers of blocks
    file:PATH            one network a line, in any of the forms below; # starts a comment; file:- is standard input
    conv/bconv/conv-conv, a nested vector as JSON, an index, a graph hash of 32 hex characters

Several selections are joined by commas. The default seed is 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

from space.architecture import BLOX, Architecture
from space.config import SpaceConfig, check_enumerable
from space.errors import ArchitectureError, did_you_mean, shown
from space.indexing import drawn, index_of, random_words
from space.lookup import canonical_index
from space.text_files import lines_of_list, read_text

_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_LISTED = 5_000_000  # networks that one selection may hold in memory
_FORMS = "all, sample:N[@seed], design:K[@seed], file:PATH, an architecture's text, vector, index or hash"
_COUNT = re.compile(r"(-?[0-9]{1,18})(?:@([0-9]{1,18}))?")
# No index, hash or vector; may be a file's name.
_WORD = re.compile(r"(?![0-9a-fA-F]{32}$)[A-Za-z_]\w{0,254}", re.ASCII)


def select_models(spec: str | Iterable[str], config: SpaceConfig = BLOX) -> list[Architecture]:
    """Return the networks of one or several selections in order of first mention, without duplicates.

    Raises:
        ArchitectureError: a selection is empty, malformed, or names something that is not in the space.
    """
    specs = [spec] if isinstance(spec, str) else list(spec)
    parts = [part for text in specs for part in _split(text)]
    if not parts:
        raise ArchitectureError(f"selection {shown(spec)} names no network; write {_FORMS}")
    if parts == ["all"]:
        return _all(config)
    selected = {a: None for part in parts for a in _select(part, config)}  # a dict keeps the order
    return list(selected)


def parse_model(text: str, config: SpaceConfig = BLOX) -> Architecture:
    """Return the network that a text names: architecture text, vector as JSON, index, or graph hash.

    Raises:
        ArchitectureError: the text names no network of the space.
    """
    return Architecture.from_index(canonical_index(text, config), config)


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets: those inside belong to vectors."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    if len(parts) > 1 and "" in parts:
        raise ArchitectureError(f"selection {shown(text)} has an empty part; remove the extra comma")
    return [part for part in parts if part]


def _select(part: str, config: SpaceConfig) -> Iterable[Architecture]:
    if part == "all":
        return _all(config)
    kind, colon, argument = part.partition(":")
    if not colon:
        if kind in (*_KINDS, "file"):
            raise ArchitectureError(f"selection {part!r} lacks its argument; write {_FORMS}")
        if config.stages > 1 and _WORD.fullmatch(part) and part not in map(str, config.blocks):
            near = did_you_mean(part, [word for word in ("all", *_KINDS) if word[0] == part[0]])
            absent = "" if Path(part).exists() else ", and no file or folder here is called so"
            raise ArchitectureError(
                f"selection {shown(part)} is unknown{absent}{near or f'; write {_FORMS}'}"
            )
        if "." in part and not part.startswith(("[", "(")):  # of a file's name; architectures have none
            raise ArchitectureError(
                f"selection {shown(part)} is no architecture; a file of them is file:{shown(part)[1:-1]}, and a model file "
                "ends with .onnx, .tflite or .pt2"
            )
        return [parse_model(part, config)]
    if kind == "file":
        return _read_file(Path(argument), config)
    if kind not in _KINDS:
        known = [*_KINDS, "file"]
        raise ArchitectureError(
            f"selection {shown(part)}: {shown(kind)} is unknown"
            + (did_you_mean(kind, known) or f"; write {_FORMS}")
        )
    match = _COUNT.fullmatch(argument)
    if match is None:
        raise ArchitectureError(
            f"selection {shown(part)}: {shown(argument)} is not a number with an optional seed; "
            f"write {kind}:10 or {kind}:10@1"
        )
    count, seed = int(match[1]), int(match[2] or 0)
    if count < 1:
        raise ArchitectureError(f"selection {part!r}: {count} selects no network; write at least {kind}:1")
    return (Architecture.from_index(i, config) for i in _KINDS[kind](count, seed, config))


def _all(config: SpaceConfig) -> list[Architecture]:
    check_enumerable(config, "selection 'all'", "write sample:N for a part of them")
    choices = [[config.blocks[place] for place in places] for places in config.choices]
    slowest_first = product(*reversed(choices))  # the last stage changes slowest
    return [Architecture(blocks=blocks[::-1], config=config) for blocks in slowest_first]


def _sample(count: int, seed: int, config: SpaceConfig) -> Iterator[int]:
    if count > len(config):
        raise ArchitectureError(
            f"selection 'sample:{count}': space {config.name!r} has {len(config)} networks; "
            f"write sample:{len(config)} or all"
        )
    if count > _MAX_LISTED:
        raise ArchitectureError(
            f"selection 'sample:{count}' is too large; write at most sample:{_MAX_LISTED}"
        )
    return drawn(count, len(config), random_words(seed))


def _design(rounds: int, seed: int, config: SpaceConfig) -> Iterator[int]:
    """Yield the indices of `rounds` rounds of one network for each block of the choice that has most of them.

    Round r pairs the stages' shuffled blocks with shifts: stage s is turned by s * a + d_s places, where r is
    the number with digits (a, d_2, d_3, ...) in base B, the number of blocks. No network comes twice in all
    B ** (stages - 1) rounds. For 3 stages and odd B, such as Blox, the first B rounds hold every pair of blocks
    of any two stages exactly once. A choice of fewer blocks repeats them in the order of its shuffle, so that in a round no block
    stands in more than one network more than another; networks that come twice for it are left out.
    """
    base = max(config.radices)
    most = min(base ** (config.stages - 1), _MAX_LISTED // base)
    if rounds > most:
        raise ArchitectureError(
            f"selection 'design:{rounds}': space {config.name!r} has rounds of {base} networks; "
            f"write at most design:{most}"
        )
    words = random_words(seed)
    shuffles = [[places[i] for i in drawn(len(places), len(places), words)] for places in config.choices]
    for number in range(rounds):
        rest, a = divmod(number, base)
        shifts = [0, a][: config.stages]
        for stage in range(2, config.stages):
            rest, digit = divmod(rest, base)
            shifts.append(stage * a + digit)
        for column in range(base):
            blocks = [
                shuffle[(column + shift) % base % len(shuffle)]
                for shuffle, shift in zip(shuffles, shifts, strict=True)
            ]
            yield index_of(config, blocks)


_KINDS: dict[str, Callable[[int, int, SpaceConfig], Iterable[int]]] = {"sample": _sample, "design": _design}


def _read_file(path: Path, config: SpaceConfig) -> list[Architecture]:
    if "\0" in str(path):
        raise ArchitectureError(
            f"file {shown(str(path))}: no path holds a zero character; check the path after file:"
        )
    content = read_text(
        path, error=ArchitectureError, remedy="check the path after file:", most=_MAX_FILE_BYTES
    )
    found = []
    for number, text in lines_of_list(content):
        try:
            found.append(parse_model(text, config))
        except ArchitectureError as error:
            raise ArchitectureError(f"{path}, line {number}: {error}") from error
    if not found:
        raise ArchitectureError(f"{path}: names no network; write one a line")
    return found

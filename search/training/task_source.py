"""Sources of tasks as text, and the splits that may follow them; those of a user's own images have settings after a colon.

folder:flowers                            images of just the space's size, split by seed 0
folder:flowers:fit=crop,val=0.2,seed=3
npz:mnist.npz:mean=0.13,std=0.31          a value a channel, as in mean=0.5/0.5/0.5
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from search.checked import Checked, Range, fields_of
from space.errors import ConfigError, shown
from space.user_paths import expand_user

MARK = "+split:"
MAX_SEED = 2**32 - 1
_SEED = re.compile(r"([0-9]{1,10})(?::([0-9]{1,9})/([0-9]{1,9})/([0-9]{1,9}))?")
_SOURCE = re.compile(r"(folder|npz):(.*)", re.DOTALL)
_SETTINGS = re.compile(r"(.+?):([a-z]+=[^:,]*(?:,[a-z]+=[^:,]*)*)", re.DOTALL)


def split_source(source: str) -> tuple[str, str | None]:
    """Return a task's source without its split, and the text of the split, None where there is none.

    The split follows the last mark. A text after it that is no split belongs to the path if a file or folder of that name exists;
    else it is returned as the split, which `search.training.image_split.parse_split` refuses. Two splits are one such text.

    Raises:
        ConfigError: a path begins with the home folder of no user, or holds a zero character.
    """
    base, mark, split = source.rpartition(MARK)
    if not mark or (_SEED.fullmatch(split) is None and _is_there(base, split)):
        return source, None
    undivided, first = split_source(base)
    return undivided, split if first is None else f"{first}{MARK}{split}"


def parse_seed(text: str, what: str, remedy: str) -> tuple[int, tuple[int, int, int] | None]:
    """Return the seed of `SEED` or `SEED:A/B/C`, and the three numbers where they are given.

    Raises:
        ConfigError: the text is neither, or the seed too large; `what` begins the message, and `remedy` says how to write it.
    """
    match = _SEED.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what}: {remedy}")
    if int(match[1]) > MAX_SEED:
        raise ConfigError(f"{what}: the seed is more than {MAX_SEED}")
    counts = None if match[2] is None else (int(match[2]), int(match[3]), int(match[4]))
    return int(match[1]), counts


def _is_there(base: str, tail: str) -> bool:
    """Return whether a path with the mark exists, up to the end of that file's or folder's name."""
    path = match[2] if (match := _SOURCE.fullmatch(base)) else base
    there = expand_user(f"{path}{MARK}{re.split('[/:]', tail, maxsplit=1)[0]}")
    return os.path.exists(there)  # noqa: PTH110 - never raises


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings(Checked):
    """Source of a task: a user's own images, and their settings.

    `fit` says how an image gets the space's size: `exact` refuses others, `crop` takes the largest square in the middle and
    resizes it, `stretch` resizes both sides. `color=gray` makes colors gray; `keep` refuses images with colors in a space of one
    channel. What is transparent is laid over the `background`. Of images that come in one part, or without a validation or test
    part, the shares `val` and `test` of each class are chosen by `seed`. `mean` and `std`, a value a channel of pixels between 0
    and 1, normalize images; those of the training images where they are not given.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "task"

    fit: Annotated[str, ("exact", "crop", "stretch")] = "exact"
    color: Annotated[str, ("keep", "gray")] = "keep"
    background: Annotated[str, ("black", "white")] = "black"
    val: Annotated[float, Range(above=0, below=1)] = 0.1
    test: Annotated[float, Range(above=0, below=1)] = 0.2
    seed: Annotated[int, Range(least=0, most=MAX_SEED)] = 0
    mean: Annotated[tuple[float, ...], Range(least=0, most=1)] = ()
    std: Annotated[tuple[float, ...], Range(above=0)] = ()

    def check(self) -> None:
        """Refuse fields that do not go together. Raises: ConfigError."""
        if len(self.mean) != len(self.std):
            raise self.refusal("mean", f"give as many values of std as of mean; std = {shown(self.std)}")
        if self.val + self.test >= 1:
            raise self.refusal("val", f"with test = {self.test:g} it leaves no image to train on; give less")

    def __str__(self) -> str:
        """Return the settings that differ from the defaults as in a source, such as `fit=crop,seed=3`."""
        usual = DataSettings()
        changed = [name for name in fields_of(DataSettings) if getattr(self, name) != getattr(usual, name)]
        return ",".join(f"{name}={_written(getattr(self, name))}" for name in changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSource:
    """A source: its `kind`, the absolute `path` of its folder or file, and its settings. `str` is the canonical text."""

    kind: str
    path: Path
    settings: DataSettings

    def __str__(self) -> str:
        settings = str(self.settings)
        return f"{self.kind}:{self.path}" + (f":{settings}" if settings else "")


def is_own(text: str) -> bool:
    """Return whether a task's source names images of the user's own."""
    return _SOURCE.fullmatch(text) is not None


def parse_source(text: str) -> OwnSource:
    """Return the source of a text. An existing path is taken whole, also with characters of settings in it.

    Raises:
        ConfigError: it is no such source, or a setting is unknown or out of its range.
    """
    match = _SOURCE.fullmatch(text)
    if match is None or not match[2]:
        raise ConfigError(f"{shown(text)} names no images of your own; write folder:PATH or npz:FILE")
    kind, rest = match[1], match[2]
    split = _SETTINGS.fullmatch(rest)
    if split is None or os.path.exists(expand_user(rest)):  # noqa: PTH110 - never raises
        return OwnSource(kind=kind, path=expand_user(rest).absolute(), settings=DataSettings())
    try:
        settings = DataSettings.from_plain(_plain(split[2]))
    except ConfigError as error:
        raise ConfigError(f"{shown(text)}: {error}") from error
    return OwnSource(kind=kind, path=expand_user(split[1]).absolute(), settings=settings)


def _plain(text: str) -> dict[str, Any]:
    """Return settings by name; a text in place of a number stays a text, which `DataSettings` refuses."""
    known, found = fields_of(DataSettings), dict[str, Any]()
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name in found:
            raise ConfigError(f"task: {name} is given twice; give it once")
        kind = known[name].kind if name in known else str
        values = [_number(one, kind) for one in value.split("/")]
        found[name] = values if name in known and known[name].many else _number(value, kind)
    return found


def _number(text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def _written(value: object) -> str:
    return "/".join(map(repr, value)) if isinstance(value, tuple) else str(value)

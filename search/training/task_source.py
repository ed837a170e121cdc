"""Sources of tasks as text, and the splits that may follow them."""

from __future__ import annotations

import os
import re

from search.training.own_data.source import KINDS, MAX_SEED
from space.errors import ConfigError
from space.user_paths import expand_user

MARK = "+split:"
_SEED = re.compile(r"([0-9]{1,10})(?::([0-9]{1,9})/([0-9]{1,9})/([0-9]{1,9}))?")
_KIND = re.compile(f"(?:{'|'.join(KINDS)}):")


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
    path = base[match.end() :] if (match := _KIND.match(base)) else base
    there = expand_user(f"{path}{MARK}{re.split('[/:]', tail, maxsplit=1)[0]}")
    return os.path.exists(there)  # noqa: PTH110 - never raises

"""Sources of tasks as text, and the splits that may follow them."""

from __future__ import annotations

import os
import re

from search.training.own_data.source import KINDS
from space.user_paths import expand_user

MARK = "+split:"
SPLIT = re.compile(r"([0-9]{1,10})(?::([0-9]{1,9})/([0-9]{1,9})/([0-9]{1,9}))?")
_KIND = re.compile(f"(?:{'|'.join(KINDS)}):")


def split_source(source: str) -> tuple[str, str | None]:
    """Return a task's source without its split, and the text of the split, None where there is none.

    The split follows the last mark. A text after it that is no split belongs to the path if a file or folder of that name exists;
    else it is returned as the split, which `search.training.image_split.parse_split` refuses. Two splits are one such text.

    Raises:
        ConfigError: a path begins with the home folder of no user, or holds a zero character.
    """
    base, mark, split = source.rpartition(MARK)
    if not mark or (SPLIT.fullmatch(split) is None and _is_there(base, split)):
        return source, None
    undivided, first = split_source(base)
    return undivided, split if first is None else f"{first}{MARK}{split}"


def _is_there(base: str, tail: str) -> bool:
    """Return whether a path with the mark exists, up to the end of that file's or folder's name."""
    path = base[match.end() :] if (match := _KIND.match(base)) else base
    there = expand_user(f"{path}{MARK}{re.split('[/:]', tail, maxsplit=1)[0]}")
    return os.path.exists(there)  # noqa: PTH110 - never raises

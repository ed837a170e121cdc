"""The one error of this package, and how its messages name a value and suggest a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN_CHARACTERS = 120


class ArchitectureError(ValueError):
    """Say that a text, vector, index, hash, selection or configuration is not in a search space.

    The message names the thing, its value, the reason and the remedy.
    """


def shown(value: object) -> str:
    """Return `repr(value)` on one line, cut so that a message stays readable whatever was passed."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `text`, or an empty string."""
    nearest = difflib.get_close_matches(text[:_SHOWN_CHARACTERS], list(known), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""

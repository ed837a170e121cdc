"""Remedies for refusals of an operating system, this one or a device's, by its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from space.errors import ConfigError

_REMEDIES = (
    ("no space left|disk is full|disk full", "the disk is full: free some room there, or name another place"),
    (
        "quota exceeded",
        "this account's share of the disk is used up: remove files there, or name another place",
    ),
    ("too many open files in system", "the whole system has too many files open: end other programs there"),
    (
        "too many open files",
        "raise the limit of open files there, e.g. by 'ulimit -n 4096', or do less at a time",
    ),
    (
        "read-only file system",
        "nothing can be written on that file system: name a place on another one, or have it mounted to be written",
    ),
    ("permission denied|operation not permitted", "this account may not: name a place of its own"),
    ("cannot allocate memory", "too little memory is free there: end other programs"),
    ("resource temporarily unavailable", "this account has too many processes there: end some"),
    ("input/output error", "the disk has errors: see 'dmesg' there, and name another place"),
    ("file name too long", "give it a shorter name"),
)


def with_remedy(error: BaseException, otherwise: str) -> str:
    """Return an error's reason, as the system words it, and its remedy: `No such file or directory; check the path`."""
    return f"{getattr(error, 'strerror', None) or error}; {remedy_for(error, otherwise)}"


@contextmanager
def refused(what: str, otherwise: str) -> Iterator[None]:
    """Raise what the system refuses within as a ConfigError: `what` cannot be done, the reason, and its remedy."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {with_remedy(error, otherwise)}") from error


def remedy_for(said: object, otherwise: str = "") -> str:
    """Return the remedy for an error, or a text, of a system; `otherwise` where the words are not known."""
    text = str(said).lower()
    return next((remedy for words, remedy in _REMEDIES if re.search(words, text)), otherwise)

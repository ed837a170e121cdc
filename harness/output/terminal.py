"""Kinds of standard output and standard error, and lines of text on them.

A terminal gets lines that fit it, broken between words. Whatever else reads a stream, a file or a pipe, gets each as one line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len

from space.text import printable

USUAL_WIDTH = 80  # of a terminal that does not say
_COMMANDS = (
    "measure|results|compare|gate|predict|audit|profile|report|devices|doctor|provision|pack|export|train|distill|study|import"
    "|dataset|search|store"
)
# A command line, to its end: typed as it stands, so no line may end within it.
_COMMAND = re.compile(
    rf"(?:-> )?(?:\bharness (?:{_COMMANDS})\b|\S*\bpython[0-9.]* -m |\bpip3? |\bsudo )(?:(?![,:] )[^;)'\n])*"
)
_STORED = re.compile(
    r"\bharness (?:measure|results|compare|gate|predict|audit|report|pack|import|search|dataset|store)\b(?:(?![,:] )[^;)'\n])*"
)
# A line of devices.toml, or one of known_hosts: copied as it stands, too.
_COPIED = re.compile(r'\b[a-z_]+ = "[^"\n]*"|\S+ (?:ssh|ecdsa)-\S+ [A-Za-z0-9+/=]{40,}')
_UNIT = re.compile(r"(?<=[0-9]) (?=(?:%|ms|s|MB|GB|KB)(?![a-z]))")  # stays beside its number


@dataclass(slots=True, kw_only=True)
class Console:
    """Settings of what the command of this process prints, as `harness.commands.app` makes them."""

    store: str = ""  # of --store; empty for the usual one
    is_quiet: bool = False  # shows no progress
    is_wide: bool = False  # shows every column of tables
    last_line_s: float = 0.0  # when it printed its last line, by `time.monotonic`; 0 before the first


console = Console()


def width_of(stream: TextIO) -> int | None:
    """Return the columns of the terminal behind a stream, by $COLUMNS or its own size; None where there is no terminal."""
    if not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):  # no file, or one that is closed
        return USUAL_WIDTH


def is_live(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can write over what it shows."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def is_unicode(stream: TextIO) -> bool:
    """Return whether a stream takes letters of any kind."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def bold(text: str, stream: TextIO) -> str:
    """Return text as a stream shows it in bold: as it is without a terminal, or with $NO_COLOR; $FORCE_COLOR counts as one."""
    if os.environ.get("NO_COLOR") or not (is_live(stream) or os.environ.get("FORCE_COLOR")):
        return text
    return f"\x1b[1m{text}\x1b[0m"


def echo(text: str, *, err: bool = False) -> None:
    """Print a text on standard output, or on standard error: in lines that fit a terminal, whole lines elsewhere.

    Control characters are written out: messages quote files, devices and libraries.
    """
    stream = sys.stderr if err else sys.stdout
    text = printable(_with_store(text), keep="\n\t")
    width = width_of(stream)
    put(text if width is None else "\n".join(wrap(text, width)), stream)


def _with_store(text: str) -> str:
    """Return a message whose commands name the store of --store; one of a password is not repeated."""
    if not console.store or "@" in console.store:
        return text
    option = f" --store {shlex.quote(console.store)}"
    return _STORED.sub(lambda found: found[0] if "--store" in found[0] else found[0].rstrip() + option, text)


def put(text: str, stream: TextIO) -> None:
    """Print lines as they are; letters that a stream's encoding lacks are written out, as in `\\xe9`."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with named(stream):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    console.last_line_s = time.monotonic()


@contextlib.contextmanager
def named(stream: TextIO) -> Iterator[None]:
    """Write to a stream, which the system's errors meanwhile name. Raises: OSError."""
    try:
        yield
    except OSError as error:
        error.filename = "standard error" if stream is sys.stderr else "standard output"
        raise


def wrap(text: str, width: int, indent: str = "  ") -> list[str]:
    """Return text in lines of at most `width` columns, those that continue another indented.

    Words and command lines stay whole: one that is wider has a line of its own, to be copied from there.
    """
    return [line for one in text.split("\n") for line in _wrapped(one, width, indent)]


def _wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    if cell_len(text) <= width:
        yield text
        return
    mark = re.match(r" *(?:[*] )?", text)
    line = mark[0] if mark else ""
    margin, text, used = " " * len(line), text[len(line) :], 0
    for word in words(text):
        if used and cell_len(line) + cell_len(word) + (used > 0) > width:
            yield line.rstrip(" ")
            line, used = margin + indent, 0
            if cell_len(line) + cell_len(word) > width:
                line = ""
        line += f" {word}" if used else word
        used += 1
    yield line


def words(text: str) -> list[str]:
    """Return the words of a text, a command line as one, and a line of a file."""
    whole = _UNIT.sub("\0", text)
    for pattern in (_COPIED, _COMMAND):
        whole = pattern.sub(lambda found: found[0].rstrip(" ").replace(" ", "\0"), whole)
    return [word.replace("\0", " ") for word in whole.split(" ") if word]


def plain(text: str) -> str:
    """Return a cell's or a title's text in one line, without control characters."""
    return printable(text.replace("\n", " "))

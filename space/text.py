"""Text for people: what comes from outside made fit for a terminal, a table or a page, and counted things."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_OF_A_REASON = 200
_COLOR = re.compile(r"\x1b\[[0-9;]*m")  # as programs color and embolden what they log


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with each character that is not shown as itself written out, as in `\x1b` or `\u202e`.

    Control characters, those that turn the direction of writing, and halves of pairs are such; `keep` names those to leave.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def uncolored(text: str) -> str:
    r"""Return the text that a program printed, without its colors.

    >>> uncolored("\x1b[1;31mno such op\x1b[m")
    'no such op'
    """
    return _COLOR.sub("", text)


def reason_of(error: BaseException) -> str:
    r"""Return the first line of what an error of a library says, printable and of 200 characters at most; its type if nothing.

    zipfile quotes an archive's bytes up to the end of the file, for instance.

    >>> reason_of(ValueError("no \x1bfloat\nsecond line")), reason_of(EOFError())
    ('no \\x1bfloat', 'EOFError')
    """
    lines = str(error).splitlines() or [""]
    return printable(lines[0].strip()[:MOST_OF_A_REASON]) or type(error).__name__


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a number with what it counts, as in `1 network` and `1,024 networks`."""
    return f"{count:,} {agreeing(count, singular, plural or singular + 's')}"


def agreeing(count: int, singular: str, plural: str) -> str:
    """Return the word that agrees with a number, as `is` with 1 and `are` with 2."""
    return singular if count == 1 else plural


def first_of(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first of some texts in a list, and how many more there are, as in `a, b and 1,022 more`."""
    rest = len(texts) - most
    return between.join(texts[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds, as in `0:14:20`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def clock(seconds: float) -> str:
    """Return a duration as `0:05`, `12:00` or `1:30:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size_text(size_bytes: int) -> str:
    """Return a file's size as `49 kB`, of a small one as `812 bytes`."""
    return f"{size_bytes / 1e3:,.0f} kB" if size_bytes >= 1000 else counted(size_bytes, "byte")

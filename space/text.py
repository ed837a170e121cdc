"""Text for people: what comes from outside made fit for a terminal, a table or a page, and counted things."""

from __future__ import annotations


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


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a number with what it counts, as in `1 network` and `1,024 networks`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds, as in `0:14:20`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

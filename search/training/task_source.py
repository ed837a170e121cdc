"""Text that names a task's images: a source, behind which a split may stand."""

from __future__ import annotations

MARK = "+split:"


def split_source(source: str) -> tuple[str, str | None]:
    """Return a task's source without its split, and the text of the split, None where there is none."""
    base, mark, split = source.partition(MARK)
    return base, split if mark else None

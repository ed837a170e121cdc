"""Paths of what is no plain file: read, they never end, wait for ever or cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("a FIFO", "a device without end", "a folder")


def no_plain_file(kind: str, path: Path) -> Path:
    """Return a path of one of `KINDS`: `path`, made so, or a device's own."""
    if kind == "a device without end":
        return Path("/dev/zero")
    if kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    return path

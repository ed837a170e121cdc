"""Files that appear whole under their name, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write beside the file, wait for the disk, then give the name: a reader meets the old file or the new one.

    A process that is killed meanwhile leaves a file that `partials` finds.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def partials(path: Path) -> list[Path]:
    """Return what killed writers of this file left beside it."""
    return [found for found in path.parent.glob(".*.partial") if found.name.startswith(f".{path.name}.")]

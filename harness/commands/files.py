"""Files that a command writes: whole under their name, or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError


def write_whole(path: Path, data: bytes, error_type: Callable[[str], HarnessError]) -> None:
    """Write a file beside its place, then rename it, in place of any file there.

    Raises: `error_type` when it cannot be written.
    """
    from space import whole_files

    try:
        whole_files.write_whole(path, data)
    except OSError as error:
        raise error_type(f"{path}: cannot be written: {error}") from error

"""Files that a command writes: whole under their name, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError


def write_whole(path: Path, data: bytes, error_type: Callable[[str], HarnessError]) -> None:
    """Write a file beside its place, then rename it, in place of any file there.

    Raises: `error_type` when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise error_type(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)

"""Files that are there whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

READ_BYTES = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside a file's; what is written there takes its place, and nothing is left of what fails. Raises: OSError."""
    partial = path.with_name(".%s.%d.partial" % (path.name, os.getpid()))
    with suppress(FileNotFoundError):  # of a killed process that had this one's number
        partial.unlink()
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(READ_BYTES), b""):
            digest.update(piece)
    return digest.hexdigest()

"""A folder for one job, removed after it, and what agents left that were killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from device_agents.processes import is_alive


def left_behind(folder: Path) -> Iterator[Path]:
    """Yield the leftovers in a folder of processes that are gone, by names that begin with their numbers."""
    for path in folder.iterdir():
        pid = path.name.split("-")[0]
        if not pid.isdecimal() or not is_alive(int(pid)):
            yield path


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a fresh folder below `parent`, named by this process. Raises: OSError."""
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in left_behind(parent):
        shutil.rmtree(str(left), ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="%d-" % os.getpid(), dir=str(parent)))
    try:
        yield folder
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)

"""A folder for one job, removed after it, and those of agents that were killed with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from device_agents.processes import is_alive


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a fresh folder below `parent`, named by this process. Raises: OSError."""
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in parent.iterdir():
        pid = left.name.split("-")[0]
        if not pid.isdigit() or not is_alive(int(pid)):
            shutil.rmtree(str(left), ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="%d-" % os.getpid(), dir=str(parent)))
    try:
        yield folder
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)

"""Files that one process of a run makes and all read: what `scripts/test` gives a folder for, and others make once a process."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def new_folder() -> Path:
    """Return a folder that is there as long as the process may need it: `scripts/test` removes it with all of its run."""
    return Path(tempfile.mkdtemp(prefix="harness-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))


def once_a_run(make: Callable[..., bytes]) -> Callable[..., bytes]:
    """Let one process of the run make a file's content of equal arguments, which have equal texts."""

    @functools.cache
    def made(*arguments: Any, **named: Any) -> bytes:
        root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
        if root is None:
            return make(*arguments, **named)
        folder = Path(root, "made")
        folder.mkdir(exist_ok=True)
        text = f"{make.__module__}.{make.__qualname__} {arguments} {sorted(named.items())}"
        path = folder / hashlib.sha256(text.encode()).hexdigest()
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                partial = path.with_suffix(".partial")
                partial.write_bytes(make(*arguments, **named))
                partial.rename(path)
        return path.read_bytes()

    return functools.wraps(make)(made)

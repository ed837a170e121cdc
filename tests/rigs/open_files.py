"""A process that may open hardly any more files until the block ends."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def few_open_files(left: int = 0) -> Iterator[None]:
    """Let this process open `left` more files than it has open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    nowhere = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (nowhere[0] + 64, before[1]))
    try:
        while True:  # descriptors below the limit may be free
            nowhere.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(left):
            os.close(nowhere.pop())
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in nowhere:
            os.close(descriptor)

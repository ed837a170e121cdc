"""A resolver of names that never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def never_resolved() -> Iterator[None]:
    """Let `socket.getaddrinfo` wait until the block ends, as it does where no name server answers."""
    is_over = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        is_over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with patch("socket.getaddrinfo", wait):
        try:
            yield
        finally:
            is_over.set()

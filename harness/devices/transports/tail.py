"""Tail of a text stream that is not read in full: a command's standard error."""

from __future__ import annotations

import threading
from collections.abc import Callable

KEPT_BYTES = 4096
REST_S = 2.0  # for what a command wrote to standard error at the end of its output


class Tail:
    """Thread that drains a stream and keeps its last 4 KiB, so that a full pipe never blocks the command."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._kept = b""
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return the tail so far, as text."""
        return self._kept.decode("utf-8", "replace").strip()

    def finish(self, timeout_s: float) -> str:
        """Wait for the end of the stream, `timeout_s` at most, and return the tail."""
        self._thread.join(timeout_s)
        return self.text()

    def _drain(self) -> None:
        while True:
            try:
                data = self._read(KEPT_BYTES)
            except (OSError, ValueError):  # closed under the reader: the end, too
                return
            if not data:
                return
            self._kept = (self._kept + data)[-KEPT_BYTES:]

"""A line at least every half minute from a command that shows no bars, so that nobody wonders whether it still works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.output.terminal import console, echo
from space.text import duration

EVERY_S = 30.0
# Return the lines that are due, None where there is nothing to tell but that the command is at work.
Speaker = Callable[[], list[str] | None]
_speakers: list[Speaker] = []  # of this process's views, the one shown last
_under_way_s = [0.0]  # when a view last showed something that is under way


@contextmanager
def speaking(speaker: Speaker) -> Iterator[None]:
    """Print a view's due lines, asked for each second, while it is shown."""
    _speakers.append(speaker)
    try:
        yield
    finally:
        _speakers.remove(speaker)


@contextmanager
def heartbeat() -> Iterator[None]:
    """Print lines that become due while a command runs, and after half a minute without any that it is at work."""
    ended = threading.Event()
    begin_s = time.monotonic()

    def beat() -> None:
        while not ended.wait(1.0):
            for line in due_lines(time.monotonic(), begin_s):
                echo(line, err=True)

    if not console.is_quiet:
        threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def due_lines(now_s: float, begin_s: float) -> list[str]:
    """Return the lines that are due at a time by `time.monotonic`, in a command that began at `begin_s`."""
    speakers = _speakers[-1:]  # another thread may remove the last one meanwhile
    lines = speakers[0]() if speakers else None
    if lines is not None:
        _under_way_s[0] = now_s
        return lines
    if now_s - max(console.last_line_s, begin_s, _under_way_s[0]) < EVERY_S:
        return []
    return [f"at work, {duration(now_s - begin_s)} so far"]

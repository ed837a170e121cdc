"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY = (
    10  # lines for a log file: the first, each tenth and the last session; of look-ups each tenth part
)
PLAIN_SECONDS = 30  # and so often while a tenth part takes long


class ProgressView:
    """One bar a device and one a format that is exported; an Observer of campaigns, safe in threads."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._plain = not self._console.is_terminal
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._counts: dict[str, list[int]] = {}
        self._shown: dict[
            str, tuple[int, float]
        ] = {}  # by name: the last tenth part that a line told of, and when
        self._progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            disable=quiet or self._plain,
            speed_estimate_period=600.0,  # sessions differ in length: a steady estimate of the time left
        )

    def __enter__(self) -> ProgressView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def state(self, device: str, text: str) -> None:
        """Show what a device's campaign is doing now."""
        self._progress.update(self._task(device), description=text)
        if text.split()[0] in ("connecting", "preparing", "calibrating", "attempt") or "reconnecting" in text:
            self._line(f"{device}: {text}")

    def begin(self, device: str, units: int) -> None:
        """Show how many sessions a device is to measure."""
        self._counts[device] = [0, units]
        task = self._task(device)
        self._progress.reset(task, total=units)
        self._line(f"{device}: {units} sessions to measure")

    def advance(self, device: str, text: str) -> None:
        """Show that a session ended; `text` says how if it failed."""
        count = self._counts[device]
        count[0] += 1
        self._progress.advance(self._task(device))
        if text:
            self.say(f"{device}: {text}")
        if count[0] in (1, count[1]) or count[0] % PLAIN_EVERY == 0:
            self._line(f"{device}: {count[0]} of {count[1]} sessions")

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        """Show how far the export of a format's fragments is."""
        key = f"export {model_format}"
        task = self._task(key)
        self._progress.update(task, completed=done, total=total, description=name, visible=done < total)
        if done in (0, total):
            self._line(f"{key}: {done} of {total} fragments")

    def look_ups(self, name: str, done: int, total: int, text: str) -> None:
        """Show how many accuracies a comparison of methods has looked up, and what it does now."""
        task = self._task(name)
        self._progress.update(task, completed=done, total=total, description=text)
        tenth, now = done * PLAIN_EVERY // total, time.monotonic()
        last, since = self._shown.get(name, (-1, now))
        if tenth == last and now - since < PLAIN_SECONDS:
            return
        self._shown[name] = (tenth, now)
        left = next(t.time_remaining for t in self._progress.tasks if t.id == task)
        rest = f", {left:.0f} s left" if left and done < total else ""
        self._line(f"{name}: {done:,} of {total:,} look-ups{rest}{': ' if text else ''}{text}")

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _task(self, name: str) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task("", total=None, name=name)
            return self._tasks[name]

    def _line(self, text: str) -> None:
        """Print a line when there is no bar to show it, each only once in a row."""
        if self._plain and not self._quiet:
            with self._lock:
                key = text.split(":")[0]
                if self._last.get(key) == text:
                    return
                self._last[key] = text
            print(text, file=sys.stderr, flush=True)  # noqa: T201

"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress import Task, TaskID
from rich.text import Text

from harness.output.bars import Bars, sentence
from harness.output.heartbeat import EVERY_S, speaking
from harness.output.terminal import bold, echo
from space.text import counted

if TYPE_CHECKING:
    from harness.measurement.workload import RuntimePlan

# Lines for a log file: the first, each tenth and the last session; of evaluations each tenth part; and every half minute one.
PLAIN_EVERY = 10
PLAIN_STATES = ("connecting", "preparing", "sending", "calibrating", "attempt", "waiting")


class _Bars(Bars):
    """Progress bars below tables of the latencies measured so far."""

    def __init__(self, *, shown: bool) -> None:
        self.tables: dict[str, RenderableType] = {}
        super().__init__(shown=shown)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the tables, the latest alone where not all fit, then the bars."""
        yield from list(self.tables.values())[-1:]
        yield self.make_tasks_table(self.tasks)


class ProgressView:
    """One bar a device and one a format that is exported; an Observer of campaigns, safe in threads."""

    def __init__(
        self, *, quiet: bool, first_numbers: Callable[[RuntimePlan], list[str]] | None = None
    ) -> None:
        """first_numbers: returns what is measured so far of a runtime plan, as lines that fit above the bars."""
        self._first_numbers = first_numbers
        self._quiet = quiet
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._said_s: dict[str, float] = {}  # when a line told of a task's count or state last
        self._tenths: dict[str, int] = {}  # of evaluations, the last one told
        self._progress = _Bars(shown=not quiet)
        self._shown = ExitStack()

    def __enter__(self) -> ProgressView:
        self._progress.start()
        self._shown.enter_context(speaking(self.due))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()
        self._progress.stop()

    def due(self) -> list[str] | None:
        """Return lines for a log on what no line told of for half a minute; None where nothing is under way."""
        if self._quiet or self._progress.is_shown:
            return []
        with self._lock:
            under_way = [one for one in self._progress.tasks if one.description or one.total]
            under_way = [one for one in under_way if not one.finished]
            now_s, lines = time.monotonic(), []
            for one in under_way:
                name = one.fields["name"]
                if now_s - self._said_s.setdefault(name, now_s) >= EVERY_S:
                    self._said_s[name] = now_s
                    lines.append(sentence(self._progress.standing(one)))
        return lines if under_way else None

    def state(self, device: str, text: str) -> None:
        """Show the current state of a device's campaign."""
        is_news = not (
            text.startswith("sending") and self._last.get(device, "").startswith(f"{device}: sending")
        )
        self._progress.update(self._task(device, "sessions"), description=text)
        if is_news and (text.split()[0] in PLAIN_STATES or "reconnecting" in text):
            self._line(device, f"{device}: {text}")

    def tell(self, device: str, text: str) -> None:
        """Print a message on a device above the bars."""
        self.say(f"{device}: {text}")

    def begin(self, device: str, units: int) -> None:
        """Add to the number of sessions that a device is to measure."""
        if not units:
            return
        task = self._task(device, "sessions")
        total = units + int(self._task_of(task).total or 0)
        self._progress.update(task, total=total)
        self._line(device, f"{device}: {counted(total, 'session')} to measure")

    def advance(self, device: str, text: str) -> None:
        """Show that a session ended; `text` says how if it failed."""
        task = self._task(device, "sessions")
        self._progress.advance(task)
        if text:
            self.say(f"{device}: {text}")
        one = self._task_of(task)
        if one.completed in (1, one.total) or one.completed % PLAIN_EVERY == 0:
            self._line(device, sentence(replace(self._progress.standing(one), text="")))

    def refine(self, device: str, use: RuntimePlan, left: int) -> None:
        """Show the latencies measured so far for a runtime plan, with `left` sessions remaining."""
        if self._quiet or self._first_numbers is None or not left:
            return
        lines, runtime = self._first_numbers(use), use.configuration.runtime
        title = f"{device}, {runtime}: first numbers, {counted(left, 'session')} will refine them"
        if self._progress.is_shown:
            text = Text("\n".join(lines), overflow="fold")
            self._progress.tables[runtime] = Group(Text.from_ansi(bold(title, sys.stderr)), text)
        elif runtime not in self._told:  # a log file holds the first table, and the last
            self._told.add(runtime)
            for line in (title, *lines):
                echo(line, err=True)

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        """Show the progress of exporting a format's fragments."""
        key = f"export {model_format}"
        task = self._task(key, "fragments")
        self._progress.update(task, completed=done, total=total, description=name, visible=done < total)
        if done in (0, total):
            self._line(key, f"{key}: {done} of {total} fragments")

    def evaluations(self, name: str, done: int, total: int, text: str) -> None:
        """Show how many accuracies a comparison of methods has evaluated, and its current step."""
        task = self._task(name, "evaluations")
        self._progress.update(task, completed=done, total=total, description=text)
        tenth = done * PLAIN_EVERY // total
        if tenth != self._tenths.get(name):
            self._tenths[name] = tenth
            self._line(name, sentence(self._progress.standing(self._task_of(task))))

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if not self._quiet:
            self._progress.say(text)

    def _task(self, name: str, noun: str) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._progress.begin(name, noun)
            return self._tasks[name]

    def _task_of(self, task: TaskID) -> Task:
        return next(one for one in self._progress.tasks if one.id == task)

    def _line(self, name: str, text: str) -> None:
        """Print a line on a task when there is no bar to show it, each only once in a row."""
        if self._quiet or self._progress.is_shown:
            return
        with self._lock:
            self._said_s[name] = time.monotonic()
            if self._last.get(name) == text:
                return
            self._last[name] = text
        echo(text, err=True)

"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress import Task, TaskID
from rich.text import Text

from harness.devices.link import Attempt, Waiting
from harness.measurement.events import (
    BusyCores,
    Calibrating,
    Connecting,
    Ended,
    Event,
    FirstNumbers,
    Note,
    Preparing,
    Reconnecting,
    Sending,
    SessionDone,
    SessionsPlanned,
    Unready,
)
from harness.output.bars import Bars, sentence
from harness.output.device_rows import DeviceRows, lines_for
from harness.output.heartbeat import EVERY_S, speaking
from harness.output.terminal import bold, console, echo, wrap
from space.text import counted

if TYPE_CHECKING:
    from harness.measurement.workload import RuntimePlan

# Lines for a log file: the first, each tenth and the last session; of evaluations each tenth part; and every half minute one.
PLAIN_EVERY = 10
# Events that begin so long a stage that a log has a line for it. A device in trouble waits, or cannot be reached.
Trouble = Waiting | Attempt | Reconnecting | Unready | BusyCores
Stage = Connecting | Preparing | Sending | Calibrating | Trouble


BESIDE_LINES = 8  # of a terminal: title, bars and the prompt, beside the first numbers


class _Bars(Bars):
    """Progress bars below the latencies measured so far: all that fit the terminal, and a line that counts the others."""

    def __init__(self) -> None:
        self.tables: dict[str, RenderableType] = {}
        self.rows = DeviceRows()
        super().__init__()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the latest table if it leaves room, then the bars, those of devices last, and what is not shown."""
        tasks = {task.fields["name"]: task for task in self.tasks if task.visible}
        if not tasks:  # before there is a terminal to fit
            return
        size = self.console.size
        others = [task for name, task in tasks.items() if name not in self.rows]
        heights = {name: self.lines_of(task) for name, task in tasks.items()}
        lines = lines_for(sum(heights[task.fields["name"]] for task in others), size.height)
        each = max((height for name, height in heights.items() if name in self.rows), default=1)
        for table in list(self.tables.values())[-1:]:
            taken = len(self.console.render_lines(table))
            if lines - taken >= min(len(self.rows) * each, lines // 3):
                lines -= taken
                yield table
        shown, rest = self.rows.fitting(lines, size.width, each)
        yield self.make_tasks_table([*others, *(tasks[name] for name in shown if name in tasks)])
        if rest:
            yield Text(rest, no_wrap=True, overflow="ellipsis")


class ProgressView:
    """One bar a device and one a format that is exported; an Observer of campaigns, safe in threads."""

    def __init__(self, first_numbers: Callable[[RuntimePlan, int], list[str]] | None = None) -> None:
        """first_numbers: returns the latencies so far of a runtime plan, in at most the given number of lines."""
        self._first_numbers = first_numbers
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._troubles: dict[str, Hashable] = {}  # the latest of each device
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str | Event] = {}  # content of each task's last line
        self._said_s: dict[str, float] = {}  # time of each task's last line
        self._tenths: dict[str, int] = {}  # the last tenth of the evaluations that had a line
        self._progress = _Bars()
        self._shown = ExitStack()

    def __enter__(self) -> ProgressView:
        self._shown.enter_context(self._progress)
        self._shown.enter_context(speaking(self.due))
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def due(self) -> list[str] | None:
        """Return log lines on tasks without a line for half a minute, none beside bars; None where nothing is under way."""
        with self._lock:
            under_way = [one for one in self._progress.tasks if one.description or one.total]
            under_way = [one for one in under_way if not one.finished and one.stop_time is None]
            if console.is_quiet or (self._progress.is_shown and under_way):
                return []
            now_s, lines = time.monotonic(), []
            for one in under_way:
                name = one.fields["name"]
                if now_s - self._said_s.setdefault(name, now_s) >= EVERY_S:
                    self._said_s[name] = now_s
                    lines.append(sentence(self._progress.standing(one)))
        return lines if under_way else None

    def event(self, device: str, event: Event) -> None:
        """Show an event of a device's campaign."""
        match event:
            case Note(text=text):
                self._progress.rows.note(device)
                self.log(f"{device}: {text}")
            case SessionsPlanned():
                self._plan(device, event)
            case SessionDone():
                self._advance(device, event)
            case FirstNumbers(plan=plan, left=left):
                self._refine(device, plan, left)
            case Ended(trouble=trouble):
                self._end(device, trouble)
            case _:
                self._state(device, event)

    def _state(self, device: str, event: Event) -> None:
        """Show what a device's campaign is at."""
        self._progress.update(self._task(device, "sessions"), description=str(event))
        trouble = _trouble(event)
        self._progress.rows.note(device, in_trouble=trouble is not None, has_ended=False)
        if trouble is not None and trouble != self._troubles.get(device) and self._progress.is_shown:
            self.log(f"{device}: {event}")  # a bar has no room for all of it
        self._troubles[device] = trouble
        goes_on = isinstance(event, Sending) and isinstance(self._last.get(device), Sending)
        if isinstance(event, Stage) and not goes_on:
            self._line(device, f"{device}: {event}", event)

    def _end(self, device: str, trouble: str) -> None:
        """Show that a device's campaign ended before others; its trouble is printed even if progress is not."""
        self._progress.rows.note(device, in_trouble=bool(trouble), has_ended=True)
        task = self._task(device, "sessions")
        line = f"{device}: {trouble}"
        self._progress.update(task, description=f"ended: {trouble}" if trouble else "done")
        self._progress.stop_task(task)
        if trouble and line not in self._told:
            self._progress.say(line)
        elif not trouble:
            self._line(device, f"{device}: done")

    def _plan(self, device: str, planned: SessionsPlanned) -> None:
        """Add to the number of sessions that a device is to measure; the time left is known once there are no later ones."""
        task = self._task(device, "sessions")
        self._progress.update(task, later=planned.later)
        if not planned.sessions:
            return
        total = planned.sessions + int(self._task_of(task).total or 0)
        self._progress.rows.note(device, total=total)
        self._progress.update(task, total=total)
        self._line(device, f"{device}: {SessionsPlanned(sessions=total)}")

    def _advance(self, device: str, event: SessionDone) -> None:
        """Show that a session ended, and why if it failed."""
        task = self._task(device, "sessions")
        self._progress.advance(task)
        one = self._task_of(task)
        self._progress.rows.note(device, in_trouble=bool(event.failure), done=int(one.completed))
        if event.failure:
            self._progress.update(task, description=str(event))
            self.log(f"{device}: {event}")
        if one.completed in (1, one.total) or one.completed % PLAIN_EVERY == 0:
            self._line(device, sentence(replace(self._progress.standing(one), text="")))

    def _refine(self, device: str, use: RuntimePlan, left: int) -> None:
        """Show the latencies measured so far for a runtime plan, with `left` sessions remaining."""
        if console.is_quiet or self._first_numbers is None or not left:
            return
        lines, runtime = self._first_numbers(use, self._table_lines()), use.title
        title = f"{device}, {runtime}: first numbers, {counted(left, 'session')} will refine them"
        if self._progress.is_shown:
            text = Text("\n".join(lines), overflow="fold")
            head = "\n".join(wrap(title, self._progress.console.width))
            self._progress.tables[runtime] = Group(Text.from_ansi(bold(head, sys.stderr)), text)
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

    def __call__(self, text: str) -> None:
        """Print a line above the bars: a view serves as a `log` function, too."""
        self.log(text)

    def log(self, text: str) -> None:
        """Print a line above the bars."""
        self._told.add(text)
        if not console.is_quiet:
            self._progress.say(text)

    def _table_lines(self) -> int:
        """Return how many lines first numbers may have: all but a few, or with several devices half of the terminal."""
        height = self._progress.console.size.height
        return height - BESIDE_LINES if len(self._progress.rows) <= 2 else height // 2 - 2

    def _task(self, name: str, noun: str) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._progress.begin(name, noun)
            return self._tasks[name]

    def _task_of(self, task: TaskID) -> Task:
        return next(one for one in self._progress.tasks if one.id == task)

    def _line(self, name: str, text: str, event: Event | None = None) -> None:
        """Print a line on a task when there is no bar to show it, each only once in a row."""
        if console.is_quiet or self._progress.is_shown:
            return
        with self._lock:
            self._said_s[name] = time.monotonic()
            if self._last.get(name) == (event or text):
                return
            self._last[name] = event or text
        echo(text, err=True)


def _trouble(event: Event) -> Hashable | None:
    """Return a key that stays the same while a trouble does: another temperature or time is no news. None of other events."""
    match event:
        case Waiting(reason=reason) | Reconnecting(reason=reason):
            return type(event), reason
        case Attempt():
            return Attempt, event.reason, event.next_s is None
        case Unready(closed=closed):
            return Unready, *closed
        case BusyCores():
            return BusyCores
    return None

"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from harness.output.device_rows import TROUBLED_STATES, DeviceRows, lines_for

if TYPE_CHECKING:
    from harness.measurement.workload import RuntimePlan

# Lines for a log file: the first, each tenth and the last session; of evaluations each tenth part.
PLAIN_EVERY = 10
PLAIN_STATES = ("connecting", "preparing", "sending", "calibrating", "attempt", "waiting")
NARROW, NARROW_BAR, BAR = 100, 10, 24  # columns of a terminal, and of bars below and above
BESIDE_LINES = 8  # of a terminal: title, bars and the prompt, beside the first numbers
PLAIN_SECONDS = 30  # at least this often between the 10 % marks


# The column that gives way on a narrow terminal: counts and times stay whole.
_LAST = Column(ratio=1, no_wrap=True, overflow="ellipsis")


class _Bars(Progress):
    """Progress bars below the latencies measured so far: all that fit the terminal, and a line that counts the others."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self.tables: dict[str, RenderableType] = {}
        self.rows = DeviceRows()
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the latest table if it leaves room, then the bars, those of devices last, and what is not shown."""
        tasks = {task.fields["name"]: task for task in self.tasks if task.visible}
        if not tasks:  # before there is a terminal to fit
            return
        others = [task for name, task in tasks.items() if name not in self.rows]
        lines = lines_for(len(others), self.console.size.height)
        for table in list(self.tables.values())[-1:]:
            taken = len(self.console.render_lines(table))
            if lines - taken >= min(len(self.rows), lines // 3):
                lines -= taken
                yield table
        shown, rest = self.rows.fitting(lines)
        yield self.make_tasks_table([*others, *(tasks[name] for name in shown if name in tasks)])
        if rest:
            yield Text(rest, no_wrap=True, overflow="ellipsis")


class ProgressView:
    """One bar a device and one a format that is exported; an Observer of campaigns, safe in threads."""

    def __init__(
        self, *, quiet: bool, first_numbers: Callable[[RuntimePlan, int], RenderableType] | None = None
    ) -> None:
        """first_numbers: returns what is measured so far of a runtime plan, as a table of so many lines at most."""
        self._first_numbers = first_numbers
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._plain = not self._console.is_terminal
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._troubles: dict[str, str] = {}  # of devices, as they said it last
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._counts: dict[str, list[int]] = {}
        self._shown: dict[
            str, tuple[int, float]
        ] = {}  # by name: the last tenth part that a line told of, and when
        self._progress = _Bars(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=NARROW_BAR if self._console.width < NARROW else BAR),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.description}", markup=False, table_column=_LAST),
            console=self._console,
            expand=True,
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
        """Show the current state of a device's campaign."""
        self._progress.update(self._task(device), description=text)
        in_trouble = TROUBLED_STATES.match(text) is not None
        self._progress.rows.note(device, in_trouble=in_trouble, has_ended=False)
        trouble = re.sub("[0-9]+", "", text) if in_trouble else ""  # another temperature is no news
        if trouble and trouble != self._troubles.get(device) and not self._plain:
            self.say(_about(device, text))  # a bar has no room for all of it
        self._troubles[device] = trouble
        if text.startswith("sending") and not self._is_due(device):
            return
        if text.split()[0] in PLAIN_STATES or "reconnecting" in text:
            self._line(f"{device}: {text}")

    def _is_due(self, device: str) -> bool:
        """Tell whether a line of what is told each second is due where there is no bar."""
        last, now = self._shown.get(f"{device} sending", (0, -PLAIN_SECONDS))[1], time.monotonic()
        if now - last < PLAIN_SECONDS:
            return False
        self._shown[f"{device} sending"] = (0, now)
        return True

    def tell(self, device: str, text: str) -> None:
        """Print a message on a device above the bars."""
        self._progress.rows.note(device)
        self.say(_about(device, text))

    def end(self, device: str, trouble: str) -> None:
        """Show that a device's campaign ended while others go on; trouble is told even where progress is not."""
        self._progress.rows.note(device, in_trouble=bool(trouble), has_ended=True)
        task = self._task(device)
        line = _about(device, trouble)
        ended = f"ended: {line.partition(': ')[2]}" if trouble else "done"
        self._progress.update(task, description=ended)
        self._progress.stop_task(task)
        if trouble and line not in self._told:
            self._print(line)
        elif not trouble:
            self._line(f"{device}: done")

    def begin(self, device: str, units: int) -> None:
        """Add to the number of sessions that a device is to measure."""
        if not units:
            return
        done, before = self._counts.get(device, (0, 0))
        self._counts[device] = [done, before + units]
        self._progress.rows.note(device, total=before + units)
        self._progress.update(self._task(device), total=before + units)
        self._line(f"{device}: {before + units} sessions to measure")

    def advance(self, device: str, text: str) -> None:
        """Show that a session ended; `text` says how if it failed."""
        count = self._counts[device]
        count[0] += 1
        self._progress.advance(self._task(device))
        self._progress.rows.note(device, in_trouble=bool(text), done=count[0])
        if text:
            self._progress.update(self._task(device), description=text)
            self.say(f"{device}: {text}")
        if count[0] in (1, count[1]) or count[0] % PLAIN_EVERY == 0:
            self._line(f"{device}: {count[0]} of {count[1]} sessions")

    def refine(self, device: str, use: RuntimePlan, left: int) -> None:
        """Show the latencies measured so far for a runtime plan, with `left` sessions remaining."""
        if self._quiet or self._first_numbers is None or not left:
            return
        table = self._first_numbers(use, self._table_lines())
        title = f"{device}, {use.configuration.runtime}: first numbers, {left} sessions will refine them"
        if self._plain:
            if title.split(",")[1] not in self._told:  # a log file holds the first table, and the last
                self._told.add(title.split(",")[1])
                self._console.print(title, markup=False, highlight=False, soft_wrap=True)
                self._console.print(table)
        else:
            self._progress.tables[use.configuration.runtime] = Group(Text(title, style="bold"), table)

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        """Show the progress of exporting a format's fragments."""
        key = f"export {model_format}"
        task = self._task(key)
        self._progress.update(task, completed=done, total=total, description=name, visible=done < total)
        if done in (0, total):
            self._line(f"{key}: {done} of {total} fragments")

    def evaluations(self, name: str, done: int, total: int, text: str) -> None:
        """Show how many accuracies a comparison of methods has evaluated, and its current step."""
        task = self._task(name)
        self._progress.update(task, completed=done, total=total, description=text)
        tenth, now = done * PLAIN_EVERY // total, time.monotonic()
        last, since = self._shown.get(name, (-1, now))
        if tenth == last and now - since < PLAIN_SECONDS:
            return
        self._shown[name] = (tenth, now)
        left = next(t.time_remaining for t in self._progress.tasks if t.id == task)
        rest = f", {left:.0f} s left" if left and done < total else ""
        self._line(f"{name}: {done:,} of {total:,} evaluations{rest}{': ' if text else ''}{text}")

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._told.add(text)
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table_lines(self) -> int:
        """Return how many lines first numbers may have: all but a few, or with several devices half of the terminal."""
        height = self._console.size.height
        return height - BESIDE_LINES if len(self._progress.rows) <= 2 else height // 2 - 2

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


def _about(device: str, text: str) -> str:
    """Return a line about a device, named once."""
    rest = text.removeprefix(f"device {device!r}")
    return f"{device}: {text}" if rest == text else f"{device}{rest}"

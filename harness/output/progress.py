"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from harness.measurement.workload import RuntimePlan

# Lines for a log file: the first, each tenth and the last session; of evaluations each tenth part.
PLAIN_EVERY = 10
PLAIN_STATES = ("connecting", "preparing", "sending", "calibrating", "attempt", "waiting")
PLAIN_SECONDS = 30  # at least this often between the 10 % marks


# The column that gives way on a narrow terminal: counts and times stay whole.
_LAST = Column(ratio=1, no_wrap=True, overflow="ellipsis")


class _Bars(Progress):
    """Progress bars below tables of the latencies measured so far."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self.tables: dict[str, RenderableType] = {}
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the tables, the latest alone where not all fit, then the bars."""
        yield from list(self.tables.values())[-1:]
        yield self.make_tasks_table(self.tasks)


class ProgressView:
    """One bar a device and one a format that is exported; an Observer of campaigns, safe in threads."""

    def __init__(
        self, *, quiet: bool, first_numbers: Callable[[RuntimePlan], RenderableType] | None = None
    ) -> None:
        """first_numbers: returns what is measured so far of a runtime plan, as a table that fits above the bars."""
        self._first_numbers = first_numbers
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._plain = not self._console.is_terminal
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._counts: dict[str, list[int]] = {}
        self._shown: dict[
            str, tuple[int, float]
        ] = {}  # by name: the last tenth part that a line told of, and when
        self._progress = _Bars(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
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
        self.say(f"{device}: {text}")

    def begin(self, device: str, units: int) -> None:
        """Add to the number of sessions that a device is to measure."""
        if not units:
            return
        done, before = self._counts.get(device, (0, 0))
        self._counts[device] = [done, before + units]
        self._progress.update(self._task(device), total=before + units)
        self._line(f"{device}: {before + units} sessions to measure")

    def advance(self, device: str, text: str) -> None:
        """Show that a session ended; `text` says how if it failed."""
        count = self._counts[device]
        count[0] += 1
        self._progress.advance(self._task(device))
        if text:
            self.say(f"{device}: {text}")
        if count[0] in (1, count[1]) or count[0] % PLAIN_EVERY == 0:
            self._line(f"{device}: {count[0]} of {count[1]} sessions")

    def refine(self, device: str, use: RuntimePlan, left: int) -> None:
        """Show the latencies measured so far for a runtime plan, with `left` sessions remaining."""
        if self._quiet or self._first_numbers is None or not left:
            return
        table = self._first_numbers(use)
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

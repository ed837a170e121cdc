"""Progress as lines: a bar that fits its terminal, count and time left whole and the text last; the same in words for a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress import Progress, Task, TaskID
from rich.text import Text

from harness.output.terminal import console, echo, is_live, is_unicode, wrap
from space.text import duration, printable

BARS = (24, 10)  # columns that a bar takes, the first that leaves room for the text
LEAST_TEXT = 16  # columns for which a bar, and what is counted, give way


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Progress of a piece of work: `done` of `total` things called `noun`, None while their number is not known.

    `left_s` is None until it can be told from what is done; `later` names what more is to be done, not counted yet.
    """

    name: str
    done: float
    total: float | None
    noun: str
    elapsed_s: float
    left_s: float | None
    text: str
    later: tuple[str, ...] = ()


def bar_lines(one: Standing, width: int, *, unicode: bool) -> list[str]:
    """Return a line of at most `width` columns with a bar; the name has one of its own where both do not fit.

    What a narrow terminal does without: the text, the bar, the time passed. Never the count and the time left.
    """
    more = f" + {one.later[0]}" if one.later else ""
    count = "" if one.total is None else f"{one.done:,.0f}/{one.total:,.0f}{more}"
    left = "" if one.left_s is None else f"{duration(one.left_s)} left"
    numbers = _joined(count, duration(one.elapsed_s), left)
    above = []
    line = _joined(one.name, numbers)
    if cell_len(line) > width:
        numbers = _joined(count, left) or numbers
        line = _joined(one.name, numbers)
    if cell_len(line) > width:
        above, line = [one.name], numbers
    room = width - cell_len(line) - 1
    size = next((size for size in BARS if room - size - 1 >= LEAST_TEXT), 0)
    if one.total and size and not above:
        is_counted = room - size - len(one.noun) - 2 >= LEAST_TEXT
        rest = numbers.removeprefix(count).strip()
        bar = _bar(one.done / one.total, size, unicode)
        line = _joined(one.name, bar, count, one.noun if is_counted else "", rest)
        room = width - cell_len(line) - 1
    text = _cut(one.text, room, unicode)
    return [*above, _joined(line, text)]


def sentence(one: Standing) -> str:
    """Return the same in words, for a log."""
    times = [f"{duration(one.elapsed_s)} so far"]
    if one.left_s is not None:
        times.append(f"{duration(one.left_s)} left")
    if one.total is None:
        return f"{one.name}: {', '.join([one.text or 'at work', *times])}"
    more = f" and those of {one.later[0]}" if one.later else ""
    count = f"{one.done:,.0f} of {one.total:,.0f} {one.noun}".rstrip() + more
    return f"{one.name}: {', '.join([count, *times])}{one.text and ': '}{one.text}"


class Bars(Progress):
    """Bars on standard error, where it is a terminal that can show them; elsewhere it only keeps count and time."""

    def __init__(self) -> None:
        self.is_shown = not console.is_quiet and is_live(sys.stderr)
        self._unicode = is_unicode(sys.stderr)
        self._screen = Console(stderr=True, force_terminal=self.is_shown, highlight=False)
        super().__init__(
            console=self._screen,
            disable=not self.is_shown,
            speed_estimate_period=600.0,  # steps differ in length: a steady estimate of the time left
        )

    def make_tasks_table(self, tasks: Iterable[Task]) -> RenderableType:  # type: ignore[override]
        """Return the lines of what is under way."""
        lines = [line for one in tasks if one.visible for line in self._lines(one)]
        return Group(*(Text(line, no_wrap=True, overflow="crop") for line in lines))

    def lines_of(self, task: Task) -> int:
        """Return how many lines a task takes in this terminal."""
        return len(self._lines(task))

    def begin(self, name: str, noun: str) -> TaskID:
        """Show a new task, which counts things called `noun`; how many there are is not known yet."""
        return self.add_task("", total=None, name=name, noun=noun)

    def say(self, text: str) -> None:
        """Print a text above the bars, if there are any."""
        if not self.is_shown:
            echo(text, err=True)
            return
        for line in wrap(printable(text, keep="\n"), self._screen.width):
            self._screen.print(Text(line), soft_wrap=True)

    def _lines(self, task: Task) -> list[str]:
        return bar_lines(self.standing(task), self._screen.width, unicode=self._unicode)

    def standing(self, task: Task) -> Standing:
        """Return how far a task has come."""
        later = task.fields.get("later", ())
        is_under_way = task.total is not None and task.completed < task.total
        return Standing(
            name=task.fields["name"],
            done=int(task.completed),
            total=task.total,
            noun=task.fields["noun"],
            elapsed_s=(task.finished_time if task.finished else task.elapsed) or 0.0,
            left_s=task.time_remaining if is_under_way and not later else None,
            text=printable(task.description),
            later=later,
        )


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _bar(share: float, size: int, unicode: bool) -> str:
    full = int(min(share, 1.0) * size)
    return ("━" if unicode else "=") * full + ("─" if unicode else "-") * (size - full)


def _cut(text: str, room: int, unicode: bool) -> str:
    """Return the words of a text that there is room for, marked where some are left out."""
    if cell_len(text) <= room:
        return text
    dots = "…" if unicode else "..."
    words = text.split(" ")
    while words and cell_len(" ".join(words)) + 1 + len(dots) > room:
        words.pop()
    return f"{' '.join(words)} {dots}" if words else ""

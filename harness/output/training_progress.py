"""Progress of trainings and distillations on standard error: a bar of epochs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from space.errors import HarnessError

if TYPE_CHECKING:
    from search.work.results import Results
    from search.work.running import Runner
    from search.work.unit import Unit

PLAIN_SECONDS = 10  # between lines that tell of an epoch: a log of thousands of networks stays readable
_BAR = 24
_FIXED = (
    _BAR + len("epochs") + len("left") + 2 * len("0:00:00") + 8
)  # columns that the bar and its words take
_FEWEST = 12  # columns of a description: fewer say nothing
# The blocks of a stage are distilled in groups, one after the other, if memory holds no more at once.
_EPOCH = re.compile(
    r"(?:blocks (?P<first>[0-9]+) to (?P<last>[0-9]+) of (?P<blocks>[0-9]+), )?epoch (?P<epoch>[0-9]+) of (?P<epochs>[0-9]+)"
)
_UNIT = re.compile(r"[a-z]+(?:-[a-z]+)* ([0-9a-f]{12}) \([^()]*\)")


class TrainingView:
    """Show what `search.work.run_units` tells of units; `names` are their networks, or stages, by 12 characters of the key.

    `epochs` are those of a unit. Where `line` is given, it is told the plain lines that else go to standard error.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        epochs: int,
        *,
        quiet: bool,
        title: str,
        line: Callable[[str], None] | None = None,
    ) -> None:
        self._names, self._epochs, self._quiet, self._line = names, epochs, quiet, line
        self._console = Console(stderr=True)
        self._plain = not self._console.is_terminal
        self._done: dict[str, Fraction | int] = {}
        self._told_at = -float(PLAIN_SECONDS)
        self._progress = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            disable=quiet or self._plain,
            speed_estimate_period=600.0,
        )
        total = len(names) * epochs
        self._task = self._progress.add_task("", total=total, title=title)
        # Where a line is too long, rich takes from all its columns, and the bar goes first.
        self._room = self._console.width - _FIXED - len(title) - len(f"{total}/{total}")

    def __enter__(self) -> TrainingView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def skip(self, key: str) -> None:
        """Count a unit that is done already."""
        self._count(key, self._epochs)

    def tell(self, text: str) -> None:
        """Show a text of the units' runner."""
        unit, epoch = _UNIT.match(text), _EPOCH.search(text)
        named = self.named(text)
        if unit is None or epoch is None:
            if unit is not None and " is done in " in text:
                self._count(unit[1], self._epochs)
            self._say(named)
            return
        number = self._epochs * _share(epoch)
        self._count(unit[1], number)
        self._progress.update(self._task, description=self._cut(named))
        now = time.monotonic()
        if self._plain and (number == self._epochs or now - self._told_at >= PLAIN_SECONDS):
            self._told_at = now
            self._say(named)

    def named(self, text: str) -> str:
        """Return a text in which units are called by their network or stage, once."""
        name = next((self._names[found[1]] for found in _UNIT.finditer(text) if found[1] in self._names), "")
        text = _UNIT.sub(lambda found: self._names.get(found[1], found[0]), text)
        return text.replace(f"{name}: {name}", name, 1) if name else text

    def _count(self, key: str, epochs: Fraction | int) -> None:
        self._done[key[:12]] = epochs
        self._progress.update(self._task, completed=float(sum(self._done.values())))

    def _cut(self, text: str) -> str:
        if len(text) <= self._room:
            return text
        return f"{text[: self._room - 1]}…" if self._room >= _FEWEST else ""

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._plain and self._line is not None:
            self._line(text)
        elif self._plain:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def run_shown(
    units: Sequence[tuple[str, Unit]],
    epochs: int,
    results: Results,
    runner: Runner,
    *,
    quiet: bool,
    title: str,
    line: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Run units, each with its name, in a view of them, and return the digest of each result by the unit's key.

    Raises: what `search.work.running.run_units` does, in the names.
    """
    from search.work.running import run_units

    names = {unit.key[:12]: name for name, unit in units}
    with TrainingView(names, epochs, quiet=quiet, title=title, line=line) as view:
        for _, unit in units:
            if results.result_of(unit):
                view.skip(unit.key)
        try:
            return run_units([unit for _, unit in units], results, runner, view.tell)
        except HarnessError as found:
            error = type(found)(view.named(str(found)))
            for note in getattr(found, "__notes__", ()):  # what --debug shows
                error.add_note(note)
            raise error from found


def _share(epoch: re.Match[str]) -> Fraction:
    """Return how much of its unit's work is done after an epoch."""
    whole = Fraction(int(epoch["epoch"]), int(epoch["epochs"]))
    if epoch["blocks"] is None:
        return whole
    before = int(epoch["first"]) - 1
    return (before + (int(epoch["last"]) - before) * whole) / int(epoch["blocks"])

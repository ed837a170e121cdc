"""Progress of trainings and distillations on standard error: a bar of epochs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
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

from search.training.history import EpochDone
from search.work.events import Event, UnitDone, UnitProgress, UnitStarted, sentence

if TYPE_CHECKING:
    from search.work.unit import Unit
    from search.work.unit_runs import NamedUnits

PLAIN_SECONDS = 10  # between lines that tell of an epoch: a log of thousands of networks stays readable
_BAR = 24
_FIXED = (
    _BAR + len("epochs") + len("left") + 2 * len("0:00:00") + 8
)  # columns that the bar and its words take
_FEWEST = 12  # columns of a description: fewer say nothing


class TrainingView:
    """A `search.work.unit_runs.Watch` of units: the progress of their networks, or stages; it is called with each event."""

    def __init__(self, units: NamedUnits, *, quiet: bool) -> None:
        self._units, self._quiet = units, quiet
        self._console = Console(stderr=True)
        self._plain = not self._console.is_terminal
        self._done: dict[str, Fraction | int] = {}
        self._shown_at = -float(PLAIN_SECONDS)
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
        total = len(units.names) * units.epochs
        self._task = self._progress.add_task("", total=total, title=units.title)
        # Where a line is too long, rich takes from all its columns, and the bar goes first.
        self._room = self._console.width - _FIXED - len(units.title) - len(f"{total}/{total}")
        for key in units.done:
            self._count(key, units.epochs)

    def __enter__(self) -> TrainingView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event of the units' runner."""
        called = self._units.called
        match event:
            case UnitStarted(unit=unit):
                self._describe(called(unit))
            case UnitProgress(unit=unit, step=EpochDone() as epoch):
                self._show_epoch(unit, epoch, sentence(event, called))
            case UnitDone(unit=unit):
                self._count(unit.key, self._units.epochs)
                self._say(sentence(event, called))
            case _:
                self._say(sentence(event, called))

    def _show_epoch(self, unit: Unit, epoch: EpochDone, text: str) -> None:
        self._count(unit.key, self._units.epochs * epoch.share)
        self._describe(text)
        now = time.monotonic()
        if self._plain and (epoch.share == 1 or now - self._shown_at >= PLAIN_SECONDS):
            self._shown_at = now
            self._say(text)

    def _describe(self, text: str) -> None:
        self._progress.update(self._task, description=self._cut(text))

    def _count(self, key: str, epochs: Fraction | int) -> None:
        self._done[key] = epochs
        self._progress.update(self._task, completed=float(sum(self._done.values())))

    def _cut(self, text: str) -> str:
        if len(text) <= self._room:
            return text
        return f"{text[: self._room - 1]}…" if self._room >= _FEWEST else ""

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._plain:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

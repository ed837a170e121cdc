"""Progress of trainings and distillations on standard error: a bar of epochs on a terminal, plain lines elsewhere."""

from __future__ import annotations

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

from search.training.history import EpochDone
from search.work.events import Event, UnitDone, UnitProgress, UnitStarted, sentence

if TYPE_CHECKING:
    from search.work.results import Results
    from search.work.unit import Unit
    from search.work.unit_runs import Runner

PLAIN_SECONDS = 10  # between lines that tell of an epoch: a log of thousands of networks stays readable
_BAR = 24
_FIXED = (
    _BAR + len("epochs") + len("left") + 2 * len("0:00:00") + 8
)  # columns that the bar and its words take
_FEWEST = 12  # columns of a description: fewer say nothing


class TrainingView:
    """Show the progress of `search.work.unit_runs.run_units`; `names` are the networks, or stages, of units by their keys.

    `epochs` are those of a unit. Where `line` is given, it takes the plain lines that else go to standard error.
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

    def show(self, event: Event) -> None:
        """Show an event of the units' runner."""
        match event:
            case UnitStarted(unit=unit):
                self._describe(self.called(unit))
            case UnitProgress(unit=unit, step=EpochDone() as epoch):
                self._show_epoch(unit, epoch, sentence(event, self.called))
            case UnitDone(unit=unit):
                self._count(unit.key, self._epochs)
                self._say(sentence(event, self.called))
            case _:
                self._say(sentence(event, self.called))

    def called(self, unit: Unit) -> str:
        """Return the network or stage of a unit."""
        return self._names.get(unit.key) or str(unit)

    def _show_epoch(self, unit: Unit, epoch: EpochDone, text: str) -> None:
        self._count(unit.key, self._epochs * epoch.share)
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
        if self._plain and self._line is not None:
            self._line(text)
        elif self._plain:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def run_shown(
    units: Sequence[tuple[str, Unit]],
    results: Results,
    runner: Runner,
    *,
    epochs: int,
    quiet: bool,
    title: str,
    line: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Run units, each with its name, in a view of them, and return the digest of each result by the unit's key.

    Raises: what `search.work.unit_runs.run_units` does, in the names.
    """
    from search.work.unit_runs import run_units

    names = {unit.key: name for name, unit in units}
    with TrainingView(names, epochs, quiet=quiet, title=title, line=line) as view:
        for _, unit in units:
            if results.result_of(unit):
                view.skip(unit.key)
        return run_units([unit for _, unit in units], results, runner, view.show, called=view.called)

"""Progress of trainings and distillations on standard error: a bar of epochs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING

from harness.output.bars import Bars
from harness.output.bars import sentence as in_words
from harness.output.heartbeat import EVERY_S, speaking
from harness.output.terminal import console
from search.training.history import EpochDone
from search.work.events import Event, UnitDone, UnitProgress, UnitsFound, UnitStarted, sentence

if TYPE_CHECKING:
    from search.work.unit import Unit
    from search.work.unit_runs import NamedUnits

PLAIN_SECONDS = 10  # between lines that tell of an epoch: a log of thousands of networks stays readable


class TrainingView:
    """A `search.work.unit_runs.Watch` of units: the progress of their networks, or stages; it is called with each event."""

    def __init__(self, units: NamedUnits) -> None:
        self._units = units
        self._done: dict[str, Fraction | int] = {}
        self._epoch_s = -float(PLAIN_SECONDS)
        self._said_s = time.monotonic()
        self._progress = Bars()
        self._task = self._progress.begin(units.title, "epochs")
        self._progress.update(self._task, total=len(units.names) * units.epochs)
        self._shown = ExitStack()

    def __enter__(self) -> TrainingView:
        self._shown.enter_context(self._progress)
        self._shown.enter_context(speaking(self.due))
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def due(self) -> list[str]:
        """Return a line for a log each half minute: how many epochs are done, and the time left."""
        now_s = time.monotonic()
        if console.is_quiet or self._progress.is_shown or now_s - self._said_s < EVERY_S:
            return []
        self._said_s = now_s
        return [in_words(self._progress.standing(self._progress.tasks[0]))]

    def __call__(self, event: Event) -> None:
        """Show an event of the units' runner."""
        called = self._units.called
        match event:
            case UnitsFound(keys=keys):
                # One step, which the speed leaves out: these took no time.
                self._count(dict.fromkeys(keys, self._units.epochs))
                self._say(sentence(event, called))
            case UnitStarted(unit=unit):
                self._describe(called(unit))
            case UnitProgress(unit=unit, step=EpochDone() as epoch):
                self._show_epoch(unit, epoch, sentence(event, called))
            case UnitDone(unit=unit):
                self._count({unit.key: self._units.epochs})
                self._say(sentence(event, called))
            case _:
                self._say(sentence(event, called))

    def _show_epoch(self, unit: Unit, epoch: EpochDone, text: str) -> None:
        self._count({unit.key: self._units.epochs * epoch.share})
        self._describe(text)
        now_s = time.monotonic()
        if not self._progress.is_shown and (epoch.share == 1 or now_s - self._epoch_s >= PLAIN_SECONDS):
            self._epoch_s = now_s
            self._say(text)

    def _describe(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def _count(self, epochs: Mapping[str, Fraction | int]) -> None:
        self._done |= epochs
        self._progress.update(self._task, completed=float(sum(self._done.values())))

    def _say(self, text: str) -> None:
        if not console.is_quiet:
            self._progress.say(text)

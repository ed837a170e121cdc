"""Progress of trainings on standard error: a bar of epochs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 10  # between lines that tell of an epoch: a log of thousands of networks stays readable
_EPOCH = re.compile(r"epoch ([0-9]+) of [0-9]+")
_UNIT = re.compile(r"train(?:-together)? ([0-9a-f]{12}) \([^()]*\)")


class TrainingView:
    """Show what `search.work.run_units` tells of trainings; `names` are their networks by the first 12 characters of the key."""

    def __init__(self, names: Mapping[str, str], epochs: int, *, quiet: bool, title: str) -> None:
        self._names, self._epochs, self._quiet = names, epochs, quiet
        self._console = Console(stderr=True)
        self._plain = not self._console.is_terminal
        self._done: dict[str, int] = {}
        self._told_at = -float(PLAIN_SECONDS)
        self._progress = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=24),
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
        self._task = self._progress.add_task("", total=len(names) * epochs, title=title)

    def __enter__(self) -> TrainingView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def skip(self, key: str) -> None:
        """Count a training that is done already."""
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
        number = int(epoch[1])
        self._count(unit[1], number)
        self._progress.update(self._task, description=named)
        now = time.monotonic()
        if self._plain and (number == self._epochs or now - self._told_at >= PLAIN_SECONDS):
            self._told_at = now
            self._say(named)

    def named(self, text: str) -> str:
        """Return a text in which trainings are called by their network."""
        return _UNIT.sub(lambda found: self._names.get(found[1], found[0]), text)

    def _count(self, key: str, epochs: int) -> None:
        self._done[key[:12]] = epochs
        self._progress.update(self._task, completed=sum(self._done.values()))

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._plain:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

"""Run the study's units and keep their results and wall times."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from search.work.events import Event, UnitDone, UnitsFound, UnitStarted, sentence
from search.work.kinds import Content
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Runner, run_units
from space.text import duration

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRunner:
    """Runner of units that are not done yet."""

    results: ResultStore
    runner: Runner
    log: Callable[[str], None]
    # Digests by the units' keys.
    _done: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def digests(self, units: Sequence[Unit]) -> list[str]:
        """Run the units that are not done yet, and return the digest of each unit's result, in their order."""
        begin_s, finished = time.monotonic(), 0

        def report(event: Event) -> None:
            nonlocal finished
            left = ""
            if isinstance(event, UnitDone) and event.done < event.units:
                finished += 1
                each_s = (time.monotonic() - begin_s) / finished
                left = f", {duration(each_s * (event.units - event.done))} left for these"
            is_nothing_to_do = isinstance(event, UnitsFound) and len(event.keys) == event.units
            if not isinstance(event, UnitStarted) and not is_nothing_to_do:
                self.log(sentence(event) + left)

        if unknown := [unit for unit in units if unit.key not in self._done]:
            self._done.update(run_units(unknown, self.results, self.runner, report))
        return [self._done[unit.key] for unit in units]

    def contents(self, units: Sequence[Unit]) -> list[Content]:
        """Return each unit's content, in their order."""
        return [self.results.get(digest) for digest in self.digests(units)]

    def by_name(self, groups: Mapping[Name, Sequence[Unit]]) -> dict[Name, list[tuple[Content, float]]]:
        """Run the units of all groups at once; return each unit's content and recorded seconds, in their order, by group."""
        self.digests([unit for units in groups.values() for unit in units])
        return {
            name: [
                (content, self.seconds(unit))
                for unit, content in zip(units, self.contents(units), strict=True)
            ]
            for name, units in groups.items()
        }

    def seconds(self, unit: Unit) -> float:
        """Return the recorded seconds of a finished unit; NaN where there are none."""
        seconds = (self.results.record_of(unit) or {}).get("seconds")
        return float("nan") if seconds is None else float(seconds)

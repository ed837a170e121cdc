"""Run the study's units and keep their results and wall times."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.work.events import Event, UnitDone, UnitStarted, sentence
from search.work.kinds import Content
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Runner, run_units
from space.text import duration


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRunner:
    """Runner of units that are not done yet."""

    results: ResultStore
    runner: Runner
    log: Callable[[str], None]

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
            if not isinstance(event, UnitStarted):
                self.log(sentence(event) + left)

        done = run_units(units, self.results, self.runner, report)
        return [done[unit.key] for unit in units]

    def contents(self, units: Sequence[Unit]) -> list[Content]:
        """Return each unit's content, in their order."""
        return [self.results.get(digest) for digest in self.digests(units)]

    def add(self, content: Mapping[str, Any], kind: str) -> str:
        """Store an input of units, and return its digest."""
        return self.results.add(content, kind)

    def seconds(self, unit: Unit) -> float:
        """Return the recorded seconds of a finished unit; NaN where there are none."""
        record = json.loads((self.results.folder / "units" / f"{unit.key}.json").read_text("utf-8"))
        seconds = record.get("seconds")
        return float("nan") if seconds is None else float(seconds)

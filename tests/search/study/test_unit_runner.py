"""The study's units are told of as they end, with the time left for those that are run together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from search.study.unit_runner import UnitRunner
from search.work.events import OnProgress
from search.work.kinds import find_kind
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Done


class Quick:
    """A runner whose units are done at once."""

    def run(self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress) -> Iterator[Done]:
        for number, unit in enumerate(units):
            digest = results.add({"number": float(number)}, find_kind(unit.kind).seals)
            yield Done(unit=unit, digest=digest, seconds=1.0, host="here")


def test_a_unit_that_is_done_says_how_many_are_and_the_time_left_for_the_others(tmp_path: Path) -> None:
    lines: list[str] = []
    units = [Unit(kind="train", config={"number": number}) for number in range(3)]
    runner = UnitRunner(results=ResultStore(folder=tmp_path), runner=Quick(), log=lines.append)
    assert len(runner.digests(units)) == 3
    first, second, last = lines
    assert re.search(r", 1 of 3 units, 0:00:\d\d left for these$", first)
    assert re.search(r", 2 of 3 units, 0:00:\d\d left for these$", second)
    assert last.endswith("3 of 3 units")


def test_results_are_verified_once_however_often_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, read = list[str](), list[str]()
    units = [Unit(kind="train", config={"number": number}) for number in range(2)]
    runner = UnitRunner(results=ResultStore(folder=tmp_path), runner=Quick(), log=lines.append)
    runner.digests(units)
    again = UnitRunner(results=runner.results, runner=Quick(), log=lines.append)
    lines.clear()
    get = ResultStore.get
    monkeypatch.setattr(
        ResultStore, "get", lambda results, digest: read.append(digest) or get(results, digest)
    )
    assert again.by_name({"all": units}) == {"all": [({"number": 0.0}, 1.0), ({"number": 1.0}, 1.0)]}
    assert len(read) == 4, "each verified, then used"
    assert again.contents(units[:1]) == [{"number": 0.0}] and len(read) == 5
    assert lines == []

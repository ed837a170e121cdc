"""Published files of a folder that several commands train into."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search.work import training_folder
from search.work.results import ResultStore
from search.work.training_folder import publish
from search.work.unit import Unit


def test_of_two_commands_that_end_at_once_the_last_one_publishes_what_both_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Unit(kind=training_folder.KIND, config={"network": name}) for name in ("conv", "mbconv"))
    recorded, published = [one], list[list[str]]()
    both_have_read = threading.Barrier(2)

    def stored(results: ResultStore) -> list[Unit]:
        found = list(recorded)
        with contextlib.suppress(threading.BrokenBarrierError):  # nobody reads before this one has written
            both_have_read.wait(0.2)
        recorded.append(other)  # which the other command has trained meanwhile
        return found

    def write(folder: Path, finished: Iterable[Unit]) -> tuple[list[Path], list[str]]:
        published.append(sorted(unit.key for unit in finished))
        return [], []

    monkeypatch.setattr(training_folder, "stored_units", stored)
    monkeypatch.setattr(training_folder, "collect", lambda results, units: {unit.key: unit for unit in units})
    monkeypatch.setattr(training_folder, "write_published", write)
    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(publish, ResultStore(folder=tmp_path), [], []) for _ in range(2)]
    assert [end.result()[1:] for end in ends] == [([], [])] * 2
    assert published[-1] == sorted([one.key, other.key])

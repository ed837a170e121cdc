"""`harness.search_store`, `maximize`, `report`: what Python asks of a store is what the commands answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factories.reports import payload_of
from factories.stores import networks, stored
from rigs.commands import run
from rigs.examples import run_example

import harness
from harness.store import Store
from search.table.synthetic import synthetic_accuracies
from space import MINI, TINY
from space.errors import ConfigError

ASKED: dict[str, Any] = {"runtime": "onnxruntime", "threads": 2}
TYPED = ("--runtime", "onnxruntime", "-t", "2", "-c", "made-up<4ms", "--json")
PERCENT = {network: 50 + place for place, network in enumerate(networks(8, TINY))}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("from-store") / "store.sqlite"
    path.write_bytes(stored(30, 0, False, TINY))
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with harness.open_store(path) as store:
        yield store


@pytest.mark.parametrize("name", ["search_store", "maximize", "report"])
def test_the_examples_in_docstrings_run(
    name: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_example(name, store=store)


def test_a_search_is_that_of_the_command(path: Path, store: Store) -> None:
    answer = harness.search_store(store, "synthetic", "made-up<4ms", costs="macs", confidence=0.9, **ASKED)
    done = run(path, "search", "-a", "synthetic", "--show", "macs", "--confidence", "0.9", *TYPED)
    told = [
        {name: value for name, value in row.items() if name != "ties_with_best"}
        for row in done.json["networks"]
    ]
    assert json.loads(json.dumps(answer[:10])) == told
    assert len(answer) == done.json["networks_within_limits"]


def test_a_search_takes_accuracies_as_python_holds_them(store: Store) -> None:
    answer = harness.search_store(store, PERCENT, **ASKED)
    assert answer[0]["accuracy_percent"] == 57 and answer.best == networks(8, TINY)[-1]
    loaded = synthetic_accuracies(TINY, 3)
    assert (
        harness.search_store(store, loaded, **ASKED)[:5]
        == harness.search_store(store, "synthetic:3", space=TINY, **ASKED)[:5]
    )
    with pytest.raises(ConfigError, match=r"is of space 'tiny', not 'mini'|nothing is stored"):
        harness.search_store(store, PERCENT, "made-up<4ms", space=MINI, **ASKED)


def test_the_largest_sums_are_those_of_the_command_and_of_scores_as_python_holds_them(
    path: Path, store: Store, tmp_path: Path
) -> None:
    answer = harness.maximize(store, "params", "made-up<4ms", costs="macs", top=4, **ASKED)
    done = run(path, "search", "--objective", "params", "--top", "4", "--pareto", "macs", *TYPED)
    assert json.loads(json.dumps(answer[:])) == done.json["networks"]
    assert json.loads(json.dumps(list(answer.front("macs")))) == done.json["fronts"][0]["networks"]
    scores = {
        f"cell{stage}:{block}": float(number % 7)
        for stage in range(2)
        for number, block in enumerate(TINY.blocks)
    }
    file = tmp_path / "scores.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("part", "score"), *scores.items()])
    held, read = (harness.maximize(store, given, "made-up<4ms", **ASKED) for given in (scores, file))
    assert held[:] == read[:]
    with pytest.raises(
        ConfigError, match="objective: 1 of 90 parts of space 'tiny' has no score, such as cell0:conv"
    ):
        harness.maximize(
            store,
            {part: score for part, score in scores.items() if part != "cell0:conv"},
            **ASKED,
            space=TINY,
        )
    with pytest.raises(ConfigError, match="no cost 'made-down'; did you mean 'made-up'"):
        answer.front("made-down")


def test_a_page_is_that_of_the_command(path: Path, store: Store, tmp_path: Path) -> None:
    lines: list[str] = []
    mine = harness.report(
        store, "synthetic", tmp_path / "mine.html", "made-up<4ms", log=lines.append, **ASKED
    )
    done = run(path, "report", "-a", "synthetic", *TYPED[:-1], "-o", str(tmp_path / "other.html"))
    assert done.status == 0, done.stderr
    assert lines[-1].replace("mine", "other") == done.stderr.splitlines()[-1]
    pages = [payload_of((tmp_path / name).read_text()) for name in (mine.name, "other.html")]
    assert "--store" in pages[0]["command"]
    for page in pages:
        del page["made_utc"]
        page["command"] = page["command"].partition(" --store")[0]
    assert pages[0] == pages[1]


def test_a_page_of_accuracies_that_only_python_holds_names_a_file_in_its_command(
    store: Store, tmp_path: Path
) -> None:
    page = harness.report(store, PERCENT, tmp_path / "mine.html", **ASKED)
    assert payload_of(page.read_text())["command"].startswith("harness search --accuracies FILE ")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda store: harness.search_store("lab.sqlite", "synthetic"),
            "store = 'lab.sqlite': no open store",
        ),
        (lambda store: harness.search_store(store, "synthetic", device=""), "nothing is stored of device ''"),
        (lambda store: harness.search_store(store, "synthetic", verify=0), "verify = 0: give 1 or more"),
        (lambda store: harness.search_store(store, "synthetic", confidence=95), "--confidence 95"),
        (lambda store: harness.search_store(store, "synthetic", confidence="0.9"), "--confidence '0.9'"),
        (lambda store: harness.search_store(store, "synthetic", "made-up<4ms", threads="2"), "threads = '2'"),
        (
            lambda store: harness.predict(store, device="made-up", batch="1"),
            "batch = '1': give a whole number",
        ),
        (lambda store: harness.maximize(store, "param"), "'param' is unknown; did you mean 'params'"),
        (lambda store: harness.maximize(store, "params", top=1.5), "top = 1.5: give a whole number"),
        (lambda store: harness.report(store, "synthetic", f"{__file__}/a.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_asked_is_refused(store: Store, ask: Callable[[Store], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(store)

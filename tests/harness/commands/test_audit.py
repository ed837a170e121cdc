"""`harness audit` on made-up sessions, in which a network is the sum of its parts, or is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from factories.chains import long_chain
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored
from rigs.commands import refused, run

from harness.records import Configuration
from space import TINY, Architecture
from space.segments import Segment, all_segments


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "store.sqlite"
    path.write_bytes(stored())
    return path


def test_networks_that_are_the_sum_of_their_parts_are_additive(store: Path) -> None:
    document = run(store, "audit", "-d", "made-up", "-t", "2", "--json").json
    assert document["verdict"] == "additive"
    assert document["slope"] == pytest.approx(1, abs=0.02)
    assert document["plain"]["count"] == 60
    assert document["plain"]["mape"] < 0.01
    assert 0 < document["ceiling"] < 0.01, "two rounds differ by their scatter"


def test_people_read_the_verdict_the_errors_and_the_effects(store: Path) -> None:
    done = run(store, "audit", "--configuration", MANY.digest[:8])
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"[{MANY.digest[:8]}]" in lines[0]
    assert lines[1].startswith("additive: ")
    for text in ("a * sum + b, a = ", "two rounds", "errors on 60 networks", "Spearman"):
        assert text in done.stdout


def test_networks_that_leave_the_sum_are_not_additive(tmp_path: Path) -> None:
    path, many = tmp_path / "store.sqlite", replace(MANY, space="tiny")
    with new_store(path) as opened:
        calibrate(opened, many)
        add_sessions(opened, networks(12, TINY), many, sessions=2, twist=0.5)
        add_sessions(opened, all_segments(TINY), many)
    done = run(path, "audit", "-d", "made-up")
    assert done.status == 0
    assert done.stdout.splitlines()[1].startswith("not additive: ")


def test_a_space_too_large_to_list_is_audited_by_random_networks(tmp_path: Path) -> None:
    space = long_chain()
    path = tmp_path / "store.sqlite"
    configuration = replace(MANY, space=space.name)

    def ratio(item: Architecture | Segment, configuration: Configuration) -> float:
        """Return that of a network as the sum of its parts': 0.05 of stem and head, by its kernel of a candidate, of skip 0."""
        if isinstance(item, Segment):
            return 0.05 if item.block is None else 0.01 * int(str(item.block)[1:])
        return 0.1 + sum(0.01 * int(str(block)[1:]) for block in item.blocks if str(block) != "skip")

    with new_store(path) as opened:
        calibrate(opened, configuration)
        add_sessions(opened, space.sample(30, seed=20), configuration, sessions=2, rule=ratio)
        refused(run(path, "audit", "-d", "made-up"), "38 of 38 segments are not measured")
        add_sessions(opened, all_segments(space), configuration, rule=ratio)
    document = run(path, "audit", "-d", "made-up", "--json").json
    assert document["verdict"] == "additive" and document["plain"]["count"] == 30
    assert document["slope"] == pytest.approx(1, abs=0.05) and document["plain"]["mape"] < 0.02


def test_missing_segments_are_counted_and_the_command_that_measures_them_named(
    store: Path, tmp_path: Path
) -> None:
    missing = "harness measure --device made-up --runtime onnxruntime --cores 0,1,2,3 --models segments"
    done = run(store, "audit", "--configuration", FEW.digest, "--json")
    refused(done, "140 of 140 segments are not measured", "segment:stem", missing)
    path = tmp_path / "store.sqlite"
    path.write_bytes(store.read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        keys = [segment.key for segment in all_segments()[-2:]]
        connection.execute("DELETE FROM sessions WHERE graph_hash IN (?, ?)", keys)
    refused(run(path, "audit", "-d", "made-up", "-t", "2"), "2 of 140 segments are not measured")

"""`harness audit` on made-up sessions, in which a network is the sum of its parts, or is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored
from rigs.commands import refused, run

from harness.store import Store
from space.segments import all_segments


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
    path = tmp_path / "store.sqlite"
    opened = new_store(path)
    calibrate(opened, MANY)
    add_sessions(opened, networks(30), sessions=2, twist=0.5)
    add_sessions(opened, all_segments())
    opened.close()
    done = run(path, "audit", "-d", "made-up")
    assert done.status == 0
    assert done.stdout.splitlines()[1].startswith("not additive: ")


def test_missing_segments_are_counted_and_the_command_that_measures_them_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(12, 12, False))
    missing = "harness measure --device made-up --runtime onnxruntime --cores 0,1,2,3 --models segments"
    done = run(path, "audit", "--configuration", FEW.digest, "--json")
    refused(done, "140 of 140 segments are not measured", "segment:stem", missing)
    opened = Store(str(path))
    add_sessions(opened, all_segments()[:-2])
    opened.close()
    refused(run(path, "audit", "-d", "made-up", "-t", "2"), "2 of 140 segments are not measured")

"""`harness dataset write` on made-up sessions: what it writes is read again and is the table of `harness predict`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.stores import MANY as MANY_OF_BLOX
from factories.stores import add_sessions, calibrate, networks, new_store, stored
from rigs.commands import refused, run

from harness.store import Store
from harness.store.latencies import latencies
from harness.version import __version__
from space import TINY, Architecture
from space.dataset import read_dataset

FORMATS = ("blox", "csv", "pickle")
COUNT = 24  # measured networks
MANY = replace(MANY_OF_BLOX, space="tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and all files of its device."""
    folder = tmp_path_factory.mktemp("dataset")
    store = folder / "store.sqlite"
    store.write_bytes(stored(COUNT, 0, False, TINY))
    done = run(store, "dataset", "write", "-d", "made-up", "-t", "2", "-o", str(folder))
    assert (done.status, done.stdout) == (0, ""), done.stderr
    for suffix in (*FORMATS, "json"):
        assert f"blox-bench-made-up.{suffix}: " in done.stderr
    return folder


@pytest.fixture(scope="module")
def sidecar(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "blox-bench-made-up.json").read_text())
    return document


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_reads_back_as_the_sidecar_says(
    folder: Path, sidecar: dict[str, Any], suffix: str
) -> None:
    data = read_dataset(folder / f"blox-bench-made-up.{suffix}", config=TINY, allow_pickle=True)
    assert (data.dataset_type, data.extra["device"]) == ("benchmarking", "made-up")
    columns = sidecar["columns"]
    assert {len(column) for column in columns.values()} == {len(TINY)}
    assert data.hashes.tolist() == columns["graph_hash"]
    found, expected = data.array("latency"), np.array(columns["latency_s"])
    if suffix == "blox":
        assert np.abs(found - expected).max() <= 1e-6, "published files hold whole microseconds"
    else:
        assert found.tolist() == expected.tolist()


def test_measured_rows_hold_what_is_stored_and_the_others_an_interval(
    folder: Path, sidecar: dict[str, Any]
) -> None:
    store = Store(str(folder / "store.sqlite"))
    rows = {row.graph_hash: row for row in latencies(store, MANY)}
    store.close()
    columns = sidecar["columns"]
    measured = {
        key
        for key, source in zip(columns["graph_hash"], columns["source"], strict=True)
        if source == "measured"
    }
    assert measured == rows.keys()
    names = ("graph_hash", "latency_s", "low_s", "high_s", "source", "grade", "sessions", "supported")
    assert tuple(columns) == names
    for key, latency_s, low_s, high_s, source, grade, sessions, supported in zip(
        *columns.values(), strict=True
    ):
        assert supported or source == "predicted"
        assert low_s <= latency_s <= high_s
        if source == "measured":
            row = rows[key]
            assert row.interval_ms is not None
            assert [latency_s, low_s, high_s] == [ms / 1e3 for ms in (row.latency_ms, *row.interval_ms)]
            assert (grade, sessions) == (row.grade, 2)
        else:
            assert (source, grade, sessions) == ("predicted", "-", 0)


def test_the_sidecar_says_under_what_conditions_and_by_which_versions(sidecar: dict[str, Any]) -> None:
    assert (sidecar["device"], sidecar["harness"], sidecar["version"]) == ("made-up", __version__, 1)
    assert sidecar["configuration"]["id"] == MANY.digest
    assert sidecar["configuration"]["runtime_version"] == "1.0"
    assert sidecar["reference_s"] == pytest.approx(0.005, rel=0.002), "pooled from sessions that scatter"
    assert sidecar["conditions"]["governors"] == {"0": "performance"}
    assert sidecar["agent"] == "a" * 64
    assert sidecar["prediction"]["measured_networks"] == COUNT
    assert sidecar["prediction"]["chosen"] in [rung["name"] for rung in sidecar["prediction"]["rungs"]]


def test_measured_networks_alone_are_written_in_one_format_under_another_name(folder: Path) -> None:
    options = ["--measured-only", "--format", "csv", "--name", "Lab-7", "-o", str(folder)]
    done = run(folder / "store.sqlite", "dataset", "write", "--configuration", MANY.digest, *options)
    assert done.status == 0, done.stderr
    assert {path.name for path in folder.glob("*Lab-7*")} == {"blox-bench-Lab-7.csv", "blox-bench-Lab-7.json"}
    data = read_dataset(folder / "blox-bench-Lab-7.csv", config=TINY)
    assert data.extra["device"] == "Lab-7"
    assert data.indices.tolist() == sorted(a.index for a in networks(COUNT, TINY))
    document = json.loads((folder / "blox-bench-Lab-7.json").read_text())
    assert document["prediction"] is None
    assert document["columns"]["graph_hash"] == data.hashes.tolist()
    assert set(document["columns"]["source"]) == {"measured"}


def test_a_name_that_cannot_be_published_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    opened = new_store(path)
    configuration = replace(MANY, device="my_phone")
    calibrate(opened, configuration)
    add_sessions(opened, networks(12, TINY), configuration)
    opened.close()
    unplaced = ["dataset", "write", "--measured-only", "-d", "my_phone"]
    write = [*unplaced, "-o", str(tmp_path)]
    refused(run(path, *write), "'my_phone' cannot be published", "--name")
    refused(run(path, *write, "--name", "../up"), "'../up' cannot be published", "letters, digits and dashes")
    refused(run(path, *unplaced, "-o", str(path)), f"--output {path}: is a file; name a folder")
    assert [each.name for each in tmp_path.iterdir()] == ["store.sqlite"]
    assert run(path, *unplaced, "-o", str(tmp_path / "new"), "--name", "my-phone").status == 0


def test_rows_stand_in_canonical_order(sidecar: dict[str, Any]) -> None:
    for index in (0, 1, 1012, 2024):
        assert sidecar["columns"]["graph_hash"][index] == Architecture.from_index(index, TINY).graph_hash


def test_what_whole_microseconds_round_away_of_short_latencies_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    configuration = replace(MANY, space=TINY.name)
    with new_store(path) as store:
        calibrate(store, configuration)
        add_sessions(store, networks(3, TINY), configuration, factor=0.01)
        fastest_ms = latencies(store, configuration)[0].latency_ms
    asked = ("dataset", "write", "-d", "made-up", "--measured-only", "-o", str(tmp_path))
    done = run(path, *asked)
    assert done.status == 0, done.stderr
    assert f".blox holds whole microseconds, here up to {0.0005 / fastest_ms:.1%} of a latency" in done.stderr
    assert ".blox holds" not in run(path, *asked, "--format", "csv").stderr

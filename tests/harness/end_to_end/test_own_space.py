"""From a definition's file to a predicted and searched space on this machine: real models, the real agent, ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories.chains import DEFINITION as LONG
from factories.own_spaces import DEFINITION, write_space
from rigs.commands import run
from rigs.short_campaigns import any_core, short_levels

from space import find_space

pytestmark = pytest.mark.converter


@pytest.fixture(autouse=True)
def short_sessions_on_any_core() -> Iterator[None]:
    with any_core(), short_levels():
        yield


def test_a_definition_is_measured_predicted_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file, store = str(write_space(tmp_path)), tmp_path / "store.sqlite"
    chosen = ("--space", file, "--runtime", "onnxruntime")
    done = run(store, "measure", *chosen, "--models", "sample:12", "--level", "quick", "--json")
    assert done.status == 0, done.stderr
    space = find_space(file)
    name, rows = space.name, json.loads(done.stdout)
    different = {network.graph_hash for network in space.sample(12)}  # two of them may be one network
    assert {row["graph_hash"] for row in rows} == different and len(rows) == len(different) >= 10
    assert {row["space"] for row in rows} == {name}
    assert all(row["latency_ms"] > 0 for row in rows)
    done = run(store, "predict", *chosen, "--doubtful", "--json")
    assert done.status == 0, done.stderr
    limit = round(sorted(row["latency_ms"] for row in rows)[9], 4)
    words = ("--doubtful", "-a", "synthetic", "-c", f"local<{limit:.4f}ms", "--json")
    found = json.loads(run(store, "search", *chosen, *words).stdout)
    assert found["networks"] and all(row["local_ms"] < limit for row in found["networks"])

    # Two spaces of one name are two: what is measured of one is nothing of the other.
    other = tmp_path / "other"
    other.mkdir()
    second = str(write_space(other, DEFINITION.replace("expansion = 2", "expansion = 3")))
    done = run(store, "predict", "--space", second, "--runtime", "onnxruntime", "--doubtful")
    assert (
        done.status == 2
        and "nothing is stored that fits" in done.stderr
        and find_space(second).name in done.stderr
    )

    # Where neither file nor what was kept of it is there, it is asked for.
    monkeypatch.setattr("space.registry._defined", {})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    done = run(store, "predict", "--runtime", "onnxruntime", "--doubtful")
    assert (
        done.status == 2
        and "is defined in a file of its own" in done.stderr
        and "--space FILE" in done.stderr
    )


@pytest.mark.long
def test_a_space_that_nothing_lists_is_measured_predicted_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file, store = tmp_path / "long.toml", tmp_path / "store.sqlite"
    file.write_text(LONG)
    chosen = ("--space", str(file), "--runtime", "onnxruntime")
    done = run(store, "measure", *chosen, "--models", "design:3", "--level", "quick", "--json")
    assert done.status == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 12 and all(row["latency_ms"] > 0 for row in rows)
    done = run(store, "predict", *chosen, "--doubtful", "--models", "sample:3", "--json")
    assert done.status == 0, done.stderr
    document = done.json
    assert document["measured_networks"] == 12 and document["unmeasured_places"] == []
    assert all(0 < row["low_ms"] <= row["latency_ms"] <= row["high_ms"] for row in document["networks"])
    limit = round(sorted(row["latency_ms"] for row in rows)[9], 4)
    words = ("--doubtful", "--objective", "macs", "-c", f"local<{limit:.4f}ms", "--json")
    done = run(store, "search", *chosen, *words)
    assert done.status == 0, done.stderr
    found = done.json
    assert found["space"]["networks"] == 4**12 and found["networks"]
    slow = [row for row in found["networks"] if not row["local_ms"] < limit]
    assert not slow, (limit, slow)

"""What is known of a space too large to list: networks as they were measured, accuracies by any name, and no other network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories.chains import additive_store, long_chain
from factories.reports import decode, payload_of
from rigs.commands import refused, run

from harness.prediction.space_prediction import SpaceTable, predict
from harness.query.accuracies import AccuracySource, load
from harness.store import Store
from space import Architecture
from space.errors import ConfigError, DatasetError, MissingMetric

SPACE = long_chain()
REPORT = ("report", "--space", SPACE.name)
UNMEASURED = "k1/skip/skip/skip/k1/skip/skip/skip/skip/skip/skip/k5"
SAME = "skip/k1/skip/skip/skip/k1/skip/skip/skip/skip/k5/skip"  # the same modules in the same order
ACCURACIES = f"network,seed,val_top1,test_top1\n{UNMEASURED},0,70,69\n{SAME},1,72,71\n{UNMEASURED},1,72,71\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("known") / "store.sqlite"
    path.write_bytes(additive_store("sample:40@20", SPACE))
    return path


@pytest.fixture(scope="module")
def predicted(store: Path) -> SpaceTable:
    with Store(str(store)) as opened:
        return predict(opened, device="made-up")


def write(folder: Path, text: str = ACCURACIES) -> str:
    path = folder / "own.csv"
    path.write_text(text)
    return str(path)


def test_accuracies_are_of_the_networks_named_by_whatever_names(tmp_path: Path) -> None:
    val, test = load(AccuracySource(paths=(write(tmp_path),)), SPACE)
    assert (val.metric, test.metric) == ("val_top1", "test_top1")
    assert val.indices is not None and len(val.indices) == len(val.values) == 1
    assert val.at(UNMEASURED) == val.at(SAME) == 71 and test.at(SAME) == 70
    assert val.at("/".join(["k1"] * 12)) is None
    assert (val.seeds, val.seed_counts.tolist(), val.seed_sd) == ((0, 1), [2], pytest.approx(2**0.5))
    (last,) = load(AccuracySource(paths=(write(tmp_path),), seeds=(1,), metric="test_top1"), SPACE)
    assert last.at(SAME) == 71
    both = ACCURACIES.replace(f"{SAME},1,72,71", f"{SAME},1,73,71")
    with pytest.raises(DatasetError, match=f"network {UNMEASURED} with seed 1 is the same network as {SAME}"):
        load(AccuracySource(paths=(write(tmp_path, both),)), SPACE)


def test_the_page_has_what_was_measured_and_what_has_an_accuracy_and_no_other_network(
    store: Path, predicted: SpaceTable, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    done = run(store, *REPORT, "-a", write(tmp_path), "-c", "made-up<4ms", "-o", str(path))
    assert done.status == 0, done.stderr
    assert "41 known of 16,777,216 networks" in done.stderr
    found = payload_of(path.read_text("utf-8"))
    space, cost = found["space"], found["costs"][0]
    assert (space["networks"], space["size"]) == (41, "16,777,216")
    assert [str(Architecture.from_index(int(index), SPACE)) for index in space["indices"]] == space["names"]
    rows = [predicted.at(name) for name in space["names"]]
    assert [row.source == "measured" for row in rows] == decode(cost["measured"]).astype(bool).tolist()
    assert sum(row.source == "measured" for row in rows) == 40
    for key in ("values", "low", "high"):
        shown = [row.latency_ms if key == "values" else getattr(row, f"{key}_ms") for row in rows]
        is_shown = decode(cost["measured"]).astype(bool) | (key == "values")
        np.testing.assert_allclose(decode(cost[key])[is_shown], np.array(shown)[is_shown], rtol=1e-6)
    (place,) = np.flatnonzero(~np.isnan(decode(found["accuracy"]["values"])))
    assert rows[place].source == "predicted" and decode(found["accuracy"]["values"])[place] == 71
    assert decode(cost["low"])[place] < rows[place].latency_ms < decode(cost["high"])[place]
    params = next(one for one in found["costs"] if one["name"] == "params")
    assert decode(params["values"]).tolist() == [SPACE[row.index].params for row in rows]
    assert dict(cost["conditions"])["networks"].startswith("40 measured, 1 predicted by ")
    assert found["notes"][0].startswith("41 of the 16,777,216 networks of the space are known here")


def test_without_accuracies_the_page_has_what_was_measured(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = run(store, *REPORT, "-o", str(path))
    assert done.status == 0, done.stderr
    found = payload_of(path.read_text("utf-8"))
    assert found["space"]["networks"] == 40 and found["title"] == f"{SPACE.name}: known networks on made-up"
    assert np.isnan(decode(found["accuracy"]["values"])).all()
    assert "40 measured, predictor " in dict(found["costs"][0]["conditions"])["networks"]


def test_a_network_unlike_any_measured_one_is_not_recommended(tmp_path: Path) -> None:
    few, path = tmp_path / "few.sqlite", tmp_path / "page.html"
    names = [str(network) for network in SPACE.sample(80, seed=1) if str(network.blocks[2]) != "k5"][:30]
    few.write_bytes(additive_store(",".join(names), SPACE))
    far, near = "/".join(["k5"] * 12), "/".join(["k1"] * 12)
    text = f"network,top1\n{far},80\n{near},70\n"
    done = run(few, *REPORT, "-a", write(tmp_path, text), "-o", str(path))
    assert done.status == 0, done.stderr
    found = payload_of(path.read_text("utf-8"))
    supported = dict(zip(found["space"]["names"], decode(found["supported"]).astype(bool), strict=True))
    assert not supported.pop(far)
    with Store(str(few)) as opened:
        table = predict(opened, device="made-up")
    assert supported == {name: table.at(name).supported for name in supported}
    assert any("site2:k5 is in no measured network" in note for note in found["notes"])


def test_what_a_page_of_some_networks_cannot_have_is_refused(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    own = write(tmp_path)
    for words, parts in (
        (
            ("-a", own, "--figure", str(tmp_path / "x.pdf")),
            ("--figure", "16,777,216 networks", "leave it out"),
        ),
        (("-a", "synthetic"), ("synthetic accuracies", "too many to list")),
        (("-a", own, "-a", own), ("one table of your own, or one folder of 'harness train'",)),
        (("-a", own, "--epoch", "last"), ("--epoch last", "at the best epoch")),
        (("--measured-only",), ("--measured-only", "leave it out")),
        (
            ("-a", own, "--show", "made-up:memory"),
            ("made-up:memory: of the 16,777,216", "show 'made-up', or"),
        ),
    ):
        refused(run(store, *REPORT, *words, "-o", str(page)), *parts)
        assert not page.exists()
    with pytest.raises(ConfigError, match="cannot be looked up; name the folder of 'harness train'"):
        load(AccuracySource(paths=("blox-base-0.blox",)), SPACE)
    with pytest.raises(MissingMetric):
        load(AccuracySource(paths=(own,), seeds=(7,)), SPACE)


def test_a_page_of_nothing_that_is_known_says_why(tmp_path: Path) -> None:
    few = tmp_path / "few.sqlite"
    few.write_bytes(additive_store("design:1", long_chain()))
    done = run(few, "report", "-o", str(tmp_path / "r.html"))
    refused(done, "4 networks are measured", "too few to fit a predictor, which needs 10", "harness measure")

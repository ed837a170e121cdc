"""Spaces of one's own, small and too large to list, from a trained teacher to a blockwise search within a limit.

Synthetic images, made-up latencies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from factories.chains import additive_store
from factories.own_spaces import DEFINITION, write_space
from factories.reports import payload_of
from factories.stores import MANY, add_sessions, calibrate, new_store, true_ratio
from rigs.commands import Done, refused, run

from harness.prediction.space_prediction import predict
from harness.store import Store
from search.blockwise.setting import known_accuracies
from search.distillation.block_library import load_library
from search.distillation.checkpoints import DistilProgress
from search.distillation.signatures import Signatures
from search.work.training_folder import seed_accuracies
from space import Architecture, Space, find_space
from space.accuracies.seeds import mean_over_seeds
from space.indexing import FloatArray, blocks_of, index_of

pytestmark = pytest.mark.training

TEACHER = "mb/ghost/mb/basic"
METHOD = ("search", "--method", "blockwise", "--device", "made-up")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the space, a trained teacher, and the library that is distilled from it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("own")
    file = str(write_space(folder, DEFINITION.replace("classes = 7", "classes = 10")))
    store, trained, library = folder / "none.sqlite", str(folder / "trained"), str(folder / "library")
    for words in (
        ("train", TEACHER, "--space", file, "--task", "synthetic:0:60/20/20", "--epochs", "1", "-o", trained),
        ("distill", trained, "-o", library, "--epochs", "1"),
    ):
        done = run(store, *words)
        assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def space(folder: Path) -> Space:
    return find_space(folder / "mine.toml")


@pytest.fixture(scope="module")
def store(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    configuration = replace(MANY, space=space.name)
    with new_store(path) as store:
        calibrate(store, configuration)
        add_sessions(store, list(space), configuration, sessions=2)
    return path


def search(store: Path, folder: Path, *more: str) -> Done:
    return run(store, *METHOD, "--library", str(folder / "library"), *more)


def test_a_library_holds_what_each_choice_has(folder: Path, space: Space) -> None:
    library = load_library(folder / "library")
    assert [[str(block) for block in stage.blocks] for stage in library.stages if stage] == [
        ["mb", "ghost"],
        ["mb", "ghost", "skip"],
        ["mb", "ghost", "skip"],
        ["basic", "skip"],
    ]
    network = Architecture.parse(TEACHER, space)
    assert library.assemble(network).keys() == library.teacher.weights.keys()


def test_a_search_ends_with_a_network_within_the_limit(folder: Path, space: Space, store: Path) -> None:
    latencies = {str(network): 5 * true_ratio(network) for network in space}
    limit = sorted(latencies.values())[len(space) // 2]
    few = ("--finalists", "4", "--fine-tune", "1", "--fine-tune-epochs", "1")
    done = search(store, folder, "--max-latency", f"{limit:.4f}ms", *few, "--json")
    assert done.status == 0, done.stderr
    (answer,) = done.json["runs"]
    assert latencies[answer["architecture"]] < 1.01 * limit
    assert done.json["space"] == space.name


@pytest.mark.long
def test_a_space_too_large_to_list_is_trained_distilled_and_searched(tmp_path: Path) -> None:
    definition = DEFINITION.replace("classes = 7", "classes = 10").replace("repeat = 2", "repeat = 12", 1)
    file = write_space(tmp_path, definition)
    space = find_space(file)
    assert len(space) == 2 * 3**12 * 2 > 2_000_000
    store, trained, library = (tmp_path / name for name in ("store.sqlite", "trained", "library"))
    store.write_bytes(additive_store("sample:60@20", space))
    with Store(str(store)) as opened:
        table = predict(opened, device="made-up")
    limit = min(row.latency_ms for row in table.measured.rows)
    for words in (
        ("train", "sample:2", "--space", str(file), "--task", "synthetic:0:20/10/10", "--epochs", "1", "-o", str(trained)),
        ("distill", str(trained), "-o", str(library), "--epochs", "1"),
    ):  # fmt: skip
        done = run(store, *words)
        assert done.status == 0, done.stderr
    words = (*METHOD, "--library", str(library), "--max-latency", f"{limit:.6f}ms", "--fine-tune", "0")
    found = run(store, *words, "--finalists", "4", "--json").json
    assert (found["finalists_chosen_by"], found["networks_within_limits"]) == ("integer program", None)
    assert len(found["candidates"]) == 4
    assert all(table.at(one["architecture"]).latency_ms <= limit for one in found["candidates"])
    (path,) = (library / "results").glob("signatures-*.json")
    scores = -Signatures.load(path).column("loss_change")
    best = max(found["candidates"], key=lambda one: one["synthetic_minus_loss_change_sum"])
    assert best["synthetic_minus_loss_change_sum"] == pytest.approx(
        _score(scores, Architecture.parse(best["architecture"], space)), abs=1e-9
    )
    better = [
        one
        for one in _neighbors(Architecture.parse(best["architecture"], space))
        if _score(scores, one) > best["synthetic_minus_loss_change_sum"] + 1e-9
    ]
    assert better, "the limit keeps networks of a larger sum out"
    assert all(table.at(one).latency_ms > limit for one in better)
    for words in (("search",), ("search", "compare")):
        done = run(store, *words, "--space", str(file), "-a", str(trained), "-c", "made-up<9ms")
        refused(done, f"{len(space):,} networks", "--method blockwise")
    page = tmp_path / "page.html"
    done = run(store, "report", "--space", str(file), "-a", str(trained), "-o", str(page))
    assert done.status == 0, done.stderr
    payload = payload_of(page.read_text("utf-8"))
    known = len(table.measured.rows) + 2  # those trained
    assert payload["space"]["networks"] == known > 60 and payload["accuracy"]["synthetic"]
    assert [one["label"] for one in payload["shown"]] == ["synthetic test_top1 (best epoch)"]


def test_a_network_trained_by_two_names_is_one_network_of_one_seed(
    folder: Path, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, trained = ("mb/mb/skip/basic", "mb/skip/mb/basic"), tmp_path / "trained"
    task = ("--space", str(folder / "mine.toml"), "--task", "synthetic:0:20/10/10", "--epochs", "1")
    done = run(tmp_path / "none.sqlite", "train", ",".join(names), *task, "-o", str(trained))
    assert done.status == 0, done.stderr
    first = min(Architecture.parse(name, space).index for name in names)
    library: Any = SimpleNamespace(teacher=SimpleNamespace(source="synthetic:0:20/10/10"), config=space)
    for most in (2_000_000, 10):  # listed, and too large to list
        monkeypatch.setattr("space.config.MAX_ENUMERABLE", most)
        known = known_accuracies(trained, library)
        assert known.indices.tolist() == [first]
        assert known.epochs is not None and known.epochs.tolist() == [2]
    found = mean_over_seeds(seed_accuracies(trained, config=space))
    assert (found.seeds, found.seed_counts.tolist(), found.seed_sd) == ((0,), [1], None)
    for path in trained.glob("blox-*"):
        path.unlink()  # as while others are trained
    page = tmp_path / "page.html"
    words = ("report", *task[:2], "-a", str(trained), "-o", str(page))
    done = run(tmp_path / "none.sqlite", *words)
    assert done.status == 0, done.stderr
    assert payload_of(page.read_text("utf-8"))["space"]["indices"] == [str(first)]


def _score(scores: FloatArray, network: Architecture) -> float:
    return float(scores[np.arange(network.config.stages), blocks_of(network.config, network.index)].sum())


def _neighbors(network: Architecture) -> list[Architecture]:
    """Return all networks that differ in one or two choices."""
    config, blocks = network.config, blocks_of(network.config, network.index)
    found = {blocks}
    for _ in range(2):
        found |= {
            (*one[:stage], other, *one[stage + 1 :])
            for one in found
            for stage, places in enumerate(config.choices)
            for other in places
        }
    return [Architecture.from_index(index_of(config, one), config) for one in found]


def test_a_distillation_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("distill", str(folder / "trained"), "-o", str(tmp_path / "library"), "--epochs", "2")
    short = (*words, "--stage", "2", "--stage", "3")
    keep, epochs = DistilProgress.keep, list[int]()

    def counted(progress: DistilProgress, *state: Any) -> None:
        keep(progress, *state)
        epochs.append(len(epochs))
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(DistilProgress, "keep", counted)
    assert run("sqlite://", *short).status == 130
    done = run("sqlite://", *short)
    assert done.status == 0, done.stderr
    assert len(epochs) == 4  # of two stages for two epochs, each computed once
    found = load_library(tmp_path / "library")
    assert found.missing == (0, 1) and [len(one.history) for one in found.stages if one] == [2, 2]


def test_a_library_of_another_definition_is_refused(folder: Path, store: Path, tmp_path: Path) -> None:
    definition = (folder / "mine.toml").read_text()
    other = write_space(tmp_path, definition.replace("expansion = 2", "expansion = 3"))
    done = search(store, folder, "--space", str(other), "--max-latency", "9ms")
    refused(
        done, f"is of space '{find_space(folder / 'mine.toml').name}'", f"names '{find_space(other).name}'"
    )
    code = folder / "own_ops.py"
    before = code.read_text()
    try:
        code.write_text(before.replace("torch.relu", "torch.sigmoid"))
        for words in (
            (*METHOD, "--library", str(folder / "library"), "--max-latency", "9ms"),
            ("distill", str(folder / "trained"), "-o", str(tmp_path / "library")),
        ):
            refused(run(store, *words), "own_ops:ghost makes another module now than when the space was read")
    finally:
        code.write_text(before)

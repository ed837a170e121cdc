"""Trained networks as files: what was trained reads back, from its file or from the folder it was trained in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from factories.tasks import NETWORK, RECIPE, TINY, made_task

from search.distillation.block_library import load_library
from search.training.published_files import write_trainings
from search.training.sealed import content_digest, read_sealed, seal, unseal, write_sealed
from search.training.trained import trained_digest
from search.training.trained_files import (
    KIND,
    load_trained,
    save_trained,
    trained_content,
    trained_from,
    write_weights,
)
from search.training.training import Trained, train
from space import Architecture
from space.errors import ConfigError
from space.networks import build_network
from space.state_notes import noted_architecture

pytestmark = pytest.mark.training

SHORT = dataclasses.replace(RECIPE, epochs=2)
TASK = dataclasses.replace(made_task(train=32, val=10, test=10), source="synthetic:7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training."""
    folder = tmp_path_factory.mktemp("training")
    train(NETWORK, TASK, SHORT, folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    return train(NETWORK, TASK, SHORT, folder)


def assert_equal(found: Trained, trained: Trained) -> None:
    for name in ("architecture", "task", "source", "synthetic", "recipe", "test", "start", "guide"):
        assert getattr(found, name) == getattr(trained, name), name
    assert found.environment == trained.environment
    times = [(epoch.train_ns, epoch.val_ns) for epoch in trained.history]
    assert found.history == trained.history
    assert [(epoch.train_ns, epoch.val_ns) for epoch in found.history] == times
    assert found.weights.keys() == trained.weights.keys()
    assert all(torch.equal(found.weights[name], trained.weights[name]) for name in trained.weights)
    assert trained_digest(found) == trained_digest(trained)


def test_a_file_and_the_trainings_folder_give_the_trained_network(
    trained: Trained, folder: Path, tmp_path: Path
) -> None:
    assert trained.source == "synthetic:7"
    save_trained(tmp_path / "new" / "teacher.harness", trained)
    for path in (tmp_path / "new" / "teacher.harness", folder):
        assert_equal(load_trained(path), trained)


def test_files_and_folders_are_named_by_text_too(trained: Trained, tmp_path: Path) -> None:
    save_trained(f"{tmp_path}/teacher.harness", trained)
    assert_equal(load_trained(f"{tmp_path}/teacher.harness"), trained)
    train(NETWORK, TASK, SHORT, f"{tmp_path}/training")
    assert load_trained(f"{tmp_path}/training").history == trained.history
    assert write_trainings(f"{tmp_path}/published", [trained]).paths[0].is_file()
    write_sealed(f"{tmp_path}/one", "kind", {"a": 1})
    assert read_sealed(f"{tmp_path}/one", "kind") == {"a": 1}
    with pytest.raises(ConfigError, match="nowhere: is no block library"):
        load_library("nowhere")


def test_what_a_notebook_shows_holds_no_weights_and_no_pixels(trained: Trained) -> None:
    assert len(repr(trained)) < 3000 and "recipe=Recipe(" in repr(trained)
    assert repr(TASK.train) == "<Images (32, 8, 8, 3)>" and len(repr(TASK)) < 600


def test_what_a_worker_sends_is_the_trained_network(trained: Trained) -> None:
    content = trained_content(trained)
    assert content["space"] == "tiny" and content["architecture"] == "mbconv"
    assert_equal(trained_from(unseal(KIND, seal(KIND, content), "it")), trained)


def test_the_digest_names_network_and_weights_and_nothing_else(trained: Trained) -> None:
    digest = trained_digest(trained)
    named = dataclasses.replace(trained, task="synthetic others", environment={}, history=trained.history[:1])
    assert trained_digest(named) == digest
    weights = {name: tensor.clone() for name, tensor in trained.weights.items()}
    weights["head.linear.bias"][0] += 1
    others = (
        dataclasses.replace(trained, weights=weights),
        dataclasses.replace(trained, architecture=Architecture.parse("conv", TINY)),
        dataclasses.replace(
            trained, architecture=Architecture.parse("mbconv", dataclasses.replace(TINY, name="small"))
        ),
    )
    assert len({digest, *map(trained_digest, others)}) == 4


def changed(trained: Trained, **changes: Any) -> dict[str, Any]:
    return {**trained_content(trained), **changes}


def test_content_that_is_no_trained_network_is_refused_by_what_is_wrong(trained: Trained) -> None:
    weights = dict(trained.weights)
    short = {name: tensor for name, tensor in weights.items() if name != "head.linear.bias"}
    wide = {**weights, "head.linear.bias": torch.zeros(7)}
    for content, message in (
        ({}, "IT: has no 'space'"),
        (changed(trained, recipe=3), "IT: .* recipe is int, not text"),
        (
            changed(trained, recipe='{"epochs": 3, "sharpness": 1}'),
            "IT: is no trained network of this version: recipe has no 'sharpness'",
        ),
        (changed(trained, space="blox"), "space is 'blox', and 'tiny' in its own description"),
        (changed(trained, space_config={"name": "tiny"}), "IT: is no trained network of this version"),
        (changed(trained, architecture="warp"), "stage 0 has no block 'warp'"),
        (changed(trained, history=[]), "its history is empty"),
        (changed(trained, test=None), "IT: is no trained network"),
        (changed(trained, weights=short), "head.linear.bias is not there; take weights of this"),
        (
            changed(trained, weights=wide),
            r"head.linear.bias is of shape \(7,\), and \(6,\) in the network",
        ),
        (
            changed(trained, architecture="conv"),
            "weights are not those of conv of space 'tiny': .*and [0-9]+ more",
        ),
        (changed(trained, weights={**weights, "tail": torch.ones(1)}), "tail is of no layer of the network"),
    ):
        with pytest.raises(ConfigError, match=message):
            trained_from(content, "IT")


def test_a_training_that_has_not_finished_is_no_trained_network(tmp_path: Path) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(NETWORK, TASK, SHORT, tmp_path, on_epoch=stop)
    with pytest.raises(ConfigError, match="the training has not finished: 1 epoch is done; run it again"):
        load_trained(tmp_path)


def test_other_files_and_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no checkpoint.harness; name a trained network's file, or"):
        load_trained(tmp_path)
    with pytest.raises(ConfigError, match=r"no trained network .* headed 'harness training checkpoint 1'"):
        load_trained(folder / "checkpoint.harness")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_trained(tmp_path / "absent")


def test_written_weights_name_their_network_and_load_as_ever(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        network = build_network(NETWORK)
    path, weights = (
        tmp_path / "new" / "weights.pt",
        {name: value.clone() for name, value in network.state_dict().items()},
    )
    digest = write_weights(path, weights, NETWORK)
    before = path.stat().st_mtime_ns
    assert write_weights(path, weights, NETWORK) == digest == content_digest(weights)
    assert path.stat().st_mtime_ns == before  # the same weights are not written again
    found = torch.load(path, weights_only=True)
    noted = noted_architecture(found)
    assert noted == NETWORK and noted is not None and noted.config == TINY
    network.load_state_dict({name: torch.zeros_like(value) for name, value in found.items()})
    network.load_state_dict(found)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())

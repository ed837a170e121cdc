"""Networks of a space of one's own are trained, kept, published and exported as others are."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.own_spaces import CANDIDATES, DEFINITION, lone_space, own_space, write_space
from factories.tasks import PLAIN, RECIPE

from exporters import Weights
from exporters.networks import torch_network
from search.training import epochs
from search.training.batched_training import train_together
from search.training.images import Task
from search.training.published_files import training_datasets, write_trainings
from search.training.stacked_modules import stack_networks
from search.training.synthetic_images import make_synthetic_task
from search.training.trained_files import load_trained, save_trained, write_weights
from search.training.training import Trained, train
from space import Architecture, define, load_space
from space.dataset import read_dataset
from space.errors import ConfigError
from space.networks import build_network

pytestmark = pytest.mark.training


@cache
def network_13() -> Architecture:
    return own_space()[13]


@cache
def small_task() -> Task:
    return dataclasses.replace(make_synthetic_task(own_space(), 1, (4, 2, 2)), source="synthetic:1:4/2/2")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(network_13(), small_task(), dataclasses.replace(RECIPE, epochs=2))


def test_a_training_is_kept_with_its_space(trained: Trained, tmp_path: Path) -> None:
    save_trained(tmp_path / "one.harness", trained)
    found = load_trained(tmp_path / "one.harness")
    assert found.architecture == network_13() and found.test == trained.test
    assert found.architecture.config.chain == own_space().chain


def test_its_weights_are_exported_with_batch_norm_folded(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_weights(path, trained.weights, network_13())
    network = build_network(network_13()).eval()
    network.load_state_dict(dict(trained.weights))
    x = torch.randn(2, 3, 16, 16)
    exported = torch_network(network_13(), Weights.from_checkpoint(path, network_13()))
    with torch.no_grad():
        assert torch.allclose(exported(x), network(x), atol=1e-5)
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in exported.modules())


def test_published_files_hold_its_rows_under_the_definitions_digest(trained: Trained, tmp_path: Path) -> None:
    write_trainings(tmp_path, [trained])
    (base,) = tmp_path.glob("blox-base-*")
    found = read_dataset(base, config=own_space())
    (index,) = found.indices.tolist()  # the first of the networks that are this one
    assert own_space()[index].graph_hash == network_13().graph_hash and index <= network_13().index
    assert np.isclose(found.columns["test_top1"][0], trained.test.top1, atol=1e-3)
    changed = load_space(write_space(tmp_path, candidates=CHANGED))
    with pytest.raises(ConfigError, match=f"has a search_space other than {changed.name!r}"):
        read_dataset(base, config=changed)


def test_of_networks_that_are_one_a_file_has_one_row(trained: Trained) -> None:
    config = own_space()
    by_hash: dict[str, list[int]] = {}
    for network in config:
        by_hash.setdefault(network.graph_hash, []).append(network.index)
    first, second = next(indices for indices in by_hash.values() if len(indices) == 2)
    both = [dataclasses.replace(trained, architecture=config[index]) for index in (second, first)]
    assert training_datasets(both)["base"].indices.tolist() == [first]


def test_networks_trained_together_are_those_trained_alone(trained: Trained) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2)
    other = own_space()[3]
    together = train_together([network_13(), other], small_task(), recipe)
    for one, alone in zip(together, (trained, train(other, small_task(), recipe)), strict=True):
        assert one.architecture == alone.architecture
        assert all(
            torch.allclose(one.weights[name], alone.weights[name], atol=1e-5) for name in alone.weights
        )


@pytest.mark.parametrize("together", [False, True])
def test_gray_images_are_read_channels_first(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of one channel `contiguous` keeps strides that torch reads as channels last, and then a gradient writes past its memory.
    candidates = {"conv": "conv", "separable": "separable"}
    chain: dict[str, Any] = {"stem": {"module": "conv", "channels": 4}, "head": "linear"}
    chain["sites"] = [{"candidates": [*candidates], "channels": 2, "stride": 2}]
    config = define("gray", image_size=8, classes=2, in_channels=1, candidates=candidates, **chain)
    seen = []
    real = torch.nn.Conv2d.forward

    def forward(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        seen.append((x.shape[1], x.stride()))
        return real(conv, x)

    task, recipe = (
        make_synthetic_task(config, 1, (4, 2, 2)),
        dataclasses.replace(PLAIN, epochs=1, channels_last=True),
    )
    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    found = train_together([config[0]], task, recipe)[0] if together else train(config[0], task, recipe)
    assert {stride for channels, stride in seen if channels == 1} == {(64, 64, 8, 1)}
    assert found.recipe == dataclasses.replace(recipe, channels_last=False)  # what ran


def test_a_module_that_writes_into_its_images_leaves_those_of_others(tmp_path: Path) -> None:
    writing = CANDIDATES + STEM
    config = load_space(write_space(tmp_path, DEFINITION.replace('"conv"', '"own_ops:stem"'), writing))
    networks = [build_network(config[index]).eval() for index in (0, 1)]
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        alone = torch.stack([network(x.clone()) for network in networks], 1)
        together = stack_networks(networks, torch.device("cpu"))(x)
        one_after_another = [epochs.network_logits(network, x, RECIPE) for network in networks]
    assert torch.equal(together, alone) and torch.equal(torch.stack(one_after_another, 1), alone)


def test_a_last_batch_of_one_image_is_refused_where_any_batch_norm_cannot_take_it() -> None:
    refused = r"^recipe: batch = 5 leaves a batch of one of \d+ images, and a BatchNorm of network squeeze of space 'lone"
    config, task = lone_space(), make_synthetic_task(lone_space(), 1, (3, 1, 1))
    recipe = dataclasses.replace(PLAIN, epochs=1, batch=5)
    assert len(task.train) % 5 == 1
    for call in (lambda: train(config[1], task, recipe), lambda: train_together(list(config), task, recipe)):
        with pytest.raises(ConfigError, match=refused):
            call()
    for size in (4, 1):  # without a BatchNorm it is taken, whatever the size
        assert train(lone_space(size)[0], task, recipe).history


STEM = """

class Stem(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1)

    def forward(self, x):
        return self.conv(x.mul_(0.5))


def stem(channels_in, channels_out, stride):
    return Stem(channels_in, channels_out, stride)
"""
CHANGED = """
from torch import nn


def ghost(channels_in, channels_out, stride, *, ratio=2):
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1)
"""

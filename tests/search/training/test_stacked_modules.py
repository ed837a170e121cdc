"""Many networks or blocks as one module: each behaves and learns as it would alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from factories.teachers import few_digits
from torch import nn
from torch.nn.functional import cross_entropy

from search.training.augment import NONE
from search.training.batched_training import train_together
from search.training.recipe import Recipe
from search.training.stacked_modules import StackedNetworks, StackedStages, repeated, stack
from space import MINI, TINY, Architecture
from space.errors import ConfigError, HarnessError
from space.networks import Stage, build_network

pytestmark = pytest.mark.training

ALL = [Architecture.from_index(i * 46, TINY) for i in range(45)]  # every block in both stages
SOME = ALL[::11]
ONE_EPOCH = Recipe(epochs=1, batch=64, learning_rate=0.01, augmentation=NONE)


def networks(architectures: list[Architecture]) -> list[nn.Module]:
    torch.manual_seed(0)
    made = [build_network(one).double() for one in architectures]
    for network in made:  # running means that differ from those of a fresh network
        network(torch.randn(8, 3, 8, 8, dtype=torch.float64))
    return made


@pytest.mark.long
def test_networks_of_every_block_answer_stacked_as_they_do_alone() -> None:
    alone = networks(ALL)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    stacked = StackedNetworks(alone)
    for mode in (True, False):
        for network in (stacked, *alone):
            network.train(mode)
        wanted = torch.stack([network(images) for network in alone], 1)
        torch.testing.assert_close(stacked(images), wanted, rtol=1e-6, atol=1e-7)


def test_networks_trained_stacked_become_what_each_becomes_alone() -> None:
    alone = networks(SOME[::2])
    stacked = StackedNetworks(alone)
    labels = torch.arange(16) % 10
    knobs = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
    whole, each = (
        torch.optim.SGD(stacked.parameters(), **knobs),
        [torch.optim.SGD(n.parameters(), **knobs) for n in alone],
    )
    for seed in range(2):
        images = torch.randn(16, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        logits = stacked(images)
        whole.zero_grad()
        sum(cross_entropy(logits[:, i], labels) for i in range(len(alone))).backward()
        whole.step()
        for network, optimizer in zip(alone, each, strict=True):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    for network, state in zip(alone, stacked.unstacked(), strict=True):
        wanted = network.state_dict()
        assert list(state) == list(wanted)
        for name, tensor in wanted.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-7, atol=1e-9)


def test_stages_on_one_input_answer_as_each_does_alone() -> None:
    torch.manual_seed(1)
    stages = [Stage(block, 8).double() for block in TINY.blocks]
    x = torch.randn(4, 8, 8, 8, dtype=torch.float64)
    found = StackedStages(stages)(repeated(x, len(stages))).view(4, len(stages), 16, 4, 4)
    for place, stage in enumerate(stages):
        torch.testing.assert_close(found[:, place], stage(x), rtol=1e-9, atol=1e-9)


def test_a_layer_that_cannot_be_stacked_is_named() -> None:
    with pytest.raises(TypeError, match="LayerNorm"):
        stack(nn.LayerNorm(4), [nn.LayerNorm(4).state_dict()] * 2)


def test_what_cannot_be_trained_together_is_named(tmp_path) -> None:
    task = few_digits()
    with pytest.raises(ConfigError, match="no network"):
        train_together([], task, ONE_EPOCH)
    with pytest.raises(ConfigError, match="'tiny' and conv/conv of 'mini'"):
        train_together([SOME[0], Architecture.parse("conv/conv", MINI)], task, ONE_EPOCH)
    with pytest.raises(HarnessError, match=rf"{SOME[0]}, epoch 1.*lower learning_rate".replace("+", r"\+")):
        train_together(SOME[:1], task, replace(ONE_EPOCH, learning_rate=1e30, batch=32))
    train_together(SOME[:2], task, ONE_EPOCH, tmp_path)
    with pytest.raises(ConfigError, match="another training: architecture"):
        train_together(SOME[2:4], task, ONE_EPOCH, tmp_path)

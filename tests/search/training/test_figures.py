"""Figures of trainings stay those of older versions: an epoch's order, augmentation, steps and choice of weights are the same.

They are the same to 1e-4 with the instructions of AVX-512, AVX2 and neither, on one thread and on two.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from search.training.augment import MILD
from search.training.batched_training import train_together
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import Trained
from search.training.training import train
from space import TINY, Architecture

pytestmark = pytest.mark.training

CLOSE = 2e-4
TASK = load_task("synthetic:3:40/10/10", TINY)
NETWORKS = [Architecture.parse(text, TINY) for text in ("conv/bconv", "conv/conv")]
LAST = Recipe(epochs=3, batch=32, learning_rate=0.05, augmentation=MILD, channels_last=True)
NESTEROV = Recipe(epochs=2, batch=50, learning_rate=0.02, nesterov=True, label_smoothing=0.1, seed=5)
TOGETHER = Recipe(epochs=3, batch=32, learning_rate=0.05, augmentation=MILD, seed=4)


def losses(trained: Trained) -> list[float]:
    """Return the losses of each epoch, learning and validation, then that of the test."""
    return [loss for one in trained.history for loss in (one.train.loss, one.val.loss)] + [trained.test.loss]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Compute in fp64, in which processors round alike enough: epochs of fp32 magnify what they do otherwise a millionfold."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        (LAST, [2.275804, 3.333873, 2.027486, 2.267259, 1.803759, 1.806383, 1.683288]),
        (NESTEROV, [2.372258, 2.322637, 2.299879, 2.323844, 2.322289]),
    ],
)
def test_a_network_learns_as_it_did(recipe: Recipe, wanted: list[float]) -> None:
    assert losses(train(NETWORKS[0], TASK, recipe)) == pytest.approx(wanted, rel=CLOSE)


@pytest.mark.slow
def test_networks_learn_together_as_they_did() -> None:
    wanted = [
        [2.327532, 2.187368, 2.041740, 2.390027, 1.805832, 1.732619, 1.706137],
        [2.285032, 2.168562, 2.041440, 3.523940, 1.909812, 1.922191, 2.121155],
    ]
    found = [losses(one) for one in train_together(NETWORKS, TASK, TOGETHER)]
    assert found == [pytest.approx(one, rel=CLOSE) for one in wanted]

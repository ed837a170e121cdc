"""Figures of trainings stay those of older versions: an epoch's order, augmentation, steps and choice of weights are the same.

They are of torch 2 on two CPUs, one with AVX-512 and one with AVX2, which round otherwise; some epochs magnify that.
"""

from __future__ import annotations

import pytest

from search.training.augment import MILD
from search.training.batched_training import train_together
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import Trained
from search.training.training import train
from space import TINY, Architecture

pytestmark = pytest.mark.training

TASK = load_task("synthetic:3:40/10/10", TINY)
NETWORKS = [Architecture.parse(text, TINY) for text in ("conv/bconv", "conv/conv", "bconv/bconv")]
LAST = Recipe(epochs=3, batch=32, learning_rate=0.05, augmentation=MILD, channels_last=True)
NESTEROV = Recipe(epochs=2, batch=50, learning_rate=0.02, nesterov=True, label_smoothing=0.1, seed=5)
TOGETHER = Recipe(epochs=3, batch=32, learning_rate=0.05, augmentation=MILD, seed=4)


def losses(trained: Trained) -> list[float]:
    """Return the losses of each epoch, learning and validation, then that of the test."""
    return [loss for one in trained.history for loss in (one.train.loss, one.val.loss)] + [trained.test.loss]


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        (
            LAST,
            [
                [2.34297, 2.87699, 1.99809, 2.44502, 1.72822, 1.68175, 1.59193],
                [2.33883, 2.55038, 1.94201, 2.23057, 1.67308, 1.61407, 1.55091],
            ],
        ),
        (
            NESTEROV,
            [[2.35119, 2.31019, 2.28053, 2.31410, 2.30965], [2.35095, 2.31021, 2.28743, 2.30363, 2.29725]],
        ),
    ],
)
def test_a_network_learns_as_it_did(recipe: Recipe, wanted: list[list[float]]) -> None:
    found = losses(train(NETWORKS[0], TASK, recipe))
    assert any(found == pytest.approx(one, rel=1e-3) for one in wanted), found


@pytest.mark.long
@pytest.mark.slow
def test_networks_learn_together_as_they_did() -> None:
    found = [losses(one) for one in train_together(NETWORKS, TASK, TOGETHER)]
    wide = [
        [2.27610, 8.23360, 2.08374, 3.40027, 1.97247, 2.10644, 1.95698],
        [2.26873, 4.54941, 2.02427, 3.18752, 1.88909, 1.93946, 1.83163],
        [2.31665, 2.23046, 2.06090, 1.99904, 1.83426, 1.79889, 1.69705],
    ]
    narrow = [
        [2.27635, 8.10844, 2.08210, 3.82683, 1.99953, 2.17229, 2.02460],
        [2.26875, 4.54700, 2.02721, 3.11472, 1.88795, 1.93829, 1.84852],
        [2.32061, 2.22129, 2.05832, 1.99358, 1.90682, 1.83343, 1.73179],
    ]
    assert any([pytest.approx(one, rel=1e-3) for one in wanted] == found for wanted in (wide, narrow)), found

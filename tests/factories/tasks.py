"""Tiny tasks and networks for tests of training: made-up images whose classes a small network can tell apart."""

from __future__ import annotations

import dataclasses

import numpy as np

from search.training.augment import NONE
from search.training.images import Images, Task
from search.training.recipe import Recipe
from space import Architecture, SpaceConfig

TINY = SpaceConfig(name="tiny", ops=("conv", "mbconv", "bconv"), widths=(4,), image_size=8, classes=6)
NETWORK = Architecture.parse("mbconv", TINY)
RECIPE = Recipe(epochs=3, batch=32, learning_rate=0.05, seed=1)
PLAIN = dataclasses.replace(RECIPE, augmentation=NONE)  # a class is a place: crops and flips would hide it


def made_task(
    train: int = 80, val: int = 50, test: int = 40, seed: int = 0, name: str = "synthetic blobs"
) -> Task:
    """Return noisy images of which each class is bright in another place; 80 is no multiple of the recipe's batch."""
    random = np.random.default_rng(seed)

    def some(count: int) -> Images:
        labels = random.integers(0, TINY.classes, count)
        images = random.integers(0, 100, (count, 8, 8, 3))
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[row * 2 : row * 2 + 3, column * 4 : column * 4 + 4] += 150
        return Images(images=images.astype(np.uint8), labels=labels.astype(np.int64))

    return Task(
        name=name,
        train=some(train),
        val=some(val),
        test=some(test),
        classes=TINY.classes,
        mean=(0.4, 0.4, 0.4),
        std=(0.25, 0.25, 0.25),
        synthetic=True,
        origin="drawn by a test",
    )

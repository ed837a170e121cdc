"""Teachers and images for tests: real networks of the tiny space, trained or fresh, on few digits."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from search.training.augment import NONE
from search.training.images import Images, Task
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import Trained
from search.training.training import train
from space import TINY, Architecture

TEACHER = "conv-bconv+in/mbconv"


@cache
def few_digits(train_count: int = 128, val_count: int = 64, test_count: int = 64) -> Task:
    """Return a part of the digits in the tiny space's size."""
    whole = load_task("digits", TINY)

    def first(images: Images, count: int) -> Images:
        return Images(images=np.array(images.images[:count]), labels=np.array(images.labels[:count]))

    return Task(
        name="few-digits",
        train=first(whole.train, train_count),
        val=first(whole.val, val_count),
        test=first(whole.test, test_count),
        classes=whole.classes,
        mean=whole.mean,
        std=whole.std,
        synthetic=False,
        origin=whole.origin,
        source="few-digits",
    )


@cache
def made_teacher(text: str = TEACHER, epochs: int = 3) -> Trained:
    """Return a network trained for some epochs on a few more digits: enough to be far from chance."""
    torch.set_num_threads(1)
    recipe = Recipe(epochs=epochs, batch=32, learning_rate=0.05, augmentation=NONE)
    return train(Architecture.parse(text, TINY), few_digits(256), recipe)

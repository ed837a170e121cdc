"""A space, images and a teacher so small that a distillation takes a moment: nothing is trained, all is drawn from a seed."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import torch

from search.distillation.block_library import StageLibrary
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import fresh_stage
from search.training.augment import NONE
from search.training.history import Epoch, Figures
from search.training.images import HeldOut, Images, Task
from search.training.recipe import Recipe
from search.training.trained import Trained, trained_digest
from space import Architecture, SpaceConfig
from space.networks import build_network
from space.stages import SpaceStage

SMALL = SpaceConfig(name="small", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=4)
BLOCKS = {str(block): block for block in SMALL.blocks}
TEACHER = "conv-mbconv/mbconv"
RECIPE = DistilRecipe(epochs=1, batch=20)
TEXTS = ("mbconv", "conv-conv+out", "conv")  # not in canonical order


@cache
def small_task(seed: int = 0, counts: tuple[int, int, int] = (40, 21, 17)) -> Task:
    """Return a task of noise: synthetic train, val and test images with classes at random."""
    random = np.random.default_rng(seed)

    def some(count: int) -> Images:
        return Images(
            images=random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            labels=random.integers(0, SMALL.classes, count),
        )

    train, val, test = map(some, counts)
    return Task(
        name="synthetic noise",
        train=train,
        val=val,
        test=test,
        classes=SMALL.classes,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.25),
        synthetic=True,
        origin="drawn by a test",
        source="synthetic noise",
    )


@cache
def small_task_apart() -> Task:
    """Return the task with other images to profile blocks and to re-score networks."""
    other = small_task(seed=1)
    held_out = HeldOut(seed=0, profile=other.val, rescore=other.test)
    return dataclasses.replace(small_task(), held_out=held_out)


def pixels(images: np.ndarray) -> torch.Tensor:
    """Return images as the task normalizes them, (n, 3, 8, 8)."""
    scaled = (images / 255 - small_task().mean) / small_task().std
    return torch.tensor(scaled, dtype=torch.float32).permute(0, 3, 1, 2)


@cache
def small_teacher(text: str = TEACHER, seed: int = 0, config: SpaceConfig = SMALL) -> Trained:
    """Return a network of drawn weights as if it were trained; its running means are those of images drawn too."""
    architecture = Architecture.parse(text, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(architecture)
        for _ in range(20):
            network(torch.randn(16, 3, config.image_size, config.image_size))
    figures = Figures(images=2, loss=1.0, first=1, among_five=2)
    epoch = Epoch(number=1, rate=0.1, train=figures, val=figures, train_ns=1, val_ns=1)
    return Trained(
        architecture=architecture,
        task="synthetic noise",
        synthetic=True,
        recipe=Recipe(epochs=1, augmentation=NONE),
        history=(epoch,),
        test=figures,
        weights=network.state_dict(),
        environment={},
    )


def drawn_stage(stage: int, texts: tuple[str, ...] = TEXTS, **changes: Any) -> StageLibrary:
    """Return blocks of fresh weights as if they were distilled."""
    blocks = tuple(BLOCKS[text] for text in texts)
    found = StageLibrary(
        config=SMALL,
        teacher=trained_digest(small_teacher()),
        task="synthetic noise",
        source="synthetic noise",
        stage=stage,
        recipe=RECIPE,
        blocks=blocks,
        weights=tuple(fresh_stage(RECIPE, SpaceStage(SMALL, stage), block).state_dict() for block in blocks),
        history=np.full((1, len(blocks)), 0.5),
        mse=np.arange(1.0, 1 + len(blocks)),
        nsr=np.arange(10.0, 10 + len(blocks)),
        seconds=1.0,
        environment={"threads": "1"},
    )
    return dataclasses.replace(found, **changes)

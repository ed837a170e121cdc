"""A block library of random weights, never distilled, and a store of made-up latencies of its space: for commands to search."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rigs.made_files import once_a_run

from factories.stores import MANY, add_sessions, calibrate, new_store
from search.distillation.block_library import BlockLibrary, StageLibrary, save_stage
from search.distillation.recipe import DistilRecipe
from search.training.augment import NONE
from search.training.epochs import judge
from search.training.history import Epoch
from search.training.published_files import write_trainings
from search.training.recipe import Recipe
from search.training.sealed_head import TEACHER
from search.training.tasks import load_task
from search.training.trained import Trained, environment_of, trained_digest
from search.training.trained_files import save_trained
from space import TINY, Architecture, Block, SpaceConfig
from space.networks import Stage, build_network
from space.segments import all_segments

SOURCE = "synthetic:0:6/4/4"  # images of each class
APART = "synthetic:0:10/30/10+split:0:100/100/100"  # the same, an image of each use alone
# Few, and without the op that is slow to compute.
BLOCKS = tuple(block for block in TINY.blocks if "bconv" not in (block.op0, block.op1))[::4]
DEVICE = replace(MANY, space="tiny")


def made_teacher(
    name: str = "conv/conv", seed: int = 0, *, config: SpaceConfig = TINY, source: str = SOURCE
) -> Trained:
    """Return a teacher of random weights with honest figures of what they are worth."""
    architecture, task = Architecture.parse(name, config), load_task(source, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(architecture)
    val, test = judge(network, task.val, task), judge(network, task.test, task)
    return Trained(
        architecture=architecture,
        task=task.name,
        synthetic=task.synthetic,
        recipe=Recipe(epochs=1, batch=20, learning_rate=0.02, augmentation=NONE, seed=seed),
        history=(Epoch(number=1, rate=0.02, train=val, val=val, train_ns=1, val_ns=1),),
        test=test,
        weights=network.state_dict(),
        environment={"made": "by a test"},
        source=task.source,
    )


def made_stage(
    teacher: Trained, stage: int, blocks: Sequence[Block] = BLOCKS, *, seed: int = 0
) -> StageLibrary:
    """Return a stage of random blocks, said to be distilled for an epoch."""
    config = teacher.architecture.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage + 100 * seed)
        weights = tuple(Stage(block, config.widths[stage]).state_dict() for block in blocks)
    ones = np.ones(len(blocks))
    return StageLibrary(
        config=config,
        teacher=trained_digest(teacher),
        task=teacher.task,
        source=teacher.source,
        stage=stage,
        recipe=DistilRecipe(epochs=1, batch=20, seed=seed),
        blocks=tuple(blocks),
        weights=weights,
        history=ones[None],
        mse=ones,
        nsr=ones,
        seconds=1.0,
        environment={"made": "by a test"},
    )


@functools.cache
def made_library(source: str = SOURCE) -> BlockLibrary:
    """Return a library of all stages, of images of a source."""
    teacher = made_teacher(source=source)
    return BlockLibrary(
        teacher=teacher, stages=tuple(made_stage(teacher, stage) for stage in range(TINY.stages))
    )


def save_library(folder: Path, library: BlockLibrary) -> None:
    """Write a library's teacher and its distilled stages."""
    save_trained(folder / TEACHER, library.teacher)
    for one in library.stages:
        if one is not None:
            save_stage(folder, one)


def write_library(folder: Path, stages: Sequence[int] = (0, 1), *, source: str = SOURCE) -> Path:
    """Write a library of which only some stages are there."""
    whole = made_library(source)
    kept = tuple(one if place in stages else None for place, one in enumerate(whole.stages))
    save_library(folder, replace(whole, stages=kept))
    return folder


@once_a_run
def tiny_store(segments: bool = False) -> bytes:
    """Return the file of a store: the networks of the library's blocks, all of them, on a made-up device."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = new_store(path)
        calibrate(store, DEVICE)
        networks = [Architecture(blocks=both, config=TINY) for both in product(BLOCKS, repeat=TINY.stages)]
        add_sessions(store, networks, DEVICE, sessions=2, seed=1)
        if segments:
            add_sessions(store, all_segments(TINY), DEVICE, scatter=0.0, seed=2)
        store.close()
        return path.read_bytes()


def write_accuracies(folder: Path, names: Sequence[str]) -> None:
    """Write the published files of networks said to be trained, with accuracies that go up and down."""
    one = made_teacher()
    made = []
    for place, name in enumerate(names):
        val = replace(one.best.val, first=5 + 2 * place % 17, among_five=40)
        made.append(
            replace(
                one,
                architecture=Architecture.parse(name, TINY),
                history=(replace(one.best, val=val),),
                environment=environment_of(torch.device("cpu")),
            )
        )
    write_trainings(folder, made)

"""A library of random blocks of the space deep, never distilled, and a store of made-up latencies of some of its networks."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from made_space import MANY, add_sessions, calibrate, new_store

from harness.records import Configuration
from search.blockwise.distil_recipe import DistilRecipe
from search.blockwise.library import BlockLibrary, StageLibrary, save_library
from search.training.augment import NONE
from search.training.epochs import judge
from search.training.history import Epoch
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import Trained, trained_digest
from space import DEEP, Architecture, SpaceConfig
from space.networks import Stage, build_network
from space.sampling import select_models
from space.segments import all_segments

SOURCE = "synthetic:0:3/2/2"  # images of each class
BLOCKS = tuple(block for block in DEEP.blocks if "bconv" not in (block.op0, block.op1))[1::3]
DEVICE = replace(MANY, space="deep")
NETWORKS = tuple(product(BLOCKS, repeat=DEEP.stages))  # all that the library can put together


def write_deep_library(folder: Path) -> Path:
    """Write a library of the same few blocks in every stage."""
    architecture, task = Architecture.parse("/".join(["conv"] * DEEP.stages), DEEP), load_task(SOURCE, DEEP)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(architecture)
        weights = [tuple(Stage(block, width).state_dict() for block in BLOCKS) for width in DEEP.widths]
    val, test = judge(network, task.val, task), judge(network, task.test, task)
    teacher = Trained(
        architecture=architecture,
        task=task.name,
        synthetic=task.synthetic,
        recipe=Recipe(epochs=1, batch=20, learning_rate=0.02, augmentation=NONE, seed=0),
        history=(Epoch(number=1, rate=0.02, train=val, val=val, train_ns=1, val_ns=1),),
        test=test,
        weights=network.state_dict(),
        environment={"made": "by a test"},
        source=task.source,
    )
    ones = np.ones(len(BLOCKS))
    stages = tuple(
        StageLibrary(
            config=DEEP,
            teacher=trained_digest(teacher),
            task=teacher.task,
            source=teacher.source,
            stage=stage,
            recipe=DistilRecipe(epochs=1, batch=20),
            blocks=BLOCKS,
            weights=weights[stage],
            history=ones[None],
            mse=ones,
            nsr=ones,
            seconds=1.0,
            environment={"made": "by a test"},
        )
        for stage in range(DEEP.stages)
    )
    save_library(folder, BlockLibrary(teacher=teacher, stages=stages))
    return folder


@functools.cache
def sampled_store(config: SpaceConfig, networks: int, segments: bool = False) -> bytes:
    """Return the file of a store: some networks of a space on a made-up device, none of them chosen by their blocks."""
    device: Configuration = replace(DEVICE, space=config.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = new_store(path)
        calibrate(store, device)
        add_sessions(store, select_models(f"sample:{networks}@7", config), device, sessions=2, seed=1)
        if segments:
            add_sessions(store, all_segments(config), device, scatter=0.0, seed=2)
        store.close()
        return path.read_bytes()

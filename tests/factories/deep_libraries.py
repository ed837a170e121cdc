"""A library of random blocks of the space deep, never distilled, and a store of made-up latencies of some of its networks."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

from rigs.made_files import once_a_run

from factories.block_libraries import made_stage, made_teacher, save_library
from factories.stores import MANY, add_sessions, calibrate, new_store
from harness.records import Configuration
from search.distillation.block_library import BlockLibrary
from space import DEEP, SpaceConfig
from space.segments import all_segments
from space.selection import select_models

SOURCE = "synthetic:0:3/2/2"  # images of each class
BLOCKS = tuple(block for block in DEEP.blocks if "bconv" not in (block.op0, block.op1))[1::3]
DEVICE = replace(MANY, space="deep")
NETWORKS = tuple(product(BLOCKS, repeat=DEEP.stages))  # all that the library can put together


def write_deep_library(folder: Path) -> Path:
    """Write a library of the same few blocks in every stage."""
    teacher = made_teacher("/".join(["conv"] * DEEP.stages), config=DEEP, source=SOURCE)
    stages = tuple(made_stage(teacher, stage, BLOCKS) for stage in range(DEEP.stages))
    save_library(folder, BlockLibrary(teacher=teacher, stages=stages))
    return folder


@once_a_run
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

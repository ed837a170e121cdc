"""A made-up ground truth for tests of the study: accuracies by a rule plus noise; never shipped, never shown as results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from factories.accuracies import additive
from search.study.truth import GroundTruth, load_truth
from space import TINY
from space.dataset import Dataset, write_dataset
from space.selection import select_models

EPOCHS = 3


def write_truth(
    folder: Path, count: int = 40, seed: int = 1, noise: float = 0.5, epochs: int = EPOCHS
) -> Path:
    """Write `blox-base-0.csv` of made-up accuracies of a sample of tiny, and return its path."""
    rng = np.random.default_rng(seed)
    indices = np.array([one.index for one in select_models(f"sample:{count}@0", TINY)])  # in no order
    rule = additive(seed, TINY)[indices]
    val = np.clip(rule + rng.normal(0, noise, count), 0, 100)
    test = np.clip(rule + rng.normal(0, noise, count), 0, 100)
    columns = {
        "val_top1": [[round(float(v) * 0.5, 3)] * (epochs - 1) + [round(float(v), 3)] for v in val],
        "test_top1": [round(float(v), 3) for v in test],
        "train_time_s": [2] * count,
    }
    extra: dict[str, int | str] = {
        "seed": 0,
        "epochs": epochs,
        "dataset": "synthetic-0-20-10-20",
        "part": "base",
    }
    path = folder / "blox-base-0.csv"
    write_dataset(
        path, Dataset(dataset_type="training", indices=indices, columns=columns, extra=extra, config=TINY)
    )
    return path


def made_truth(folder: Path, count: int = 40, seed: int = 1, noise: float = 0.5) -> GroundTruth:
    """Return a made-up ground truth, read back from its file."""
    return load_truth(TINY, [write_truth(folder, count, seed, noise)])

"""A study on a space of 36 networks, small enough to be run in a test: its settings and a made-up ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factories.accuracies import additive
from factories.spaces import make_known
from search.accuracy.gcn import GcnConfig
from search.blockwise.predictors import fit
from search.study import methods
from search.study.settings import StudySettings
from space import Space, SpaceConfig
from space.dataset import Dataset, write_dataset

SMALL = Space(name="small-study", ops=("conv",), widths=(4, 8), image_size=8, classes=4)
SETTINGS = StudySettings.from_json(
    """{"task": "synthetic:0:6/4/5", "tuned": 4, "tuned_epochs": [1, 2], "seeds": 2, "budget": 12, "first": 6,
    "libraries": 1, "iterations": 1, "rounds": 1, "rescored": 5, "proxies": ["synflow"], "proxy_seeds": 1,
    "proxy_images": 4, "marks": [4, 8, 12], "decisive": 12, "distil": {"epochs": 1, "batch": 12},
    "supernet": {"epochs": 1, "batch": 12}, "dna": {"epochs": 1, "batch": 12, "shared": true, "paths": "fair"},
    "lana": {"epochs": 1, "batch": 12, "loss": "mse"}, "recipe": {"batch": 12, "learning_rate": 0.05},
    "tuning": {"batch": 12, "learning_rate": 0.01}}"""
)


def with_small_space(patch: pytest.MonkeyPatch) -> StudySettings:
    """Make the small space known and return the settings of a study on it; for units that run in this process.

    Graph networks learn for a few epochs: that they are run is seen here, what they learn elsewhere.
    """
    make_known(patch, SMALL)
    patch.setitem(methods.GCN, "epochs", 3)
    few = GcnConfig(width=16, epochs=3)
    patch.setitem(fit.__kwdefaults__, "hyperparameters", few)
    return replace(SETTINGS, space=SMALL.name)


def write_small_truth(folder: Path, count: int = 20, config: SpaceConfig = SMALL) -> Path:
    """Write made-up accuracies of some networks of a space as `blox-base-0.csv`, and return its path."""
    rng = np.random.default_rng(0)
    indices = np.sort(rng.permutation(len(config))[:count])
    rule = additive(4, config)[indices] - 10
    columns = {
        "val_top1": [[round(float(v), 3)] for v in rule + rng.normal(0, 0.5, count)],
        "test_top1": [round(float(v), 3) for v in rule + rng.normal(0, 0.5, count)],
        "train_time_s": [1] * count,
    }
    extra: dict[str, int | str] = {"seed": 0, "epochs": 1, "dataset": "synthetic-0-6-4-5", "part": "base"}
    path = folder / "blox-base-0.csv"
    write_dataset(
        path, Dataset(dataset_type="training", indices=indices, columns=columns, extra=extra, config=config)
    )
    return path

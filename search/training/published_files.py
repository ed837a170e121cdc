"""Trained networks as published data files: what `load_accuracies` and everyone's readers of Blox read.

Rounding is the published one: accuracies in percent to three decimals, losses to six, whole seconds. A `.blox` file holds
accuracies as counts of 45,000 training, 5,000 validation and 10,000 test images, and losses below 16.8; other accuracies only fit
where the number of images divides those. Numbers that do not fit go to a `.csv`, with a note of the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.training.history import Figures
from space.dataset import Dataset, write_dataset
from space.dataset.custom_rows import encode
from space.dataset.packing import PackingError
from space.errors import ConfigError, DatasetError
from space.hash_table import network_key

if TYPE_CHECKING:
    from search.training.trained import Trained

_SUFFIXES = (".blox", ".csv", ".pickle")  # in the order in which readers look for them
_MAX_TEXT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Files written, with a note on each that is no `.blox`."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def training_datasets(trained: Sequence[Trained]) -> Mapping[str, Dataset]:
    """Return the data sets `base`, `ext`, `info` and `env` of networks trained alike, a row each in canonical order.

    `train_time_s` is the time of all epochs, learning and validation. `val_top5` and the like count `among_five`. Of equal
    networks, which differ only in the places of a chain's candidates without effect, the first has a row.

    Raises:
        ConfigError: there is none, one comes twice, or they are of several spaces, tasks or recipes.
    """
    trained = _alike(trained)
    first = trained[0]
    config, recipe = first.architecture.config, first.recipe
    indices = np.array([one.architecture.index for one in trained])
    train = [[_rounded(epoch.train) for epoch in one.history] for one in trained]
    val = [[_rounded(epoch.val) for epoch in one.history] for one in trained]
    test = [_rounded(one.test) for one in trained]
    sizes: dict[str, Any] = {
        "params": [one.architecture.params for one in trained],
        # The published count under its published name.
        "flops": [one.architecture.macs for one in trained],
    }
    if config.chain is None:  # networks of a chain have no vector
        # op0, op1, prev, inp, sc of each stage.
        vectors = [[[*nodes[0], *nodes[1]] for nodes in one.architecture.vector] for one in trained]
        sizes["arch_vec"] = np.array(vectors)
    names = {name for one in trained for name in one.environment} - {"recipe"}
    environment = {name: [_ascii(one.environment.get(name, "")) for one in trained] for name in names}
    environment["recipe"] = [recipe.digest] * len(trained)
    seed: dict[str, int | str] = {"seed": recipe.seed}
    training = {**seed, "epochs": recipe.epochs, "dataset": _ascii(first.task)}

    def of(kind: str, columns: Mapping[str, Any], **extra: int | str) -> Dataset:
        return Dataset(dataset_type=kind, indices=indices, columns=columns, extra=extra, config=config)

    base = {
        "val_top1": _lists(val, "top1"),
        "test_top1": [figures["top1"] for figures in test],
        "train_time_s": [round(one.train_ns / 1e9) for one in trained],
    }
    ext = {
        **{f"train_{name}": _lists(train, name) for name in ("top1", "loss", "top5")},
        **{f"val_{name}": _lists(val, name) for name in ("loss", "top5")},
        **{f"test_{name}": [figures[name] for figures in test] for name in ("loss", "top5")},
    }
    return {
        "base": of("training", base, **training, part="base"),
        "ext": of("training", ext, **training, part="ext"),
        "info": of("static", sizes),
        "env": of("env", dict(sorted(environment.items())), **seed),
    }


def write_trainings(folder: str | Path, trained: Sequence[Trained], *, replace: bool = False) -> Written:
    """Write `blox-base-SEED`, `blox-ext-SEED`, `blox-info` and `blox-env-SEED` of networks trained alike.

    Each is a `.blox` file where that holds its numbers, else a `.csv`. `replace` removes files of these names, whatever
    their suffix: a `.blox` left next to a new `.csv` would be read in its place.

    Raises:
        ConfigError: the networks were not trained alike, or the folder has such files and `replace` is not set.
        DatasetError: there are more than 255 epochs, which no format holds, or a file cannot be written.
    """
    folder, datasets = Path(folder), training_datasets(trained)
    seed = trained[0].recipe.seed
    names = {part: f"blox-{part}" if part == "info" else f"blox-{part}-{seed}" for part in datasets}
    there = [
        path for name in names.values() for suffix in _SUFFIXES if (path := folder / (name + suffix)).exists()
    ]
    if there and not replace:
        raise ConfigError(
            f"{there[0]} is there already; name another folder, or set replace to remove all {len(there)} such files"
        )
    paths, notes = [], []
    for part, dataset in datasets.items():
        path = folder / (names[part] + ".blox")
        if reason := _unfit(dataset):
            path = path.with_suffix(".csv")
            notes.append(f"{path.name} is CSV, as .blox cannot hold its values: {reason}")
        write_dataset(path, dataset)
        paths.append(path)
    for path in there:
        if path not in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    return Written(paths=tuple(paths), notes=tuple(notes))


def _alike(trained: Sequence[Trained]) -> Sequence[Trained]:
    if not trained:
        raise ConfigError("no trained network was given; a data file names at least one")
    first, seen = trained[0], set()
    for one in trained:
        name = f"trained network {one.architecture}"
        for what, mine, others in (
            ("space", one.architecture.config, first.architecture.config),
            ("task", one.task, first.task),
            ("images", _images(one), _images(first)),
            ("recipe", one.recipe, first.recipe),
        ):
            if mine != others:
                raise ConfigError(
                    f"{name} has {what} {mine}, and the first one has {others}; write them separately"
                )
        if one.architecture.index in seen:
            raise ConfigError(f"{name} is given twice; a file has one row for a network")
        seen.add(one.architecture.index)
    ordered = sorted(trained, key=lambda one: one.architecture.index)
    # Files name networks by graph hash, and several architectures of a chain may be one network.
    by_key: dict[int | bytes, Trained] = {}
    for one in ordered:
        by_key.setdefault(network_key(one.architecture.config, one.architecture.index), one)
    return list(by_key.values())


def _images(one: Trained) -> tuple[int, int, int]:
    return one.history[0].train.images, one.history[0].val.images, one.test.images


def _rounded(figures: Figures) -> dict[str, float]:
    return {"top1": round(figures.top1, 3), "top5": round(figures.top5, 3), "loss": round(figures.loss, 6)}


def _lists(rows: Sequence[Sequence[Mapping[str, float]]], name: str) -> list[list[float]]:
    return [[figures[name] for figures in row] for row in rows]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\0", "?")[:_MAX_TEXT]


def _unfit(dataset: Dataset) -> str:
    """Return the reason why a data set fits no `.blox` file; empty where it does."""
    try:
        encode(dataset)
    except PackingError as e:
        return e.why
    except DatasetError as e:
        return str(e)
    return ""

"""Published trainings: files joined by network and seed, and one accuracy for each training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.accuracies.accuracies import SYNTHETIC
from space.accuracies.epochs import BEST, at_epoch, best_epochs, check_epoch, lengths, padded
from space.accuracies.metric import FIRST_CHOICES
from space.accuracies.seeds import SeedAccuracies
from space.architecture import BLOX
from space.config import SpaceConfig
from space.dataset import Dataset
from space.dataset.columns import Column
from space.dataset.header import Header
from space.dataset.schema import SCHEMAS
from space.errors import DatasetError, MissingMetric, did_you_mean, shown
from space.lookup import Named, canonical_index
from space.text import counted

TRAINING = "training"
_NOWHERE = -1
_KINDS = SCHEMAS[TRAINING].columns or {}
_VALIDATION, _TIES = "val_top1", "val_loss"  # the best epoch is that of the highest, then the lowest

# All that is known of one network: seed -> column -> number, or the list of its epochs, float64 (epochs,).
Row = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainings:
    """Files of one data set, joined: any number of seeds, each in one or more parts such as `base` and `ext`.

    `names` are the files', in the order of `files`.

    Raises:
        DatasetError: the files cannot be joined, as `check_parts` tells.
    """

    files: tuple[Dataset, ...]
    names: tuple[str, ...]
    config: SpaceConfig = BLOX
    # For each file and network its row, or -1.
    _rows: tuple[NDArray[np.int64], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = list(zip(self.names, self.files, strict=True))
        check_parts(parts)
        rows = []
        for name, file in parts:
            if file.config != self.config:
                raise DatasetError(
                    f"{name}: is of space {file.config.name!r}, not {self.config.name!r}; read one space"
                )
            places = np.full(len(self.config), _NOWHERE)
            places[file.indices] = np.arange(len(file))
            rows.append(places)
        object.__setattr__(self, "_rows", tuple(rows))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, rising."""
        return tuple(sorted(set(map(seed_of, self.files))))

    @property
    def synthetic(self) -> bool:
        """Whether a file's name or data set is marked as made up."""
        marks = [
            *(name.replace("\\", "/").rpartition("/")[2] for name in self.names),
            str(self.files[0].extra["dataset"]),
        ]
        return any(SYNTHETIC in mark.lower() for mark in marks)

    def row(self, architecture: Named) -> Row | None:
        """Return every column of every seed of one network, by any of the network's names; None if no file has it.

        Raises:
            ArchitectureError: what was given names no network of the space.
        """
        place = canonical_index(architecture, self.config)
        found: Row = {}
        for file, rows in zip(self.files, self._rows, strict=True):
            row = rows.item(place)
            if row != _NOWHERE:
                cells = found.setdefault(seed_of(file), {})
                for name, column in file.columns.items():
                    if isinstance(column, np.ndarray) and column.ndim == 1:
                        cells[name] = column.item(row)
                    else:
                        cells[name] = column[row]
        return found or None

    def column_of(self, name: str, seed: int) -> tuple[Dataset, NDArray[np.int64]] | None:
        """Return the file that holds a column of a seed, and its row of each network, (len(config),), -1 for none."""
        for file, rows in zip(self.files, self._rows, strict=True):
            if file.extra["seed"] == seed and name in file.columns:
                return file, rows
        return None

    def unjoined(self) -> tuple[str, ...]:
        """Return a note for each seed in several parts of which some lack networks."""
        notes = []
        for seed in self.seeds:
            files = [file for file in self.files if file.extra["seed"] == seed]
            counts = np.bincount(np.concatenate([file.indices for file in files]), minlength=len(self.config))
            lacking = int(((counts > 0) & (counts < len(files))).sum())
            if lacking:
                parts = " and ".join(str(file.extra["part"]) for file in files)
                notes.append(
                    f"seed {seed}: {counted(lacking, 'network is', 'networks are')} not in all of {parts}"
                )
        return tuple(notes)


def seed_of(file: Header | Dataset) -> int:
    """Return the seed of a file's trainings."""
    return int(file.extra["seed"])


def check_parts(parts: Sequence[tuple[str, Header | Dataset]]) -> None:
    """Check that files, each with its name, can be joined: trainings of one data set and number of epochs, a seed's part once.

    Raises:
        DatasetError: they cannot; the message names both files and what differs.
    """
    if not parts:
        raise DatasetError("there is no file of trainings; name at least one")
    for name, part in parts:
        if part.dataset_type != TRAINING:
            raise DatasetError(
                f"{name}: holds data of type {part.dataset_type!r}; accuracies stand in files of type "
                f"{TRAINING!r}, such as blox-base-0.blox"
            )
    first_name, first = parts[0]
    for name, part in parts[1:]:
        for key in ("dataset", "epochs"):
            if part.extra[key] != first.extra[key]:
                raise DatasetError(
                    f"{name}: {key} is {part.extra[key]!r} there, and {first.extra[key]!r} in {first_name}; "
                    "what was trained otherwise cannot be joined: read them one by one"
                )
    holders: dict[tuple[int, str], str] = {}
    for name, part in parts:
        for what in (f"part {part.extra['part']!r}", *(f"column {column}" for column in part.columns)):
            if (seed_of(part), what) in holders:
                former = holders[seed_of(part), what]
                raise DatasetError(
                    f"{name}: holds {what} of seed {seed_of(part)}, and so does {former}; name one of the two"
                )
            holders[seed_of(part), what] = name


def choose_metric(metric: str, columns: Iterable[str]) -> str:
    """Return the column of accuracies to read, out of those in the files.

    Empty: `val_top1` where there is one, else `test_top1`, else the only one. Test accuracies come last because who
    searches on them chooses by luck on the test images.

    Raises:
        DatasetError: there is no such column, it holds no accuracies, or several could be meant.
    """
    there = list(dict.fromkeys(columns))
    accuracies = [name for name in there if _KINDS[name].value == "accuracy"]
    listed = ", ".join(accuracies) or "none"
    if not metric:
        for name in FIRST_CHOICES:
            if name in accuracies:
                return name
        if len(accuracies) != 1:
            raise DatasetError(
                f"the files have several accuracies or none; name a metric (there are: {listed})"
            )
        return accuracies[0]
    if metric in _KINDS and _KINDS[metric].value != "accuracy":
        reason = "a loss" if metric.endswith("loss") else "a time"
        raise DatasetError(f"metric {metric} is {reason} and no accuracy; choose one of: {listed}")
    if metric not in accuracies:
        hint = did_you_mean(metric, accuracies)
        if metric in _KINDS:
            hint = "; it may stand in the other part of the published files: name blox-base-SEED and blox-ext-SEED"
        raise MissingMetric(f"no metric {shown(metric)} in the files{hint} (there are: {listed})")
    return metric


def columns_for(metric: str, epoch: str) -> Collection[str]:
    """Return the columns needed for an accuracy."""
    # Its best epochs are equal in it.
    if epoch != BEST or not _KINDS[metric].is_list or metric == _VALIDATION:
        return {metric}
    return {metric, _VALIDATION, _TIES}


def accuracies_of_trainings(
    trainings: Trainings, metric: str, epoch: str, seeds: tuple[int, ...] = ()
) -> SeedAccuracies:
    """Return one accuracy for each network and seed; of all seeds where none is named.

    `epoch` is `best`, `last` or a number from 1, of columns with one value an epoch. The best epoch of any column is that of
    the best validation accuracy; of equal ones that of the lowest validation loss where it is there, then the first.

    Raises:
        DatasetError: a wanted seed has no such column, or the epoch cannot be found.
    """
    check_epoch(epoch)
    is_list = _KINDS[metric].is_list
    if not is_list and epoch != BEST:
        raise DatasetError(
            f"metric {metric} has one value a training, that of the best epoch; epoch {epoch!r} is not there: "
            f"leave it at {BEST!r}"
        )
    notes = list(trainings.unjoined())
    indices, values, of_seeds = [], [], []
    for seed in dict.fromkeys(seeds) or trainings.seeds:
        holder = trainings.column_of(metric, seed)
        if holder is None:
            if seeds:
                known = ", ".join(map(str, trainings.seeds))
                raise MissingMetric(f"there is no {metric} of seed {seed}; there are seeds {known}")
            notes.append(f"seed {seed} has no {metric} and is left out")
            continue
        file, _ = holder
        found = _at(trainings, file, metric, epoch, seed) if is_list else file.array(metric)
        indices.append(file.indices)
        values.append(found)
        of_seeds.append(np.full(len(file), seed))
    return SeedAccuracies(
        metric=metric,
        epoch=epoch if is_list else "",
        indices=np.concatenate(indices),
        seeds=np.concatenate(of_seeds),
        values=np.concatenate(values),
        origin=trainings.names,
        synthetic=trainings.synthetic,
        notes=tuple(notes),
        config=trainings.config,
    )


def _at(trainings: Trainings, file: Dataset, metric: str, epoch: str, seed: int) -> NDArray[np.float64]:
    """Return the accuracies of a file's rows at an epoch, (rows,); NaN where no best epoch is known."""
    best: NDArray[np.int64] | None = None
    known = np.ones(len(file), np.bool_)
    if epoch == BEST:
        holder = trainings.column_of(_VALIDATION, seed)
        if holder is None:
            raise MissingMetric(
                f"seed {seed}: the best epoch is that of the best {_VALIDATION}, which no file holds; "
                "name blox-base-SEED, too, or choose the epoch 'last'"
            )
        validated, rows = holder
        top1 = validated.columns[_VALIDATION]
        ties = trainings.column_of(_TIES, seed)
        losses = (
            None if ties is None else _losses(top1, ties[0].columns[_TIES], ties[1][validated.indices], seed)
        )
        best_of_rows = best_epochs(top1, losses)
        places = rows[file.indices]
        known = places >= 0
        best = np.where(known, best_of_rows[places], 0)
    found = at_epoch(metric, file.columns[metric], epoch, best)
    return np.where(known, found, np.nan)


def _losses(top1: Column, column: Column, rows: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return the validation losses at these rows of their column: (rows, epochs), infinite at row -1."""
    there = rows >= 0
    if (lengths(top1)[there] != lengths(column)[rows[there]]).any():
        raise DatasetError(
            f"seed {seed}: {_VALIDATION} and {_TIES} of a network have lists of different lengths; the files are of "
            "two trainings: read them one by one"
        )
    values = padded(column, np.inf)
    if len(rows) == len(values) and (rows == np.arange(len(rows))).all():
        return values  # in this order already: no need to copy some 150 MB
    found = np.full((len(rows), int(lengths(top1).max())), np.inf)
    width = min(found.shape[1], values.shape[1])
    found[there, :width] = values[rows[there], :width]
    return found

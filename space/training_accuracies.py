"""One accuracy a training: which column of the published files, at which epoch."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from space.dataset import Dataset
from space.dataset.columns import Column
from space.dataset.schema import SCHEMAS
from space.epochs import BEST, at_epoch, best_epochs, check_epoch, lengths, padded
from space.errors import DatasetError, MissingMetric, did_you_mean, shown
from space.own.metric import FIRST_CHOICES
from space.seed_means import Measured
from space.trainings import TRAINING, Trainings

_KINDS = SCHEMAS[TRAINING].columns or {}
_VALIDATION, _TIES = "val_top1", "val_loss"  # the best epoch is that of the highest, then the lowest


def choose_metric(metric: str, columns: Iterable[str]) -> str:
    """Return the column of accuracies that is meant, out of those that the files have.

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
    """Return the columns that an accuracy is found from."""
    if (
        epoch != BEST or not _KINDS[metric].is_list or metric == _VALIDATION
    ):  # its best epochs are equal in it
        return {metric}
    return {metric, _VALIDATION, _TIES}


def measure(trainings: Trainings, metric: str, epoch: str, seeds: tuple[int, ...] = ()) -> Measured:
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
    for seed in seeds or trainings.seeds:
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
    return Measured(
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
    """Return the validation losses, at these rows of their column, beside accuracies: (rows, epochs), infinite at row -1."""
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

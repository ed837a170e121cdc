"""Choice of a training's epoch: the best by validation accuracy, the last, or one by number."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from space.dataset.columns import Column
from space.errors import DatasetError, shown

BEST, LAST = "best", "last"
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


def check_epoch(epoch: str) -> str:
    """Return the epoch if it is `best`, `last` or a number from 1.

    Raises:
        DatasetError: it is none of them.
    """
    if epoch not in (BEST, LAST) and not _NUMBER.fullmatch(epoch):
        raise DatasetError(f"epoch {shown(epoch)} cannot be used; write {BEST}, {LAST} or a number from 1")
    return epoch


def best_epochs(top1: Column, losses: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """Return the index of the epoch with the best validation accuracy of each row, (rows,).

    Of equally accurate epochs the one of lowest validation loss counts, as in the published trainings, where the loss is
    given; of those equal in both the first. `top1` holds one list a row; `losses`, (rows, longest list), are infinite where
    there is none.
    """
    accuracies = padded(top1, -1.0)
    best: NDArray[np.int64] = np.argmax(accuracies, axis=1)
    if losses is None:
        return best
    highest = accuracies[np.arange(len(best)), best]
    # Ties are few: only rows that have one are looked at again.
    ties = np.flatnonzero((accuracies == highest[:, np.newaxis]).sum(axis=1) > 1)
    tied = np.where(accuracies[ties] == highest[ties, np.newaxis], losses[ties], np.inf)
    best[ties] = np.where(np.isfinite(tied).any(axis=1), np.argmin(tied, axis=1), best[ties])
    return best


def at_epoch(name: str, column: Column, epoch: str, best: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Return the value of each row at an epoch, (rows,); NaN where a row has fewer epochs than others.

    `best` are the places of the best epochs, wanted for `best` only.

    Raises:
        DatasetError: no row has that epoch.
    """
    values = padded(column, np.nan)
    if epoch == LAST:
        places = lengths(column) - 1
    elif epoch == BEST:
        assert best is not None
        places = best
    else:
        places = np.full(len(values), int(epoch) - 1)
    most = values.shape[1]
    if (places >= most).any():
        raise DatasetError(
            f"epoch {int(places.max()) + 1} of {name}: there are {most} epochs; "
            f"give 1 to {most}, {BEST} or {LAST}"
        )
    found: NDArray[np.float64] = values[np.arange(len(values)), places]
    return found


def padded(column: Column, filler: float) -> NDArray[np.float64]:
    """Return lists, one a row, as one array (rows, longest), filled up after the end of shorter ones."""
    if isinstance(column, np.ndarray):
        return column
    values = np.full((len(column), int(lengths(column).max())), filler)
    for row, items in enumerate(column):
        values[row, : len(items)] = items
    return values


def lengths(column: Column) -> NDArray[np.int64]:
    """Return the number of epochs of each row, (rows,)."""
    if isinstance(column, np.ndarray):
        return np.full(len(column), column.shape[1])
    return np.array([len(items) for items in column])

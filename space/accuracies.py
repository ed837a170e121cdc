"""Accuracies of the networks of a space: which, of which epoch, over which seeds; and how they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias

from space.config import BLOX, SpaceConfig
from space.enumerable import check_enumerable
from space.errors import ArchitectureError
from space.places import Named, place_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]

SYNTHETIC = "synthetic"  # the word that marks made-up accuracies wherever they are read or shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accuracies:
    """Hold one accuracy for each network of a space, in percent, in canonical order.

    `values`, float64 (len(config),), are means over the seeds that a network was trained with, NaN where none was;
    `seed_counts`, int64 (len(config),), say how many those are. `metric` is a column's name such as `val_top1`; `epoch` is
    `best`, `last`, a number counted from 1, or empty where the metric has one value a training. `seed_sd` is the standard
    deviation between seeds of one network, pooled over the networks that have several; None where none has. `origin`
    names the files. `synthetic`: made up, to be shown with this word only. `notes` say what was noticed in reading, such as
    how many networks have fewer seeds than others.
    """

    metric: str
    epoch: str
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    seed_counts: NDArray[np.int64]
    seed_sd: float | None
    origin: tuple[str, ...]
    synthetic: bool
    notes: tuple[str, ...] = ()
    config: SpaceConfig = BLOX

    def at(self, architecture: Named) -> float | None:
        """Return the accuracy of one network, by any of its names; None where it has none.

        Raises:
            ArchitectureError: what was given names no network of the space.
        """
        value = self.values.item(place_of(architecture, self.config))
        return value if value == value else None  # NaN alone is not equal to itself

    @property
    def label(self) -> str:
        """What the values are, for people: `val_top1 (best epoch)`, always with the word synthetic where it applies."""
        epoch = {"": "", "best": " (best epoch)", "last": " (last epoch)"}.get(
            self.epoch, f" (epoch {self.epoch})"
        )
        word = "synthetic " if self.synthetic and SYNTHETIC not in self.metric else ""
        return f"{word}{self.metric}{epoch}"


def load_accuracies(
    paths: Paths,
    *,
    metric: str = "",
    epoch: str = "best",
    seeds: tuple[int, ...] = (),
    allow_pickle: bool = False,
    config: SpaceConfig = BLOX,
    architecture_column: str = "",
) -> Accuracies:
    """Read one accuracy for each network of a space, the mean over its seeds.

    `paths` are published files of trainings, folders that hold them (of a file in several formats `.blox` is read, else
    `.csv`, else `.pickle`), or one table of a user's own (`space.own.table`). `metric` is a column; empty: `val_top1` where
    there is one, else `test_top1`, else the only one. Who searches on test accuracies chooses by luck on the test
    images: hence the order. `epoch` is `best`, that of the best validation accuracy, `last`, or a number from 1; it is for
    columns with a value an epoch. `seeds`: all that there are. A `.pickle` file is read only where `allow_pickle` is set.
    `architecture_column` names an own table's column of networks.

    Raises:
        DatasetError: the files are damaged, are not what was asked for, or do not fit each other; the message
            names the file, the value and the remedy.
    """
    from space.accuracy_files import read_accuracies  # numpy and YAML are needed only here
    from space.dataset.errors import DatasetError

    try:
        check_enumerable(config, "accuracies of a whole space", "read trainings with space.accuracy_files")
    except ArchitectureError as error:
        raise DatasetError(str(error)) from error
    return read_accuracies(paths, metric, epoch, seeds, allow_pickle, config, architecture_column)

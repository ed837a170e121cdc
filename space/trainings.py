"""Published trainings joined: the parts of one seed on the network, the seeds side by side; look-up of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.accuracies import SYNTHETIC
from space.architecture import BLOX
from space.config import SpaceConfig
from space.dataset import Dataset
from space.errors import DatasetError
from space.places import Named, place_of

TRAINING = "training"
_NOWHERE = -1

# All that is known of one network: seed -> column -> number, or the list of its epochs, float64 (epochs,).
Row = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Say which part of which training a file holds: all that must fit before files are joined.

    `name` is the file's, for messages; `columns` are those beside the hash.
    """

    name: str
    dataset_type: str
    extra: Mapping[str, int | str]
    columns: tuple[str, ...]

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.extra["seed"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainings:
    """Hold the files of one data set: any number of seeds, each in one or more parts such as `base` and `ext`.

    `names` are the files', in the order of `files`.

    Raises:
        DatasetError: the files cannot be joined, as `check_parts` tells.
    """

    files: tuple[Dataset, ...]
    names: tuple[str, ...]
    config: SpaceConfig = BLOX
    _rows: tuple[NDArray[np.int64], ...] = field(
        init=False, repr=False
    )  # for each file and network its row, or -1

    def __post_init__(self) -> None:
        parts = [
            Part(name=name, dataset_type=file.dataset_type, extra=file.extra, columns=tuple(file.columns))
            for name, file in zip(self.names, self.files, strict=True)
        ]
        check_parts(parts)
        rows = []
        for name, file in zip(self.names, self.files, strict=True):
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
        """The seeds that there are, rising."""
        return tuple(sorted({int(file.extra["seed"]) for file in self.files}))

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
        place = place_of(architecture, self.config)
        found: Row = {}
        for file, rows in zip(self.files, self._rows, strict=True):
            row = rows.item(place)
            if row != _NOWHERE:
                cells = found.setdefault(int(file.extra["seed"]), {})
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
        """Say of each seed in several parts how many networks some part lacks; nothing where none does."""
        notes = []
        for seed in self.seeds:
            files = [file for file in self.files if file.extra["seed"] == seed]
            counts = np.bincount(np.concatenate([file.indices for file in files]), minlength=len(self.config))
            lacking = int(((counts > 0) & (counts < len(files))).sum())
            if lacking:
                parts = " and ".join(str(file.extra["part"]) for file in files)
                notes.append(f"seed {seed}: {lacking} networks do not stand in both or all of {parts}")
        return tuple(notes)


def check_parts(parts: Sequence[Part]) -> None:
    """Check that files can be joined: trainings of one data set and number of epochs, each part of a seed once.

    Raises:
        DatasetError: they cannot; the message names both files and what differs.
    """
    if not parts:
        raise DatasetError("there is no file of trainings; name at least one")
    for part in parts:
        if part.dataset_type != TRAINING:
            raise DatasetError(
                f"{part.name}: holds data of type {part.dataset_type!r}; accuracies stand in files of type "
                f"{TRAINING!r}, such as blox-base-0.blox"
            )
    first = parts[0]
    for part in parts[1:]:
        for key in ("dataset", "epochs"):
            if part.extra[key] != first.extra[key]:
                raise DatasetError(
                    f"{part.name}: {key} is {part.extra[key]!r} there, and {first.extra[key]!r} in {first.name}; "
                    "what was trained otherwise cannot be joined: read them one by one"
                )
    holders: dict[tuple[int, str], str] = {}
    for part in parts:
        for what in (f"part {part.extra['part']!r}", *(f"column {name}" for name in part.columns)):
            former = holders.setdefault((part.seed, what), part.name)
            if former != part.name or parts.count(part) > 1:
                raise DatasetError(
                    f"{part.name}: holds {what} of seed {part.seed}, and so does {former}; name one of the two"
                )

"""Load accuracies from published trainings or from a user's own table."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from space.accuracies.accuracies import Accuracies
from space.accuracies.epochs import BEST, check_epoch
from space.accuracies.seeds import mean_over_seeds
from space.accuracies.trainings import (
    Trainings,
    accuracies_of_trainings,
    check_parts,
    choose_metric,
    columns_for,
    seed_of,
)
from space.accuracies.user_table import read_own_table
from space.architecture import BLOX, SPACES
from space.config import SpaceConfig, check_enumerable
from space.dataset import read_dataset
from space.dataset.files import read_header
from space.dataset.header import HEADER_BYTES, Header, begins_header
from space.dataset.schema import kinds_of
from space.errors import DatasetError
from space.text_files import STANDARD_INPUT, suffix_of, unpacked
from space.user_paths import expand_user

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]

_SUFFIXES = (".blox", ".csv", ".pickle")  # of published files, the first found counts
_NAMES = ("blox-base-*", "blox-ext-*")


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
    """Load the accuracies of the networks of a space, means over seeds.

    `paths` are published files of trainings, folders that hold them (of a file in several formats `.blox` is read, else
    `.csv`, else `.pickle`), or one table of a user's own (`space.accuracies.user_table`). `metric` is a column; empty:
    `val_top1` where there is one, else `test_top1`, else the only one. Who searches on test accuracies chooses by luck on
    the test images: hence the order. `epoch` is `best`, that of the best validation accuracy, `last`, or a number from 1; it
    is for columns with a value an epoch. `seeds`: all that there are. A `.pickle` file is read only where `allow_pickle` is set.
    `architecture_column` names an own table's column of networks.

    Raises:
        DatasetError: the files are damaged, are not what was asked for, or do not fit each other; the message
            names the file, the value and the remedy.
        ArchitectureError: the space cannot be enumerated.
    """
    check_enumerable(config, "accuracies of a whole space", "read trainings with read_trainings")
    check_epoch(epoch)
    files = _files(paths, allow_pickle)
    own = [path for path in files if not _is_published(path)]
    if not own:
        parts = _parts(files, config)
        chosen = {path: part for path, part in parts.items() if not seeds or seed_of(part) in seeds}
        _check_seeds(seeds, parts.values())
        with _naming(chosen):
            metric = choose_metric(metric, (name for part in chosen.values() for name in part.columns))
        trainings = _read(chosen, columns_for(metric, epoch), allow_pickle, config)
        with _naming(chosen):
            measured = accuracies_of_trainings(trainings, metric, epoch, seeds)
        return mean_over_seeds(measured, seeds)
    if len(files) > 1:
        files.remove(own[0])
        raise DatasetError(
            f"{own[0]}: is a table of your own, and {files[0]} was named beside it; name one table, or published files"
        )
    if epoch != BEST:
        raise DatasetError(
            f"{own[0]}: epoch {epoch!r}: a table of your own has one value a row; leave the epoch out"
        )
    return mean_over_seeds(
        read_own_table(own[0], metric=metric, architecture_column=architecture_column, config=config), seeds
    )


def fitting_spaces(paths: Sequence[str | PathLike[str]], *, allow_pickle: bool = False) -> list[SpaceConfig]:
    """Return the spaces that published files can be of, by their headers: all where only tables of a user's own are named.

    Raises:
        DatasetError: a file or folder cannot be read.
    """
    files = [path for path in _files(paths, allow_pickle) if _is_published(path)]
    return [config for config in SPACES.values() if all(_is_of(path, config) for path in files)]


def _is_of(path: Path, config: SpaceConfig) -> bool:
    try:
        read_header(path, config=config)
    except DatasetError:
        return False
    return True


def read_trainings(paths: Paths, *, allow_pickle: bool = False, config: SpaceConfig = BLOX) -> Trainings:
    """Read published files of trainings, or folders that hold them, with all their columns.

    Raises:
        DatasetError: a file is damaged, or the files do not fit each other.
    """
    return _read(_parts(_files(paths, allow_pickle), config), None, allow_pickle, config)


def _files(paths: Paths, allow_pickle: bool) -> list[Path]:
    """Return the files that are named, or that folders hold."""
    named = [paths] if isinstance(paths, str | PathLike) else list(paths)
    if not named:
        raise DatasetError(
            "no file of accuracies is named; name published files, a folder of them, or a table"
        )
    files: list[Path] = []
    for path in (expand_user(os.fspath(one)) for one in named):
        try:
            files += published_in_folder(path, allow_pickle) if path.is_dir() else [path]
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read: {error}; check the path") from error
    return files


def published_in_folder(
    folder: Path,
    allow_pickle: bool,
    *,
    names: Sequence[str] = _NAMES,
    remedy: str = "name the folder of the published files, or the path of your own table",
) -> list[Path]:
    """Return the published files of a folder whose names match `names`, each in its first format.

    Raises:
        DatasetError: there is none, or one is there as a pickle alone and `allow_pickle` is not set.
        OSError: the folder cannot be read.
    """
    found: dict[str, Path] = {}
    files = [one for one in sorted(folder.iterdir()) if any(fnmatchcase(one.name, name) for name in names)]
    for suffix in _SUFFIXES:
        for path in files:
            if suffix_of(path) == suffix:
                found.setdefault(path.name[: path.name.lower().rindex(suffix)], path)
    if not found:
        raise DatasetError(f"{folder}: holds no {' or '.join(names)} ({', '.join(_SUFFIXES)}); {remedy}")
    for path in found.values():
        if suffix_of(path) == ".pickle" and not allow_pickle:
            raise DatasetError(
                f"{path}: stands in the folder as a pickle only, a format made to run code; download its .blox or "
                ".csv file, or set allow_pickle"
            )
    return [found[name] for name in sorted(found)]


def _is_published(path: Path) -> bool:
    if suffix_of(path) in (".parquet", ".json") or str(path) == STANDARD_INPUT:
        return False
    if suffix_of(path) != ".csv":
        return True  # whatever else it is, the reader of published files says so
    try:
        if not path.is_file():
            return True
        with path.open("rb") as file:
            return begins_header(unpacked(file, path).read(HEADER_BYTES))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}; check the path") from error


def _parts(files: Iterable[Path], config: SpaceConfig) -> dict[Path, Header]:
    """Return each file's header, so that files that do not fit are refused before all is read."""
    found = [(path, read_header(path, config=config)) for path in files]
    check_parts([(str(path), header) for path, header in found])
    return dict(found)


@contextlib.contextmanager
def _naming(files: Collection[Path]) -> Iterator[None]:
    """Prefix errors about all files with the files' names."""
    try:
        yield
    except DatasetError as error:
        raise type(error)(f"{', '.join(map(str, files))}: {error}") from error


def _check_seeds(wanted: Sequence[int], parts: Iterable[Header]) -> None:
    known = sorted(set(map(seed_of, parts)))
    for seed in wanted:
        if seed not in known:
            raise DatasetError(
                f"no file holds seed {seed}; there are seeds {', '.join(map(str, known))}: name its file, too"
            )


def _read(
    parts: dict[Path, Header], wanted: Collection[str] | None, allow_pickle: bool, config: SpaceConfig
) -> Trainings:
    files = []
    for path, part in parts.items():
        columns = None
        if wanted is not None:
            kinds = kinds_of(part.dataset_type, part.columns)
            shortest = sorted(part.columns, key=[name for name in kinds if not kinds[name].is_list].count)[-1]
            columns = set(wanted) & set(part.columns) or {shortest}  # its rows count, whatever they hold
        files.append(read_dataset(path, allow_pickle=allow_pickle, config=config, columns=columns))
    return Trainings(files=tuple(files), names=tuple(map(str, parts)), config=config)

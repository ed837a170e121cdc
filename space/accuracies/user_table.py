"""A user's own accuracies: a table with a title row, one network and seed a row, from CSV or Parquet; or NAS-Bench-Macro's file.

One column names the networks in any notation: blocks, graph hash, index, or the published vector as JSON. One holds an
accuracy in percent. A column `seed` tells several trainings of a network apart. Rows are counted from 1, after the titles.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from stat import S_ISREG

import numpy as np

from space.accuracies.accuracies import SYNTHETIC
from space.accuracies.metric import instead_of, metric_of
from space.accuracies.nas_bench_macro import json_source
from space.accuracies.seeds import SeedAccuracies
from space.accuracies.user_readers import UserTable, csv_source, parquet_source
from space.architecture import BLOX, Architecture
from space.config import SpaceConfig
from space.errors import ArchitectureError, DatasetError, shown
from space.hash_table import first_names
from space.indexing import BoolArray, FloatArray, IndexArray
from space.lookup import canonical_index
from space.text_files import STANDARD_INPUT, read_content, suffix_of

MAX_FILE_BYTES = 1 << 28
ARCHITECTURE_COLUMNS = (
    "architecture",
    "arch",
    "network",
    "model",
    "model_hash",
    "graph_hash",
    "hash",
    "arch_vec",
    "vector",
    "index",  # last: data frames call their row numbers so, which are no accuracies either
)
SEED_COLUMN = "seed"
OWN_SUFFIXES = (".csv", ".parquet", ".json")
_READERS = {".csv": csv_source, ".parquet": parquet_source}
_MAX_SEED = 2**32 - 1


def read_own_table(
    path: str | PathLike[str], *, metric: str = "", architecture_column: str = "", config: SpaceConfig = BLOX
) -> SeedAccuracies:
    """Read the accuracies of one column of a user's table: `.csv` in UTF-8 or `.parquet`, packed or not; `-`: CSV from stdin.

    A `.json` is read as `space.accuracies.nas_bench_macro` says.

    `metric` names the column; empty: `val_top1` where there is one, else `test_top1`, else the only column of numbers beside
    the architectures and seeds, unless its title is that of a cost; beside costs alone, the one whose title says accuracy.
    `architecture_column` names the column of networks; empty: the first of `ARCHITECTURE_COLUMNS` that there is.

    Raises:
        DatasetError: the file is damaged or too large, a column is missing or of another kind, a row names no network of the
            space or stands twice, or values are not percent; the message names the file, the row and the remedy.
    """
    path = Path(path)
    content = _content(path)
    try:
        return measured_of(
            content,
            suffix_of(path),
            name=str(path),
            metric=metric,
            architecture_column=architecture_column,
            config=config,
        )
    except DatasetError as error:
        raise type(error)(f"{path}: {error}") from error


def measured_of(
    content: bytes,
    suffix: str,
    *,
    name: str = "",
    metric: str = "",
    architecture_column: str = "",
    config: SpaceConfig = BLOX,
) -> SeedAccuracies:
    """Return the table in some bytes with this suffix, as `read_own_table` does; `name` is the file's.

    Raises:
        DatasetError: as described there; the message does not name the file.
    """
    source = json_source(content, config) if suffix == ".json" else _READERS[suffix](content)
    named = [title for title in source.titles if title]  # data frames write their index without a title
    if twice := [title for title in named if named.count(title) > 1]:
        raise DatasetError(f"two columns have the title {shown(twice[0])}; rename one")
    if not source.rows:
        raise DatasetError("holds no row after its titles; it was cut, or is empty: write it again")
    networks = _architecture_column(source, architecture_column)
    seed = next((title for title in named if title.casefold() == SEED_COLUMN), None)
    others = [title for title in named if title not in (networks, seed)]
    metric = metric_of(
        source, metric, [title for title in others if title.casefold() != ARCHITECTURE_COLUMNS[-1]]
    )
    values = _percent(metric, source.numbers(metric))
    seeds = None if seed is None else _seeds(source.numbers(seed))
    shares = int(((values > 0) & (values < 1)).sum())
    note = (
        f"{metric} is below 1 % in {shares} of {len(values)} rows: check that these are percent and no shares"
    )
    indices = _places(networks, source.cells(networks), config)
    if networks.casefold() == ARCHITECTURE_COLUMNS[-1] and not architecture_column:
        _check_not_numbered(networks, indices, config)
    again = _repeated(source, indices, seeds, values, config)
    return SeedAccuracies(
        metric=metric,
        epoch="",
        indices=first_names(config, indices[~again]),
        seeds=None if seeds is None else seeds[~again],
        values=values[~again],
        origin=(name,),
        synthetic=SYNTHETIC in Path(name).name.lower() or SYNTHETIC in metric.lower(),
        notes=(note,) * bool(shares),
        config=config,
    )


def _content(path: Path) -> bytes:
    if suffix_of(path) not in OWN_SUFFIXES:
        raise DatasetError(
            f"{path}: has the suffix {path.suffix!r}, which names no table; use {', '.join(OWN_SUFFIXES)}"
        )
    with suppress(OSError, ValueError):  # the reader says so
        if str(path) != STANDARD_INPUT and not S_ISREG(path.stat().st_mode):
            # a pipe would wait for its other end, were it opened
            raise DatasetError(f"{path}: is not a regular file; check the path")
    return read_content(path, error=DatasetError, most=MAX_FILE_BYTES)


def _architecture_column(source: UserTable, wanted: str) -> str:
    if wanted:
        if wanted not in source.titles:
            raise DatasetError(f"there is no column {shown(wanted)}{instead_of(wanted, source.titles)}")
        return wanted
    by_name = {title.casefold(): title for title in reversed(source.titles)}
    for name in ARCHITECTURE_COLUMNS:
        if name in by_name:
            return by_name[name]
    raise DatasetError(
        f"no column is named as one of architectures ({', '.join(ARCHITECTURE_COLUMNS)}); the first row must hold titles, "
        f"and holds {shown(list(source.titles))}: rename the one that holds the networks"
    )


def _percent(metric: str, values: FloatArray) -> FloatArray:
    bad = np.flatnonzero(~np.isnan(values) & ~((values >= 0) & (values <= 100)))
    if bad.size:
        row = int(bad[0])
        raise DatasetError(
            f"row {row + 1}: {metric} = {values[row]:.15g} is not percent from 0 to 100; correct it"
        )
    there = values[~np.isnan(values)]
    if there.size and there.max() <= 1 and there.any():
        raise DatasetError(
            f"column {metric} holds nothing above 1: these look like shares, and percent are wanted; multiply them by 100"
        )
    return values


def _seeds(seeds: FloatArray) -> IndexArray:
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~((seeds >= 0) & (seeds <= _MAX_SEED) & (seeds == np.floor(seeds))))
    if bad.size:
        row = int(bad[0])
        raise DatasetError(
            f"row {row + 1}: seed = {seeds[row]:.15g} is not a whole number from 0 to {_MAX_SEED}; correct it"
        )
    return seeds.astype(np.int64)


def _places(title: str, cells: Iterable[object], config: SpaceConfig) -> IndexArray:
    """Return the canonical index of each row's network, (rows,)."""
    places: list[int] = []
    try:
        for cell in cells:
            if cell is None or cell == "":
                raise ArchitectureError(f"{title} is empty; name a network, or leave the row out")
            places.append(canonical_index(cell, config))  # type: ignore[arg-type]  # what names none is refused there
    except ArchitectureError as error:
        raise DatasetError(f"row {len(places) + 1}: {error}") from error
    return np.array(places, dtype=np.int64)


def _check_not_numbered(title: str, indices: IndexArray, config: SpaceConfig) -> None:
    """Refuse the numbers of a table's rows, as data frames write them under that title. Raises: DatasetError."""
    count = len(np.unique(indices))
    if indices.max() == count - 1 < len(config) - 1:
        raise DatasetError(
            f"column {shown(title)} holds 0 to {count - 1}, which are the numbers of rows in data frames and name no networks; "
            f"give a column {ARCHITECTURE_COLUMNS[0]!r}, or call this one 'network' if these are the first networks of the space"
        )


def _repeated(
    source: UserTable,
    indices: IndexArray,
    seeds: IndexArray | None,
    values: FloatArray,
    config: SpaceConfig,
) -> BoolArray:
    """Mark the rows (n,) of a training that another row has under another name of the same network, with the same accuracy.

    Raises:
        DatasetError: a training stands twice by one name, or with two accuracies.
    """
    first = first_names(config, indices)
    order = np.lexsort((indices, first) if seeds is None else (indices, seeds, first))  # stable
    one, other = order[:-1], order[1:]
    same = first[one] == first[other]
    if seeds is not None:
        same &= seeds[one] == seeds[other]
    again = np.zeros(len(indices), np.bool_)
    again[other[same]] = True
    differs = ~np.isclose(values[one], values[other], rtol=0, equal_nan=True)
    refused = np.flatnonzero(same & ((indices[one] == indices[other]) | differs))
    if not refused.size:
        return again
    before, row = min((sorted((int(one[at]), int(other[at]))) for at in refused), key=lambda pair: pair[1])
    network, earlier = (Architecture.from_index(int(indices[at]), config) for at in (row, before))
    with_seed = "" if seeds is None else f" with seed {seeds[row]}"
    what = f"stands in {source.place(before)} already"
    if network != earlier:
        what = (
            f"is the same network as {earlier} in {source.place(before)}, and they have the accuracies {values[row]:g} and "
            f"{values[before]:g}"
        )
    remedy = (
        "keep one" if seeds is not None else f"keep one row, or tell them apart by a column {SEED_COLUMN!r}"
    )
    raise DatasetError(f"{source.place(row)}: network {network}{with_seed} {what}; {remedy}")

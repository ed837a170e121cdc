"""Load accuracies from files, or generate `synthetic` ones."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from space import Architecture, is_enumerable
from space.errors import ConfigError, DatasetError, MissingMetric
from space.text_files import suffix_of
from space.user_paths import check_is_there, expand_user

if TYPE_CHECKING:
    from space import SpaceConfig
    from space.accuracies import Accuracies

VARIABLE = "HARNESS_ACCURACIES"  # environment variable with the paths to use where none are given
SYNTHETIC_SOURCE = re.compile(r"synthetic(:(?P<seed>[0-9]{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySource:
    """Where accuracies come from: `paths` as for `load_accuracies`, or the word `synthetic`, with a seed after a colon.

    `noise_sd`: the standard deviation between trainings in percent, where the user knows it better than the files. `content`: a
    table that Python holds, as CSV, in place of the only path's file; `loaded`: accuracies of a metric and epoch.
    """

    paths: tuple[str, ...]
    metric: str = ""
    epoch: str = "best"
    seeds: tuple[int, ...] = ()
    allow_pickle: bool = False
    noise_sd: float | None = None
    content: bytes | None = None
    loaded: Accuracies | None = None

    @property
    def is_of_files(self) -> bool:
        """Whether the paths are files."""
        return self.content is None and self.loaded is None


def parse_paths(given: Sequence[str]) -> Sequence[str]:
    """Return the paths of --accuracies, those from $HARNESS_ACCURACIES split into single paths."""
    text = os.environ.get(VARIABLE, "")
    return paths_of_variable(text) if text and list(given) == text.split() else given


def paths_of_variable(text: str) -> list[str]:
    """Return the paths in $HARNESS_ACCURACIES: one path as written, else several separated by `:`, else by spaces."""
    if _is_there(text):
        return [text]
    parts = [part for part in text.split(os.pathsep) if part]
    return parts if len(parts) > 1 and all(map(_is_there, parts)) else text.split()


def check_there(paths: Sequence[str]) -> None:
    """Raise ConfigError where no accuracies are named, or what is named is not there; nothing is read."""
    if not paths or "" in paths:
        raise ConfigError(
            "no accuracies: name files with --accuracies (the published blox-base-0.blox, or a CSV or Parquet table of your own "
            "with a column of architectures), or write --accuracies synthetic to try a search on made-up ones"
        )
    for path in paths:
        if path != "-" and not SYNTHETIC_SOURCE.fullmatch(path):
            check_is_there(Path(path))


def _is_there(text: str) -> bool:
    return os.path.exists(os.path.expanduser(os.path.expandvars(text)))  # noqa: PTH110, PTH111 - never raises


def is_unpublished(path: str) -> bool:
    """Return whether a path is a folder of `harness train` without published files, as while its trainings are under way."""
    folder = expand_user(path)
    return os.path.isdir(folder / "units") and not any(folder.glob("blox-*"))  # noqa: PTH112 - never raises


def load(source: AccuracySource, config: SpaceConfig) -> list[Accuracies]:
    """Return the accuracies to search by, and after them the test accuracy of the same trainings where there is one.

    Raises: ConfigError when none was named, or a file cannot be used.
    """
    if source.loaded is not None:
        return [source.loaded]
    if not source.paths:
        check_there(source.paths)
    if any(SYNTHETIC_SOURCE.fullmatch(path) for path in source.paths):
        found = [_synthetic(source, config)]
    else:
        found = [_read(source, source.metric, source.epoch, config)]
        if found[0].metric.startswith(("val_", "train_")):
            with contextlib.suppress(MissingMetric):  # these files have none
                tested = f"test_{found[0].metric.partition('_')[2]}"
                found.append(_read(source, tested, "best", config))
    if source.noise_sd is not None:
        found[0] = replace(found[0], seed_sd=source.noise_sd, seed_freedom=None)
    return found


def _read(source: AccuracySource, metric: str, epoch: str, config: SpaceConfig) -> Accuracies:
    """Return the accuracies of one metric at an epoch. Raises: MissingMetric, and other ConfigErrors."""
    from space.accuracies import load_accuracies

    if source.content is not None:
        return _of_table(source, source.content, metric, config)
    if not is_enumerable(config):
        return _of_some(source, metric, config)
    return load_accuracies(
        source.paths,
        metric=metric,
        epoch=epoch,
        seeds=source.seeds,
        allow_pickle=source.allow_pickle,
        config=config,
    )


def source_of_table(table: Any, metric: str = "") -> AccuracySource | None:
    """Return the source of accuracies that Python holds as `harness.join` takes them; None for what is no table or mapping."""
    name = type(table).__name__
    if isinstance(table, Mapping):
        names = (json.dumps(one) if isinstance(one, tuple) else str(one) for one in table)
        rows = [("network", "accuracy"), *zip(names, table.values(), strict=True)]
        file = io.StringIO()
        csv.writer(file).writerows(rows)
        text = file.getvalue()
    elif hasattr(table, "write_csv"):  # of Polars
        text = table.write_csv()
    elif hasattr(table, "to_csv") or hasattr(table, "to_pandas"):  # pandas; Arrow, and harness's own tables
        table = table if hasattr(table, "to_csv") else table.to_pandas()
        if table.ndim == 1:
            table = _named_column(table)
        text = table.to_csv()
    else:
        return None
    if not len(table):
        raise ConfigError(
            f"accuracies: {name} holds no network; give percent by network, such as {{'conv/conv/conv': 93.1}}"
        )
    return AccuracySource(paths=(name,), metric=metric, content=text.encode())


def _named_column(column: Any) -> Any:
    """Return a Series of pandas with titles. Raises: ConfigError where its rows are numbered, which names no networks."""
    from space.accuracies.user_table import ARCHITECTURE_COLUMNS

    index = column.index
    if index.dtype.kind in "iu" and index.name not in ARCHITECTURE_COLUMNS:  # filtered or sorted ones, too
        raise ConfigError(
            f"{type(column).__name__}: its index is the numbers of rows and names no networks; take the column after "
            "set_index('architecture'), give the whole table, or rename_axis('network') where they are indices of networks"
        )
    # Others have names: of networks and seeds.
    if index.nlevels == 1 and index.name != ARCHITECTURE_COLUMNS[-1]:
        column = column.rename_axis("network")
    return column.rename("accuracy" if column.name is None else column.name)


def architectures_in(table: Any) -> list[Architecture]:
    """Return the architectures among the networks of a mapping or a table of pandas: they know their space."""
    columns = [table] if isinstance(table, Mapping) else [table.index] if hasattr(table, "to_csv") else []
    if getattr(table, "ndim", 1) == 2:
        columns += [column for _, column in table.items() if column.dtype == object]
    return [one for column in columns for one in column if isinstance(one, Architecture)]


def _of_table(source: AccuracySource, content: bytes, metric: str, config: SpaceConfig) -> Accuracies:
    from space.accuracies.seeds import mean_over_seeds
    from space.accuracies.user_table import measured_of

    (name,) = source.paths
    try:
        measured = measured_of(content, ".csv", name=name, metric=metric, config=config)
    except DatasetError as error:
        raise type(error)(f"{name}: {error}") from error
    return mean_over_seeds(measured)


def _of_some(source: AccuracySource, metric: str, config: SpaceConfig) -> Accuracies:
    """Return the accuracies of a space too large to list, from one folder of `harness train` or one table of the user's."""
    from search.work.training_folder import seed_accuracies
    from space.accuracies.epochs import BEST
    from space.accuracies.seeds import mean_over_seeds
    from space.accuracies.user_table import read_own_table

    paths = [expand_user(path) for path in source.paths]
    if len(paths) > 1 or source.epoch != BEST:
        raise ConfigError(
            f"--accuracies {' '.join(source.paths)}, --epoch {source.epoch}: of the {len(config):,} networks of space "
            f"{config.name!r} one table of your own, or one folder of 'harness train', is read, at the best epoch"
        )
    if suffix_of(paths[0]) in (".blox", ".pickle"):
        raise ConfigError(
            f"--accuracies {source.paths[0]}: published files name networks by hashes, and those of the {len(config):,} networks "
            f"of space {config.name!r} cannot be looked up; name the folder of 'harness train' that it is from"
        )
    read = seed_accuracies if (paths[0] / "units").is_dir() else read_own_table
    return mean_over_seeds(read(paths[0], metric=metric, config=config), source.seeds)


def precision_text(accuracies: Accuracies, precision: str) -> str:
    """Return a note on accuracies that are of another precision than the latencies; empty where one of the two is not told.

    Theirs is the one that their title names, as `val_top1_int8_onnx` does, else fp32. Empty where both fit.
    """
    # Late: the command line imports this module for its help.
    from harness.devices.config import DEFAULT_PRECISION, PRECISIONS

    words = re.split("[^a-z0-9]+", accuracies.metric.lower())
    named = next((word for word in words if word in PRECISIONS), "")
    if precision in ("", named or DEFAULT_PRECISION):
        return ""
    told = f"are of {named} models" if named else "are not said to be of such"
    return (
        f"latencies are of {precision} models, and the accuracies, {accuracies.label}, {told}: how accurate {precision} models "
        f"are they do not tell ('harness export --precision {precision} --table' does)"
    )


def _synthetic(source: AccuracySource, config: SpaceConfig) -> Accuracies:
    from search.table.synthetic import synthetic_accuracies

    if len(source.paths) > 1 or source.metric or source.seeds or source.epoch != "best":
        raise ConfigError(
            "--accuracies synthetic stands alone: it has one made-up accuracy and no metrics, epochs or training seeds; "
            "leave the rest out, or write synthetic:SEED for another landscape"
        )
    match = SYNTHETIC_SOURCE.fullmatch(source.paths[0])
    seed = int(match["seed"] or 0) if match else 0
    return synthetic_accuracies(config, seed)

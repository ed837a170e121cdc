"""Settings of a blockwise search, shared by all rounds, and readers of its files."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from search.blockwise.fit_networks import KnownAccuracies
from search.blockwise.search import SearchPlan
from search.distillation.block_library import BlockLibrary, load_library
from search.table import Cost
from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts
from search.training.images import Task
from search.training.recipe import Recipe
from search.training.sealed_head import TEACHER
from search.work.results import ResultStore
from search.work.training_folder import check_learning, seed_accuracies, stored_units
from search.work.unit import Unit
from search.work.unit_runs import RunUnits
from space import Architecture, SpaceConfig, is_enumerable
from space.accuracies import load_accuracies
from space.accuracies.seeds import mean_over_seeds
from space.errors import ConfigError, DatasetError
from space.hash_table import is_first, network_key
from space.indexing import BoolArray, FloatArray, IndexArray

# Of the teacher's learning rate: at the whole rate the first epoch undoes what the blocks have learned.
FINE_TUNE_RATE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceCosts:
    """Costs of networks by name, all `Cost` where `is_listed`, else all `AdditiveCosts`, for integer programs.

    `blocks`: latencies of single blocks as columns of signatures, "latency:NAME" -> (stages, B) in ms, NaN where unknown;
    `sources`: the source of each column. `unseen`, (stages, B): blocks without a known cost, which are not chosen.
    """

    costs: Mapping[str, Cost | AdditiveCosts]
    blocks: Mapping[str, FloatArray]
    sources: Mapping[str, str]
    is_listed: bool
    unseen: BoolArray | None = None

    def known(self, scores: FloatArray) -> FloatArray:
        """Return scores of blocks, (stages, B), with NaN for `unseen` ones."""
        return scores if self.unseen is None else np.where(self.unseen, np.nan, scores)

    @property
    def listed(self) -> dict[str, Cost]:
        """The costs as columns of a table of all networks."""
        return {name: one for name, one in self.costs.items() if isinstance(one, Cost)}

    @property
    def summed(self) -> dict[str, AdditiveCosts]:
        """The costs as sums over blocks."""
        return {name: one for name, one in self.costs.items() if isinstance(one, AdditiveCosts)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """Settings of all rounds of a search; `recipe` is that of fine-tuning, `guide` its teacher's weight and temperature.

    `columns` are the signatures that the predictor reads, None for its default ones; `device` as torch names it. The predictor
    is fitted to `fit_networks` networks that are fine-tuned from the library, or where that is 0 to those `known`, if any.
    """

    task: Task
    costs: SpaceCosts
    constraints: tuple[Constraint, ...]
    confident: bool
    plan: SearchPlan
    predictor: str
    columns: tuple[str, ...] | None
    known: KnownAccuracies | None
    fit_networks: int
    recipe: Recipe
    guide: Mapping[str, float]
    seed: int
    device: str
    results: ResultStore
    run: RunUnits
    log: Callable[[str], None]


def load_whole_library(folder: Path) -> BlockLibrary:
    """Return a library of which every stage was distilled.

    Raises: ConfigError naming the stages that are missing, and the command that distills them; or the code of its space has
    changed.
    """
    library = load_library(folder)
    if library.missing:
        stages = ", ".join(map(str, library.missing))
        raise ConfigError(
            f"--library {folder}: of {library.config.stages} stages, {stages} {'is' if len(library.missing) == 1 else 'are'} not "
            f"distilled; run: {shlex.join(['harness', 'distill', str(folder / TEACHER), '--output', str(folder)])}"
        )
    check_learning(folder, library.config, keeps=False)
    return library


def fine_tune_recipe(path: Path | None, library: BlockLibrary, *, epochs: int, seed: int) -> Recipe:
    """Return the recipe of fine-tuning: a file's, or the teacher's with these epochs, this seed and a lower rate.

    Raises: ConfigError when the file cannot be used.
    """
    if path is None:
        own = library.teacher.recipe
        return replace(own, epochs=epochs, seed=seed, learning_rate=own.learning_rate * FINE_TUNE_RATE)
    return Recipe.from_file(path, option="--fine-tune-recipe")


def known_accuracies(folder: Path, library: BlockLibrary, task: Task | None = None) -> KnownAccuracies:
    """Return the validation accuracies of a folder that `harness train` wrote; with a `task`, its images are compared, too.

    Raises: ConfigError when it holds none, or trainings of another task than the library's.
    """
    digest = task.images_digest if task is not None else None
    units = stored_units(ResultStore(folder=folder))
    for unit in units:
        if unit.config["task"] != library.teacher.source:
            raise ConfigError(
                f"--trained {folder}: its networks were trained on {unit.config['task']!r}, the library's teacher on "
                f"{library.teacher.source!r}; give trainings on the same images"
            )
        if digest is not None and unit.config.get("task_sha256", digest) != digest:
            raise ConfigError(
                f"--trained {folder}: {library.teacher.source} changed since its networks were trained; train them again"
            )
    config = library.config
    if is_enumerable(config):
        try:
            found = load_accuracies([folder], metric="val_top1", config=config)
        except DatasetError as error:
            raise ConfigError(f"--trained {folder}: {error}") from error
        indices = np.flatnonzero(~np.isnan(found.values) & is_first(config))
        accuracies = found.values[indices]
    else:  # published files name networks by hashes, which cannot be looked up there
        found = mean_over_seeds(seed_accuracies(folder, config=config))
        assert found.indices is not None  # of a space too large to list
        indices, accuracies = found.indices, found.values
    epochs = _epochs_of_units(units, config, indices)
    return KnownAccuracies(indices=indices, accuracies=accuracies, origin=found.origin, epochs=epochs)


def _epochs_of_units(units: Sequence[Unit], config: SpaceConfig, indices: IndexArray) -> IndexArray | None:
    """Return the epochs of all recorded trainings of networks (n,), by any name, (n,); None where some were trained elsewhere."""
    by_key = Counter[int | bytes]()
    for unit in units:
        index = Architecture.parse(unit.config["architecture"], config).index
        by_key[network_key(config, index)] += unit.config["recipe"]["epochs"]
    epochs = np.array([by_key[network_key(config, index)] for index in indices.tolist()], dtype=np.int64)
    return epochs if epochs.all() else None

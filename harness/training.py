"""Train networks on images: what `harness train` does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from harness.dataframe import Tabular
from harness.models.names import select_architectures
from search.work.events import sentence
from search.work.results import Results
from search.work.running import Runner, run_units
from search.work.training_folder import FinishedTraining, check_alike, grouped, publish, training_units
from search.work.unit import Unit
from space import Architecture, find_space
from space.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from search.training.images import Task
    from search.training.recipe import Recipe


class RunUnits(Protocol):
    """Run units of work, each with its name, and show their progress. Raises: as `search.work.running.run_units`."""

    def __call__(
        self, units: Sequence[tuple[str, Unit]], *, results: Results, runner: Runner
    ) -> dict[str, str]:
        """Return the digest of each result by the unit's key."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNetworks(Tabular, Sequence[FinishedTraining]):
    """The trained networks that were asked for, a row each.

    `not_trained`: those that failed, and `error` why. `files`: the published files, of all `in_folder` networks that were ever
    trained in the folder; `notes`: what these leave out.
    """

    rows: tuple[FinishedTraining, ...]
    task: Task
    recipe: Recipe
    not_trained: tuple[str, ...]
    error: HarnessError | None
    files: tuple[Path, ...]
    in_folder: int
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> FinishedTraining: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[FinishedTraining, ...]: ...

    def __getitem__(self, index: int | slice) -> FinishedTraining | tuple[FinishedTraining, ...]:
        return self.rows[index]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return the rows as plain values, accuracies in percent, and the columns."""
        columns = {
            "architecture": lambda one: str(one.trained.architecture),
            "graph_hash": lambda one: one.trained.architecture.graph_hash,
            "index": lambda one: one.trained.architecture.index,
            "best_epoch": lambda one: one.trained.best.number,
            "val_top1_percent": lambda one: one.trained.best.val.top1,
            "test_top1_percent": lambda one: one.trained.test.top1,
            "synthetic": lambda one: one.trained.synthetic,
            "train_s": lambda one: one.trained.train_ns / 1e9,
            "weights": lambda one: str(one.weights),
        }  # fmt: skip
        return [{name: read(one) for name, read in columns.items()} for one in self.rows], list(columns)


def train(
    networks: str | Sequence[str],
    folder: str | Path,
    *,
    task: str = "digits",
    space: str = "blox",
    recipe: Recipe | Mapping[str, Any] | None = None,
    together: int = 1,
    runner: Runner | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> TrainedNetworks:
    """Train networks from scratch; what is trained in the folder already is not trained again.

    networks: as for `measure`. folder: takes results, weights, and the published files that `join` reads as accuracies. task:
    images, `digits`, `synthetic:SEED`, or a folder with CIFAR's binary archive. recipe: the task's usual one, a whole one, or
    the values to change of the usual, such as {"epochs": 5}. together: networks trained as one in each job. runner: a process of
    this machine, unless it is another `search.work` runner. `log` is given a line of progress at a time.
    Raises: ConfigError when a name or value cannot be used; HarnessError when a training failed: the others are kept.

    >>> trained = train("sample:2@1", folder, space="tiny", recipe={"epochs": 1})
    >>> for one in trained:
    ...     print(one.trained.architecture, one.trained.test.top1 > 5)
    mbconv-conv+out/mbconv-bconv+in True
    mbconv-mbconv+in+out/mbconv-bconv+in+out True
    """
    from search.training.recipe import Recipe, default_recipe
    from search.training.tasks import load_task
    from search.work.local_pool import LocalPool

    config = find_space(space)
    architectures = select_architectures([networks] if isinstance(networks, str) else networks, config)
    if not isinstance(recipe, Recipe):
        recipe = Recipe.from_plain(default_recipe(task).to_plain() | dict(recipe or {}))

    def run(units: Sequence[tuple[str, Unit]], *, results: Results, runner: Runner) -> dict[str, str]:
        names = {unit.key: name for name, unit in units}

        def called(unit: Unit) -> str:
            return names.get(unit.key) or str(unit)

        only = [unit for _, unit in units]
        return run_units(only, results, runner, lambda event: log(sentence(event, called)), called=called)

    trained = train_networks(
        architectures,
        load_task(task, config),
        recipe,
        Path(folder),
        runner or LocalPool(),
        together=together,
        run=run,
    )
    if trained.error is not None:
        raise trained.error
    return trained


def train_networks(
    architectures: Sequence[Architecture],
    task: Task,
    recipe: Recipe,
    folder: Path,
    runner: Runner,
    *,
    together: int,
    run: RunUnits,
) -> TrainedNetworks:
    """Train networks into a folder and publish all that it holds; a training that fails is the answer's `error`.

    Raises: ConfigError when the folder holds trainings of another kind, or a file cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder")
    units, results = training_units(architectures, task, recipe), Results(folder=folder)
    check_alike(results, units[0])
    names = {unit.key: str(one) for unit, one in zip(units, architectures, strict=True)}
    jobs = grouped(units, results, together)
    error: HarnessError | None = None
    try:
        run(
            [(_named([names[unit.key] for unit in of]), job) for job, of in jobs],
            results=results,
            runner=runner,
        )
    except HarnessError as found:
        error = found
    finally:  # stopped, too: what is finished can be used
        finished, paths, notes = publish(results, units, jobs)
    return TrainedNetworks(
        rows=tuple(finished[unit.key] for unit in units if unit.key in finished),
        task=task,
        recipe=recipe,
        not_trained=tuple(names[unit.key] for unit in units if unit.key not in finished),
        error=error,
        files=tuple(paths),
        in_folder=len(finished),
        notes=tuple(notes),
    )


def _named(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")

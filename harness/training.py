"""Train networks on images, and distill blocks from them: what `harness train` and `harness distill` do, for Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.dataframe import RowTable, Tabular
from harness.models.names import Network, listed_networks, some, space_meant, whole_number
from search.distillation.recipe import DistilRecipe, parse_form
from search.training.own_data.in_memory import task_in_memory
from search.training.recipe import Recipe, default_recipe
from search.training.sealed_head import TEACHER
from search.training.tasks import check_fit, check_split, load_task, load_task_of
from search.work.distillations import stage_units
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.training_folder import (
    FinishedTraining,
    check_alike,
    check_learning,
    grouped,
    load_teacher,
    publish,
    training_units,
)
from search.work.unit_runs import Runner, Watch, logged, run_watched
from space import Space, find_space
from space.atomic_files import check_folder, write_file
from space.definition import check_code
from space.errors import ConfigError, HarnessError
from space.selection import select_models
from space.stages import check_stages
from space.text import first_of

if TYPE_CHECKING:
    from search.distillation.block_library import BlockLibrary
    from search.distillation.signatures import Signatures
    from search.training.images import Task
    from search.training.own_data.in_memory import InMemory
    from search.training.trained import Trained
    from space import SpaceConfig

TASK = "task.json"  # in a folder of trainings: where a user's own images are from, their classes and normalization
UNITS = "results"  # in a library's folder: units of work, done and under way


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TrainedNetworks(RowTable[FinishedTraining]):
    """The trained networks that were asked for, a row each.

    `not_trained`: those that failed, and `error` why. `files`: the published files, of all `in_folder` networks that were ever
    trained in the folder; `notes`: what these leave out.
    """

    rows: tuple[FinishedTraining, ...]
    space: str
    task: Task
    recipe: Recipe
    not_trained: tuple[str, ...]
    error: HarnessError | None
    files: tuple[Path, ...]
    in_folder: int
    notes: tuple[str, ...]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return the rows as plain values, accuracies in percent, and the columns."""
        columns: dict[str, Callable[[FinishedTraining], object]] = {
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class DistilledBlocks(Tabular):
    """A library of blocks with what each is worth: a table of a row a block of a stage, its `signatures` the columns."""

    library: BlockLibrary
    signatures: Signatures
    task: Task

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return the blocks that were distilled as plain values, accuracy changes in points, and the columns."""
        columns, word = self.signatures.columns, "synthetic_" if self.task.synthetic else ""
        named = {name: name if name in ("params", "macs") else word + name for name in columns}
        places = [
            (one.stage, block, self.library.config.blocks.index(block))
            for one in self.library.stages
            if one is not None
            for block in one.blocks
        ]
        rows = [
            {"stage": stage, "block": str(block)}
            | {named[name]: float(values[stage, place]) for name, values in columns.items()}
            for stage, block, place in places
        ]
        return rows, ["stage", "block", *named.values()]


def train(
    networks: Network | Iterable[Network],
    folder: str | Path,
    *,
    task: str | InMemory = "digits",
    space: str | Path | Space = "",
    recipe: Recipe | Mapping[str, Any] | None = None,
    together: int = 1,
    runner: Runner | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> TrainedNetworks:
    """Train networks from scratch; what is trained in the folder already is not trained again.

    - `networks` and `space`: as for `measure`.
    - `folder` takes results, weights, and the published files that `join` reads as accuracies.
    - `task`, the images: "digits", "synthetic:SEED", a folder with CIFAR's binary archive, "folder:PATH" with a folder for
      each class, or "npz:FILE"; or what Python holds, which the folder keeps as a file: a pair of arrays, images and labels,
      a torch `Dataset`, or a mapping of "train", "val" and "test" to these.
    - `recipe`: by default the task's usual one; a whole one, or the values to change of the usual, such as {"epochs": 5}.
    - `together`: networks trained as one in each job. `runner`: of `search.work`, by default a process of this machine.
    - `log` is given a line of progress at a time.

    Raises: ConfigError when a name or value cannot be used; HarnessError when a training failed: the others are kept.

    >>> trained = train("sample:2@1", folder, space="tiny", recipe={"epochs": 1})
    >>> for one in trained:
    ...     print(one.trained.architecture, one.trained.test.top1 > 5)
    mbconv-conv+out/mbconv-bconv+in True
    mbconv-mbconv+in+out/mbconv-bconv+in+out True
    """
    several = some("networks", networks)
    config = space_meant(several, space)
    trained = train_networks(
        listed_networks(several, config),
        Path(folder),
        task=task,
        space=config.name,
        recipe=recipe or {},
        together=whole_number("together", together),
        runner=runner,
        watch=logged(log),
        log=log,
    )
    if trained.error is not None:
        raise trained.error
    return trained


def train_networks(
    networks: Sequence[str],
    folder: Path,
    *,
    task: str | InMemory,
    space: str,
    recipe: Recipe | Mapping[str, Any],
    together: int,
    runner: Runner | None,
    watch: Watch,
    log: Callable[[str], None],
) -> TrainedNetworks:
    """Train networks into a folder and publish all that it holds, as `train` does; what fails is the answer's `error`.

    Raises: ConfigError when a name or value cannot be used, the folder holds trainings of another kind, or a file cannot be
    written.
    """
    config = find_space(space)
    architectures = select_models(networks, config)
    check_folder(folder)
    images = _task_of(task, config, folder, log)
    if not isinstance(recipe, Recipe):
        recipe = Recipe.from_plain(default_recipe(images.source).to_plain() | dict(recipe))
    units, results = training_units(architectures, images, recipe), ResultStore(folder=folder)
    check_alike(results, units[0])
    check_learning(folder, config)
    if images.class_names:
        write_file(folder / TASK, json.dumps(images.to_plain(), indent=1).encode())
    names = {unit.key: str(one) for unit, one in zip(units, architectures, strict=True)}
    jobs = grouped(units, results, together)
    named = [(first_of([names[unit.key] for unit in of], 1), job) for job, of in jobs]
    error: HarnessError | None = None
    try:
        run_watched(
            named,
            results,
            epochs=recipe.epochs,
            title=images.name,
            runner=runner or LocalPool(),
            watch=watch,
        )
    except HarnessError as found:
        error = found
    finally:  # stopped, too: what is finished can be used
        finished, paths, notes = publish(results, units, jobs)
    return TrainedNetworks(
        rows=tuple(finished[unit.key] for unit in units if unit.key in finished),
        space=config.name,
        task=images,
        recipe=recipe,
        not_trained=tuple(names[unit.key] for unit in units if unit.key not in finished),
        error=error,
        files=tuple(paths),
        in_folder=len(finished),
        notes=tuple(notes),
    )


def distill(
    teacher: str | Path,
    folder: str | Path,
    *,
    network: str = "",
    task: str | InMemory = "",
    stages: int | Iterable[int] | None = None,
    form: str = "",
    recipe: DistilRecipe | Mapping[str, Any] | None = None,
    runner: Runner | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = lambda line: None,
    watch: Watch | None = None,
) -> DistilledBlocks:
    """Train every block of every stage to answer as a trained network's stage does, and measure what each is worth.

    - `teacher`: the folder of `train`, of which `network`, by default the most accurate; or a file of one network.
    - `folder` takes the library, for `harness search --method blockwise`.
    - `task`: as for `train`, by default the teacher's images.
    - `stages`: numbers from 0, by default all.
    - `form`: distill as a method publishes it, "donna", "lana" or "dna". `recipe`: by default the usual one; a whole one, or
      the values to change of the usual and the form's.
    - `device`: of torch, such as "cuda". `runner` and `log`: as for `train`. `watch`: shows the distillations in place of
      `log`.

    Raises: ConfigError when a name or value cannot be used, or the folder holds another teacher's library.

    >>> blocks = distill(teacher, folder, stages=[1], recipe={"epochs": 1})
    >>> len(blocks.to_records()[0])
    45
    """
    published = parse_form(form)
    if not isinstance(recipe, DistilRecipe):
        recipe = DistilRecipe.from_plain(DistilRecipe().to_plain() | dict(published) | dict(recipe or {}))
    elif form:
        raise ConfigError(f"form {form!r}: a whole recipe says all that a form says; leave one of them out")
    folder, trained = Path(folder), load_teacher(Path(teacher), network)
    from search.distillation.block_library import BlockLibrary, load_library, save_stage, stage_from
    from search.distillation.block_scores import cached_signatures
    from search.training.trained_files import save_trained

    config = trained.architecture.config
    check_stages(config, "distilling")
    check_code(config)
    images = _images_of(trained, task, folder, log)
    named = {whole_number("stages", one) for one in some("stages", stages)}
    places = sorted(named) or list(range(config.stages))
    if wrong := [place for place in places if not 0 <= place < config.stages]:
        raise ConfigError(f"stage {wrong[0]}: space {config.name!r} has stages 0 to {config.stages - 1}")
    _check_library(folder, trained)
    check_learning(folder, config)
    results = ResultStore(folder=folder / UNITS)
    units = stage_units(trained, images, dict.fromkeys(places, recipe), results)
    done = run_watched(
        [(f"stage {place}", unit) for place, unit in zip(places, units, strict=True)],
        results,
        epochs=recipe.epochs,
        title="distilling",
        runner=runner or LocalPool(device=device),
        watch=watch or logged(log),
    )
    save_trained(folder / TEACHER, trained)
    made = [stage_from(results.get(done[unit.key])) for unit in units]
    for one in made:
        save_stage(folder, one)
    whole = len(made) == config.stages
    library = BlockLibrary(teacher=trained, stages=tuple(made)) if whole else load_library(folder)
    signatures = cached_signatures(library, images, results.folder, device, log)
    return DistilledBlocks(library=library, signatures=signatures, task=images)


def _images_of(teacher: Trained, task: str | InMemory, folder: Path, log: Callable[[str], None]) -> Task:
    """Return the images of a task, by default the teacher's.

    Raises: ConfigError where neither says any, or they hold out others than the teacher's.
    """
    if task == "":
        return load_task_of(teacher, log)
    images = _task_of(task, teacher.architecture.config, folder, log)
    check_split(images, teacher)
    return images


def _task_of(task: str | InMemory, config: SpaceConfig, folder: Path, log: Callable[[str], None]) -> Task:
    """Return the images of a source, or those that Python holds, which a file in the folder then keeps. Raises: ConfigError."""
    if isinstance(task, str):
        return load_task(task, config, log)
    images = task_in_memory(task, config, folder, log)
    check_fit(images, config)
    return images


def _check_library(folder: Path, teacher: Trained) -> None:
    """Raise ConfigError where a folder cannot take the library of this teacher."""
    from search.training.trained import trained_digest
    from search.training.trained_files import load_trained

    check_folder(folder)
    kept = folder / TEACHER
    if kept.exists() and trained_digest(load_trained(kept)) != trained_digest(teacher):
        raise ConfigError(f"{folder} is the library of another teacher; name another folder")

"""The folder of `harness train`: finished trainings, the published files of all, the weights of each.

FOLDER/units, objects, scratch     `search.work.results`: trainings done, and those under way
FOLDER/blox-base-SEED.csv ...      `search.training.published_files`: all that were trained in this folder with the seed
FOLDER/weights-SEED/NETWORK.pt     state dicts of `space.networks.build_network`, which `harness export --checkpoint` reads
FOLDER/learning.txt                of a user's own modules: how they learn, `space.definition.learning_digest`
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.training.published_files import training_datasets, write_trainings
from search.training.sealed_head import check_trained
from search.work.results import ResultStore
from search.work.trainings import TOGETHER, keep_each, together_unit, training_unit
from search.work.unit import Unit
from space import Architecture, ArchitectureError
from space.accuracies.seeds import SeedAccuracies
from space.atomic_files import locked, write_file
from space.dataset import write_dataset
from space.dataset.schema import MAX_LIST
from space.definition import learning_digest
from space.errors import ConfigError, MissingMetric, did_you_mean
from space.hash_table import first_names
from space.text_files import read_text

if TYPE_CHECKING:
    from search.training.images import Task
    from search.training.recipe import Recipe
    from search.training.trained import Trained
    from space import SpaceConfig

KIND, LEARNING = "train", "learning.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTraining:
    """A finished training without its weights, and the file that holds them."""

    trained: Trained
    weights: Path


def training_units(architectures: Sequence[Architecture], task: Task, recipe: Recipe) -> list[Unit]:
    """Return the unit of each network's training.

    Raises: ConfigError for more epochs than the published files hold, in which trainings end.
    """
    if recipe.epochs > MAX_LIST:
        raise ConfigError(
            f"recipe: {recipe.epochs} epochs are more than the {MAX_LIST} that published files hold; give {MAX_LIST} or fewer"
        )
    first = training_unit(architectures[0], task, recipe)  # hashes the images, which is done once
    return [Unit(kind=KIND, config={**first.config, "architecture": str(one)}) for one in architectures]


def grouped(units: Sequence[Unit], results: ResultStore, together: int) -> list[tuple[Unit, list[Unit]]]:
    """Return the units to run, each with its trainings: itself, or `together` unfinished ones.

    Raises: ConfigError for less than one.
    """
    if together < 1:
        raise ConfigError(f"together = {together}: give 1 or more networks to train as one")
    if together == 1:
        return [(unit, [unit]) for unit in units]
    rest = [unit for unit in units if results.result_of(unit) is None]
    groups = [rest[at : at + together] for at in range(0, len(rest), together)]
    return [(together_unit(group), group) for group in groups]


def check_alike(results: ResultStore, unit: Unit) -> None:
    """Refuse a folder that holds trainings of another space, task or recipe than a unit's; seeds may differ.

    Published files have one space, task and recipe, for other trainings are not comparable. Raises: ConfigError.
    """
    wanted = _terms(unit.config)
    for other in stored_units(results):
        found = _terms(other.config)
        differing = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
        if differing:
            what = "; ".join(f"{key} is {found.get(key)} there, {wanted.get(key)} now" for key in differing)
            raise ConfigError(
                f"{results.folder} holds trainings of another kind: {what}; name another --output, or train alike"
            )


def check_learning(folder: Path, config: SpaceConfig, *, keeps: bool = True) -> None:
    """Refuse a folder of networks of a user's own modules that learn otherwise now, as where more paths are dropped in training.

    Of a new folder, or of one of another version of torch, how they learn is kept, if `keeps`. Raises: ConfigError.
    """
    found, path = learning_digest(config), folder / LEARNING
    if not found:
        return
    kept = read_text(path).strip() if path.exists() else ""
    if kept != found and kept.rpartition(" ")[0] == found.rpartition(" ")[0]:
        raise ConfigError(
            f"{folder}: what is there was trained by other code: a module of space {config.name!r} now does something else in "
            "training, or begins with weights of another scale; put the code back, or name another folder"
        )
    if keeps and kept != found:
        write_file(path, f"{found}\n".encode())


def stored_units(results: ResultStore) -> list[Unit]:
    """Return the recorded units of networks trained alone from scratch, readable or not."""

    found = []
    for path in sorted((results.folder / "units").glob("*.json")):
        try:
            record = json.loads(path.read_text("utf-8"))
            if record["kind"] == KIND and not record["inputs"]:
                unit = Unit(kind=KIND, config=record["config"])
                if unit.key == record["key"]:  # else of another version of the training
                    found.append(unit)
        except (OSError, ValueError, TypeError, KeyError, ConfigError):
            continue  # no record: as `ResultStore` does, the unit counts as not done
    return found


def publish(
    results: ResultStore, units: Sequence[Unit], jobs: Sequence[tuple[Unit, Sequence[Unit]]]
) -> tuple[dict[str, FinishedTraining], list[Path], list[str]]:
    """Publish all finished trainings of the folder, with those of `units` and of `jobs`, each a unit with its trainings.

    Returns the finished trainings by key, the paths of the published files, and notes on these.

    Raises: ConfigError when a file cannot be written.
    """
    for job, of in jobs:
        if job.kind == TOGETHER and results.result_of(job):
            keep_each(job, of, results)
    # Else of two commands that end at once the later one may have read less.
    with locked(results.folder / "published"):
        finished = collect(results, {unit.key: unit for unit in [*stored_units(results), *units]}.values())
        return finished, *write_published(results.folder, finished.values())


def collect(results: ResultStore, units: Iterable[Unit]) -> dict[str, FinishedTraining]:
    """Return finished units by key; missing weight files are written.

    Raises: ConfigError when a file cannot be written.
    """
    from search.training.trained_files import trained_from, write_weights

    found = {}
    for unit in units:
        if (result := results.finished(unit)) is None:
            continue
        digest, content = result
        trained = trained_from(content, str(results.path_of(digest)))
        name = f"{str(trained.architecture).replace('/', '.')}.pt"
        path = results.folder / f"weights-{trained.recipe.seed}" / name
        write_weights(path, trained.weights, trained.architecture, task=trained.task)
        # Thousands of networks fit in memory without their weights.
        found[unit.key] = FinishedTraining(trained=dataclasses.replace(trained, weights={}), weights=path)
    return found


def write_published(folder: Path, finished: Iterable[FinishedTraining]) -> tuple[list[Path], list[str]]:
    """Write the published files of finished trainings, a set for each seed; return their paths and notes.

    Raises: ConfigError when one cannot be written.
    """
    by_seed: dict[int, list[Trained]] = {}
    networks: dict[int, Trained] = {}
    for one in finished:
        by_seed.setdefault(one.trained.recipe.seed, []).append(one.trained)
        networks.setdefault(one.trained.architecture.index, one.trained)
    paths: dict[Path, None] = {}
    notes: dict[str, None] = {}
    for trained in by_seed.values():
        written = write_trainings(folder, trained, replace=True)
        paths |= dict.fromkeys(written.paths)
        notes |= dict.fromkeys(written.notes)
    if len(by_seed) > 1:  # of networks there is one file for all seeds: each set wrote its own
        recipe = next(iter(networks.values())).recipe
        alike = [dataclasses.replace(one, recipe=recipe) for one in networks.values()]
        (path,) = (path for path in paths if path.stem == "blox-info")
        write_dataset(path, training_datasets(alike)["info"])
    return list(paths), list(notes)


def seed_accuracies(folder: Path, *, metric: str = "", config: SpaceConfig) -> SeedAccuracies:
    """Return the accuracies of a folder's finished trainings of a space of any size, rounded as in the published files.

    Trainings of one network with one seed, under several names, are averaged. `metric`: val_top1, by which the best
    epoch is chosen, or test_top1. Raises: ConfigError when no training has finished.
    """
    metric = metric or "val_top1"
    if metric not in ("val_top1", "test_top1"):
        raise MissingMetric(f"no metric {metric!r} in {folder} (there are: val_top1, test_top1)")
    rows = [
        (
            one.architecture.index,
            one.recipe.seed,
            round((one.best.val if metric == "val_top1" else one.test).top1, 3),
            one.synthetic,
        )
        for one in _all_of(folder)
        if one.architecture.config == config
    ]
    if not rows:
        raise ConfigError(
            f"{folder}: holds no finished training of space {config.name!r}; name a folder of 'harness train --space "
            f"{config.name}'"
        )
    indices, seeds, values, synthetic = zip(*rows, strict=True)
    trained = np.stack([first_names(config, np.array(indices)), np.array(seeds)])
    (networks, seeds_of), places = np.unique(trained, axis=1, return_inverse=True)
    places = places.ravel()  # numpy 2.0 alone gives it a second axis
    return SeedAccuracies(
        metric=metric,
        epoch="best",
        indices=networks,
        seeds=seeds_of,
        values=np.bincount(places, values) / np.bincount(places),
        origin=(str(folder),),
        synthetic=any(synthetic),
        config=config,
    )


def load_teacher(path: Path, network: str = "") -> Trained:
    """Return a trained network; of a folder of `harness train` the one named, or that of the highest validation accuracy.

    Raises: ConfigError when there is none, or `network` does not name what is there.
    """
    if not (path / "units").is_dir():
        check_trained(path)
        from search.training.trained_files import load_trained

        found = load_trained(path)
        if network:
            try:
                wanted = Architecture.parse(network, found.architecture.config)
            except ArchitectureError as error:
                raise ConfigError(f"--network: {error}") from error
            if wanted != found.architecture:
                raise ConfigError(f"--network {network}: {path} holds {found.architecture}; leave it out")
        return found
    asked, names, seeds = network.strip(), set[str](), list[str]()
    best: Trained | None = None
    for one in _all_of(path):  # one at a time: the weights of thousands do not fit in memory
        names.add(name := str(one.architecture))
        if asked in ("", name):
            seeds.append(str(one.recipe.seed))
            # By images classed right, then a low loss: all trained on the same images.
            best = max(best or one, one, key=lambda each: (each.best.val.first, -each.best.val.loss))
    if not names:
        raise ConfigError(f"{path}: no training has finished there; run 'harness train' to its end")
    if best is None:
        raise ConfigError(
            f"--network {network!r} was not trained in {path}{did_you_mean(network, sorted(names))}"
        )
    if asked and len(seeds) > 1:
        raise ConfigError(
            f"--network {network!r} was trained with seeds {', '.join(seeds)} in {path}; give its own folder"
        )
    return best


def _terms(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs shared by the trainings of one folder; a user's space by its name, which is the same wherever it lies."""
    space = config["space"]
    named = space["name"] if isinstance(space, Mapping) and "chain" in space else space
    aspects = {"space": named} | {key: config.get(key) for key in ("task", "task_sha256")}
    recipe = {f"recipe's {key}": value for key, value in config["recipe"].items() if key != "seed"}
    return {key: json.dumps(value, sort_keys=True) for key, value in (aspects | recipe).items()}


def _all_of(folder: Path) -> Iterator[Trained]:
    from search.training.trained_files import trained_from

    results = ResultStore(folder=folder)
    for unit in stored_units(results):
        if result := results.finished(unit):
            digest, content = result
            yield trained_from(content, str(results.path_of(digest)))

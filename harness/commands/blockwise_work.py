"""The work of a blockwise search, kept so that none is done twice: signing, fine-tuning, distilling; and what it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.commands.blockwise_costs import SpaceCosts
from harness.commands.library_signatures import signed
from harness.commands.summed_costs import SummedCosts
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.blockwise.library import BlockLibrary
    from search.blockwise.searching import FineTune, Plan
    from search.blockwise.signatures import Signatures
    from search.table.constraints import Constraint
    from search.training.images import Task
    from search.training.recipe import Recipe
    from search.training.trained import Trained
    from search.work.results import Results
    from search.work.running import Runner
    from search.work.unit import Unit
    from space import Architecture, SpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """Validation accuracies of some trained networks, in percent, and where they are from."""

    indices: NDArray[np.int64]
    accuracies: NDArray[np.float64]
    origin: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What all rounds of a search have in common; `recipe` is that of fine-tuning, `device` as torch names it.

    `columns` are the signatures that the predictor reads, None for those that it reads by itself.
    """

    task: Task
    costs: SpaceCosts | SummedCosts
    constraints: tuple[Constraint, ...]
    confident: bool
    plan: Plan
    predictor: str
    columns: tuple[str, ...] | None
    known: Known | None
    recipe: Recipe
    guide: Mapping[str, float]
    seed: int
    device: str
    results: Results
    runner: Runner
    say: Callable[[str], None]


def signatures_of(library: BlockLibrary, setting: Setting) -> Signatures:
    """Return a library's signatures, kept beside the results.

    Raises: ConfigError when the file cannot be written.
    """
    return signed(library, setting.task, setting.results.folder, setting.device, setting.say)


def fine_tuner(library: BlockLibrary, setting: Setting) -> FineTune:
    """Return what fine-tunes networks from the library's weights, as units of work: what is done already is not done again."""
    from search.training.trained_files import trained_from

    def tune(architectures: Sequence[Architecture]) -> list[Trained]:
        units = finetune_units(library, architectures, setting)
        setting.say(f"fine-tuning {len(units)} networks for {setting.recipe.epochs} epochs each")
        named = [(str(one), unit) for one, unit in zip(architectures, units, strict=True)]
        done = _run(named, setting.recipe.epochs, "fine-tuning", setting)
        return [
            trained_from(setting.results.get(done[unit.key]), str(setting.results.path_of(done[unit.key])))
            for unit in units
        ]

    return tune


def distilled(teacher: Trained, like: BlockLibrary, setting: Setting) -> BlockLibrary:
    """Return the library of a new teacher, distilled as the blocks of another library were."""
    from search.blockwise.library import BlockLibrary, stage_from
    from search.work.distillations import stage_units

    units = [
        unit
        for place in range(like.config.stages)
        for unit in stage_units(teacher, setting.task, [place], like.stage(place).recipe, setting.results)
    ]
    setting.say(f"distilling {len(units)} stages of {teacher.architecture}")
    named = [(f"stage {place}", unit) for place, unit in enumerate(units)]
    epochs = max(like.stage(place).recipe.epochs for place in range(like.config.stages))
    done = _run(named, epochs, "distilling", setting)
    stages = tuple(stage_from(setting.results.get(done[unit.key])) for unit in units)
    return BlockLibrary(teacher=teacher, stages=stages)


def finetune_units(
    library: BlockLibrary, architectures: Sequence[Architecture], setting: Setting
) -> list[Unit]:
    """Return the unit of each network's fine-tuning; teacher and stages are kept as their inputs."""
    from search.blockwise.library import KIND as STAGE
    from search.blockwise.library import stage_content
    from search.training.trained_files import KIND, trained_content
    from search.work.trainings import plain_space
    from search.work.unit import Unit

    results = setting.results
    inputs = {"teacher": results.add(trained_content(library.teacher), KIND)}
    for place in range(library.config.stages):
        inputs[f"stage{place}"] = results.add(stage_content(library.stage(place)), STAGE)
    return [
        Unit(
            kind="finetune",
            config={
                "space": plain_space(library.config),
                "architecture": str(one),
                "task": setting.task.source,
                "task_sha256": setting.task.images_digest,
                "recipe": json.loads(setting.recipe.to_json()),
                "guide": dict(setting.guide),
            },
            inputs=inputs,
        )
        for one in architectures
    ]


def distilling_cost(teacher: Trained, like: BlockLibrary, task: Task) -> float:
    """Return the operations that distilling a teacher takes as another library was; see `search.study.costs`."""
    from search.blockwise.shared import CALIBRATION_IMAGES
    from search.study.costs import calibration_flops, distilling_flops, supernet_flops

    images, flops = len(task.train), []
    for one in like.stages:
        if one is None:
            continue
        cost = supernet_flops if one.recipe.shared else distilling_flops
        recipe = one.recipe
        flops.append(
            cost(like.config, teacher.architecture.index, one.stage, images, recipe.epochs, recipe.views)
        )
        if recipe.shared:
            flops.append(calibration_flops(like.config, one.stage, min(images, CALIBRATION_IMAGES)))
    return math.fsum(flops)


def tuning_cost(teacher: Trained, index: int, setting: Setting) -> float:
    """Return the operations that fine-tuning a network under a teacher takes."""
    from search.study.costs import guided_flops

    return guided_flops(
        teacher.architecture.config,
        index,
        teacher.architecture.index,
        len(setting.task.train),
        setting.recipe.epochs,
    )


def known_accuracies(folder: Path, library: BlockLibrary) -> Known:
    """Return the validation accuracies of a folder that `harness train` wrote.

    Raises: ConfigError when it holds none, or trainings of another task than the library's.
    """
    from search.work.results import Results
    from search.work.training_folder import stored_units
    from space import is_enumerable
    from space.accuracies import load_accuracies
    from space.errors import DatasetError

    units = stored_units(Results(folder=folder))
    for unit in units:
        if unit.config["task"] != library.teacher.source:
            raise ConfigError(
                f"--trained {folder}: its networks were trained on {unit.config['task']!r}, the library's teacher on "
                f"{library.teacher.source!r}; give trainings on the same images"
            )
    if not is_enumerable(library.config):
        # Published files name networks by hashes, which nobody can look up there.
        return _accuracies_of(folder, units, library.config)
    try:
        found = load_accuracies([folder], metric="val_top1", config=library.config)
    except DatasetError as error:
        raise ConfigError(f"--trained {folder}: {error}") from error
    indices = np.flatnonzero(~np.isnan(found.values))
    return Known(indices=indices, accuracies=found.values[indices], origin=found.origin)


def _run(units: Sequence[tuple[str, Unit]], epochs: int, title: str, setting: Setting) -> dict[str, str]:
    """Run units, each with its name, and return the digest of each result by the unit's key."""
    from harness.output.training_progress import run_shown

    return run_shown(
        units, epochs, setting.results, setting.runner, quiet=False, title=title, line=setting.say
    )


def _accuracies_of(folder: Path, units: Sequence[Unit], config: SpaceConfig) -> Known:
    """Return the accuracies that finished trainings themselves tell, as `space.accuracies` reads them: means over seeds.

    Raises: ConfigError when none of this space has finished.
    """
    from search.training.trained_files import trained_from
    from search.work.results import Results

    results = Results(folder=folder)
    by_index: dict[int, list[float]] = {}
    for unit in units:
        if digest := results.result_of(unit):
            trained = trained_from(results.get(digest), str(results.path_of(digest)))
            if trained.architecture.config == config:
                by_index.setdefault(trained.architecture.index, []).append(round(trained.best.val.top1, 3))
    if not by_index:
        raise ConfigError(
            f"--trained {folder}: holds no finished training of space {config.name!r}; name a folder of 'harness train --space "
            f"{config.name}'"
        )
    indices = sorted(by_index)
    return Known(
        indices=np.array(indices, dtype=np.int64),
        accuracies=np.array([np.mean(by_index[index]) for index in indices]),
        origin=(str(folder),),
    )

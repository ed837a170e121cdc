"""Distillations and fine-tunings as units of work: the kinds "distil-stage" and "finetune".

A "distil-stage" has `space`, `task`, `stage` and `recipe` (of `search.distillation.recipe`), and the input `teacher`, a
trained network; its content is a distilled stage. A "finetune" has `space`, `architecture`, `task`, `recipe` (of a training) and
`guide` (weight and temperature), and the inputs `teacher` and `stage0`, `stage1` and so on; its content is the trained network
that was assembled from the stages and then learned from the teacher as well. Both may hold `task_sha256`, as trainings do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search.distillation.recipe import DistilRecipe
from search.training.recipe import Recipe
from search.work.kinds import Content, Context
from search.work.trainings import (
    TRAINING_KEYS,
    architecture_of,
    check_keys,
    guide_fields,
    plain_space,
    space_from_plain,
    task_of,
)
from search.work.unit import Unit
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.distillation.block_library import BlockLibrary
    from search.training.distillation_loss import Start
    from search.training.images import Task
    from search.training.trained import Trained
    from search.work.results import ResultStore
    from space import Architecture

_DISTIL = ("space", "task", "task_sha256", "stage", "recipe")


def stage_units(
    teacher: Trained, task: Task, recipes: Mapping[int, DistilRecipe], results: ResultStore
) -> list[Unit]:
    """Return the unit of the distillation of each stage that has a recipe; the teacher is kept as their input."""
    from search.training.trained_files import KIND, trained_content

    digest, images = results.add(trained_content(teacher), KIND), task.images_digest
    return [
        Unit(
            kind="distil-stage",
            config={
                "space": plain_space(teacher.architecture.config),
                "task": task.source,
                "task_sha256": images,
                "stage": place,
                "recipe": recipe.to_plain(),
            },
            inputs={"teacher": digest},
        )
        for place, recipe in recipes.items()
    ]


def library_inputs(library: BlockLibrary, results: ResultStore) -> dict[str, str]:
    """Return the inputs of fine-tunings from a library: its teacher and stages, which are kept."""
    from search.distillation.block_library import KIND as STAGE
    from search.distillation.block_library import stage_content
    from search.training.trained_files import KIND, trained_content

    inputs = {"teacher": results.add(trained_content(library.teacher), KIND)}
    for place in range(library.config.stages):
        inputs[f"stage{place}"] = results.add(stage_content(library.stage(place)), STAGE)
    return inputs


def finetune_units(
    architectures: Sequence[Architecture],
    task: Task,
    recipe: Recipe,
    guide: Mapping[str, float],
    inputs: Mapping[str, str],
) -> list[Unit]:
    """Return the unit of each network's fine-tuning; `inputs` are those of `library_inputs`."""
    images = task.images_digest
    return [
        Unit(
            kind="finetune",
            config={
                "space": plain_space(one.config),
                "architecture": str(one),
                "task": task.source,
                "task_sha256": images,
                "recipe": recipe.to_plain(),
                "guide": dict(guide),
            },
            inputs=inputs,
        )
        for one in architectures
    ]


def run_distillation(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Distill all blocks of a stage and return its `stage_content`.

    Raises:
        ConfigError: the config or the teacher cannot be used, or the task has other images than those of the config.
    """
    from search.distillation.block_library import stage_content
    from search.distillation.distill import distil_stage
    from search.distillation.teacher_features import StageTask
    from search.training.trained_files import trained_from

    check_keys(config, inputs, _DISTIL, ("teacher",))
    space = space_from_plain(config["space"])
    teacher = trained_from(_input(inputs, "teacher"), "input 'teacher'")
    if teacher.architecture.config != space:
        raise ConfigError(
            f"input 'teacher' is of space {teacher.architecture.config.name!r}, the unit of {space.name!r}; give a teacher of it"
        )
    task = task_of(config, space)
    recipe = DistilRecipe.from_plain(config["recipe"])
    stage = config["stage"]
    if type(stage) is not int:
        raise ConfigError(f"unit: stage {stage!r} is {type(stage).__name__}; give its number, from 0")

    stage_task = StageTask(teacher, task, stage, context.device)
    return stage_content(
        distil_stage(stage_task, recipe, folder=context.scratch, on_epoch=context.on_progress)
    )


def run_finetuning(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Assemble a network from distilled stages, train it on with their teacher, and return its `trained_content`.

    Raises:
        ConfigError: the config or an input cannot be used, or the task has other images than those of the config.
    """
    from search.distillation.block_library import BlockLibrary, stage_from
    from search.training.distillation_loss import Start
    from search.training.trained_files import trained_from

    architecture = architecture_of(config)
    names = [f"stage{place}" for place in range(architecture.config.stages)]
    check_keys(config, inputs, (*TRAINING_KEYS, "guide"), ("teacher", *names))
    teacher = trained_from(_input(inputs, "teacher"), "input 'teacher'")
    stages = tuple(stage_from(_input(inputs, name), f"input {name!r}") for name in names)
    library = BlockLibrary(teacher=teacher, stages=stages)
    start = Start(weights=library.assemble(architecture), origin=f"library {library.digest}")
    return fine_tuned(config, teacher, start, context)


def fine_tuned(config: Mapping[str, Any], teacher: Trained, start: Start, context: Context) -> Content:
    """Train the network of a "finetune" config from given weights on, with their teacher, and return its `trained_content`.

    Raises:
        ConfigError: the config cannot be used, or the task has other images than those of the config.
    """
    from search.training.distillation_loss import Guide
    from search.training.trained_files import trained_content
    from search.training.training import train

    architecture = architecture_of(config)
    task = task_of(config, architecture.config)
    recipe = Recipe.from_plain(config["recipe"])

    return trained_content(
        train(
            architecture,
            task,
            recipe,
            context.scratch,
            context.device,
            on_epoch=context.on_progress,
            start=start,
            guide=Guide(teacher=teacher, **guide_fields(config.get("guide", {}))),
        )
    )


def _input(inputs: Mapping[str, Content], name: str) -> Content:
    if name not in inputs:
        raise ConfigError(f"unit: it has no input {name!r}; give the digest of one")
    return inputs[name]

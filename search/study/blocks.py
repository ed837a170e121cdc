"""Scored block libraries: a teacher, the blocks distilled from its stages, their signatures, and the cost of each part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.blockwise.predictors import fit
from search.distillation.recipe import DistilRecipe
from search.distillation.signatures import Signatures
from search.study.settings import StudySettings
from search.study.truth import GroundTruth
from search.study.unit_runner import UnitRunner
from search.study.units import TEACHER, stage_input, study_unit
from search.training.images import Task
from search.training.recipe import Recipe
from search.training.trained import Trained
from search.training.trained_files import trained_from
from search.work.flops import Spent, guided_flops, network_flops, plugging_flops, recipe_flops
from search.work.trainings import training_unit
from search.work.unit import Unit
from space import Architecture
from space.indexing import FloatArray, IndexArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A trained network, its content `digest`, and the cost of all trainings that it depends on."""

    trained: Trained
    digest: str
    spent: Spent

    @property
    def index(self) -> int:
        """The canonical index of the network."""
        return self.trained.architecture.index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredLibrary:
    """A teacher's distilled and scored library. `distilled` is the cost of its stages, `scoring` that of their signatures.

    `inputs` are those of units that need the library. `top1` and `loss`, (networks,), are of networks judged with its weights,
    which took `judging_s` seconds.
    """

    teacher: Teacher
    inputs: Mapping[str, str]
    signatures: Signatures
    digest: str
    distilled: Spent
    scoring: Spent
    top1: FloatArray
    loss: FloatArray
    judging_s: float

    @property
    def spent(self) -> Spent:
        """Total cost, the teacher included."""
        return self.teacher.spent + self.distilled + self.scoring

    def sums(self, column: str, indices: IndexArray) -> FloatArray:
        """Return networks' scores, (n,), by the sum of a column of signatures: higher promises more."""
        return fit("sum", self.signatures, [column]).predict(indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """Settings, data and unit runner that all parts of the study share."""

    settings: StudySettings
    truth: GroundTruth
    task: Task
    unit_runner: UnitRunner

    @property
    def base(self) -> dict[str, Any]:
        """The part of a unit's config that names the space and the task."""
        if not self.task.class_names:
            return {"space": self.truth.config.name, "task": self.settings.task}
        # A user's own images can change under their source.
        own = {"task": self.task.source, "task_sha256": self.task.images_digest}
        return {"space": self.truth.config.name, **own}

    @property
    def images(self) -> int:
        """The number of training images."""
        return len(self.task.train)

    def recipe(self, seed: int) -> Recipe:
        """Return the recipe of training from scratch, with the ground truth's number of epochs."""
        return dataclasses.replace(self.settings.recipe, epochs=self.truth.epochs, seed=seed)


def make_teachers(context: StudyContext, wanted: Sequence[tuple[int, int]]) -> list[Teacher]:
    """Train networks from scratch, (index, seed) each."""
    config = context.truth.config
    units = [
        training_unit(Architecture.from_index(index, config), context.task, context.recipe(seed))
        for index, seed in wanted
    ]
    return _trained(
        context,
        units,
        [network_flops(config, index, context.images, context.truth.epochs) for index, _ in wanted],
    )


def score_libraries(
    context: StudyContext,
    teachers: Sequence[Teacher],
    seeds: Sequence[int],
    judged: Sequence[int] = (),
    *,
    recipe: Mapping[str, Any] | None = None,
    on_training: bool = False,
) -> list[ScoredLibrary]:
    """Distill all blocks of all stages from each teacher, with a seed each, and score them.

    `judged` are networks, by index, that are also evaluated with each library's weights. `recipe` distills, by default that of
    the settings. `on_training`: only the loss changes on training images are scored.
    """
    recipe = context.settings.distil if recipe is None else recipe
    units = [
        [
            study_unit(
                "distil",
                {**context.base, "stage": stage, "recipe": {**recipe, "seed": seed}},
                {TEACHER: teacher.digest},
            )
            for stage in range(context.truth.config.stages)
        ]
        for teacher, seed in zip(teachers, seeds, strict=True)
    ]
    context.unit_runner.digests([unit for row in units for unit in row])
    unsigned = [
        _unsigned(context, teacher, row, recipe) for teacher, row in zip(teachers, units, strict=True)
    ]
    config = {**context.base, "indices": list(judged), **({"part": "train"} if on_training else {})}
    images = context.images if on_training else len(context.task.profile)
    scoring = [study_unit("sign", config, inputs) for inputs, _ in unsigned]
    digests = context.unit_runner.digests(scoring)
    signed = []
    for teacher, (inputs, distilled), unit, digest in zip(teachers, unsigned, scoring, digests, strict=True):
        flops = plugging_flops(context.truth.config, teacher.index, images)
        content = context.unit_runner.results.get(digest)
        signed.append(
            ScoredLibrary(
                teacher=teacher,
                inputs=inputs,
                signatures=Signatures.from_json(content["signatures"]),
                digest=digest,
                distilled=distilled,
                scoring=Spent(flops=flops, seconds=context.unit_runner.seconds(unit) - content["judging_s"]),
                top1=np.array(content["top1"], dtype=np.float64),
                loss=np.array(content["loss"], dtype=np.float64),
                judging_s=content["judging_s"],
            )
        )
    return signed


def tune(context: StudyContext, wanted: Sequence[tuple[ScoredLibrary, int, int]]) -> list[Teacher]:
    """Fine-tune networks, (library, index, epochs) each; their cost is that of the fine-tuning alone."""
    starts = _starts(context, wanted)
    units = []
    for library, index, epochs in wanted:
        recipe = dataclasses.replace(context.settings.tuning, epochs=epochs)
        config = {
            **context.base,
            "architecture": str(Architecture.from_index(index, context.truth.config)),
            "recipe": recipe.to_plain(),
            "guide": dict(context.settings.guide),
        }
        inputs = {TEACHER: library.teacher.digest, "start": starts[library.digest, index]}
        units.append(study_unit("fine_tune", config, inputs))
    return _trained(
        context,
        units,
        [
            guided_flops(context.truth.config, index, library.teacher.index, context.images, epochs)
            for library, index, epochs in wanted
        ],
    )


def _trained(context: StudyContext, units: Sequence[Unit], flops: Sequence[float]) -> list[Teacher]:
    """Run trainings, each of known FLOPs, and return their networks."""
    unit_runner, made = context.unit_runner, []
    for unit, digest, own in zip(units, unit_runner.digests(units), flops, strict=True):
        spent = Spent(flops=own, networks=1, seconds=unit_runner.seconds(unit))
        made.append(
            Teacher(trained=trained_from(unit_runner.results.get(digest)), digest=digest, spent=spent)
        )
    return made


def _starts(
    context: StudyContext, wanted: Sequence[tuple[ScoredLibrary, int, int]]
) -> dict[tuple[str, int], str]:
    """Return the digests of assembled networks by library and index; a library, which is large, is read once."""
    libraries = {library.digest: library for library, _, _ in wanted}
    indices = {
        digest: sorted({index for library, index, _ in wanted if library.digest == digest})
        for digest in libraries
    }
    units = [
        study_unit("assemble", {**context.base, "indices": indices[digest]}, library.inputs)
        for digest, library in libraries.items()
    ]
    found = {}
    for digest, content in zip(libraries, context.unit_runner.contents(units), strict=True):
        for index, start in zip(indices[digest], content["starts"], strict=True):
            found[digest, index] = context.unit_runner.results.add(start, "assembled network")
    return found


def _unsigned(
    context: StudyContext,
    teacher: Teacher,
    units: Sequence[Unit],
    recipe: Mapping[str, Any],
) -> tuple[Mapping[str, str], Spent]:
    """Return the inputs of units that need the library of a teacher's distilled stages, and the cost of distilling these."""
    whole = DistilRecipe.from_plain(recipe)
    config, stages = context.truth.config, range(len(units))
    flops = sum(recipe_flops(config, teacher.index, stage, context.images, whole) for stage in stages)
    seconds = float(np.sum([context.unit_runner.seconds(unit) for unit in units]))
    inputs = {stage_input(stage): digest for stage, digest in enumerate(context.unit_runner.digests(units))}
    return {TEACHER: teacher.digest, **inputs}, Spent(flops=flops, seconds=seconds)

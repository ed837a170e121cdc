"""Signed libraries: a teacher, its stages' blocks distilled, and their signatures, with what each part cost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.distillation.recipe import DistilRecipe
from search.distillation.signatures import Signatures
from search.study import works
from search.study.settings import StudySettings
from search.study.truth import GroundTruth
from search.study.workshop import Workshop
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
    """A trained network, `digest` naming its content, and what all trainings that it rests on cost."""

    trained: Trained
    digest: str
    spent: Spent

    @property
    def index(self) -> int:
        """Its place in the canonical order of the space."""
        return self.trained.architecture.index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signed:
    """A teacher's distilled and signed library. `distilled` is what its stages cost, `plugged` what signing them did.

    `top1` and `loss` are of the networks that were judged with its weights, in `judging_s` seconds.
    """

    teacher: Teacher
    stages: tuple[str, ...]
    signatures: Signatures
    digest: str
    distilled: Spent
    plugged: Spent
    top1: FloatArray
    loss: FloatArray
    judging_s: float

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of units that need the library."""
        stages = {works.stage_input(stage): digest for stage, digest in enumerate(self.stages)}
        return {works.TEACHER: self.teacher.digest, **stages}

    @property
    def spent(self) -> Spent:
        """What it cost in all, the teacher too."""
        return self.teacher.spent + self.distilled + self.plugged

    def sums(self, column: str, indices: IndexArray) -> FloatArray:
        """Return networks' scores, (n,), by the sum of a column of signatures: higher promises more."""
        from search.blockwise.predictors import SignaturePredictor

        return SignaturePredictor("sum", self.signatures, [column]).predict(indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all parts of the study share."""

    settings: StudySettings
    truth: GroundTruth
    task: Task
    workshop: Workshop

    @property
    def base(self) -> dict[str, Any]:
        """The part of a unit's config that names the space and the task."""
        return {"space": self.settings.space, "task": self.settings.task}

    @property
    def images(self) -> int:
        """How many images networks learn from."""
        return len(self.task.train)

    def recipe(self, seed: int) -> Recipe:
        """Return how networks are trained from scratch, with so many epochs as the ground truth's were."""
        return dataclasses.replace(self.settings.recipe, epochs=self.truth.epochs, seed=seed)


def make_teachers(bench: Bench, wanted: Sequence[tuple[int, int]]) -> list[Teacher]:
    """Train networks from scratch, (index, seed) each."""
    config = bench.truth.config
    units = [
        training_unit(Architecture.from_index(index, config), bench.task, bench.recipe(seed))
        for index, seed in wanted
    ]
    return _trained(
        bench,
        units,
        [network_flops(config, index, bench.images, bench.truth.epochs) for index, _ in wanted],
    )


def sign_libraries(
    bench: Bench, teachers: Sequence[Teacher], seeds: Sequence[int], judged: Sequence[int] = ()
) -> list[Signed]:
    """Distil all blocks of all stages from each teacher, with a seed each, and sign them.

    `judged` are networks, by index, that are judged with each library's weights beside that.
    """
    stages = range(bench.truth.config.stages)
    units = [
        [
            Unit(
                kind=works.kind("distil"),
                config={**bench.base, "stage": stage, "recipe": {**bench.settings.distil, "seed": seed}},
                inputs={works.TEACHER: teacher.digest},
            )
            for stage in stages
        ]
        for teacher, seed in zip(teachers, seeds, strict=True)
    ]
    bench.workshop.digests([unit for row in units for unit in row])
    unsigned = [
        _unsigned(bench, teacher, row, bench.workshop.digests(row))
        for teacher, row in zip(teachers, units, strict=True)
    ]
    config = {**bench.base, "indices": list(judged)}
    signing = [Unit(kind=works.kind("sign"), config=config, inputs=inputs) for inputs, _ in unsigned]
    digests = bench.workshop.digests(signing)
    signed = []
    for teacher, (inputs, distilled), unit, digest in zip(teachers, unsigned, signing, digests, strict=True):
        flops = plugging_flops(bench.truth.config, teacher.index, len(bench.task.val))
        content = bench.workshop.results.get(digest)
        signed.append(
            Signed(
                teacher=teacher,
                stages=tuple(inputs[works.stage_input(stage)] for stage in stages),
                signatures=Signatures.from_json(content["signatures"]),
                digest=digest,
                distilled=distilled,
                plugged=Spent(flops=flops, seconds=bench.workshop.seconds(unit) - content["judging_s"]),
                top1=np.array(content["top1"], dtype=np.float64),
                loss=np.array(content["loss"], dtype=np.float64),
                judging_s=content["judging_s"],
            )
        )
    return signed


def tune(bench: Bench, wanted: Sequence[tuple[Signed, int, int]]) -> list[Teacher]:
    """Fine-tune networks: (library, index, epochs) each. What each cost is the fine-tuning alone."""
    starts = _starts(bench, wanted)
    units = []
    for library, index, epochs in wanted:
        recipe = dataclasses.replace(bench.settings.tuning, epochs=epochs)
        config = {
            **bench.base,
            "architecture": str(Architecture.from_index(index, bench.truth.config)),
            "recipe": json.loads(recipe.to_json()),
            "guide": dict(bench.settings.guide),
        }
        inputs = {works.TEACHER: library.teacher.digest, "start": starts[library.digest, index]}
        units.append(Unit(kind=works.kind("fine_tune"), config=config, inputs=inputs))
    return _trained(
        bench,
        units,
        [
            guided_flops(bench.truth.config, index, library.teacher.index, bench.images, epochs)
            for library, index, epochs in wanted
        ],
    )


def _trained(bench: Bench, units: Sequence[Unit], flops: Sequence[float]) -> list[Teacher]:
    """Run trainings, each of known FLOPs, and return their networks."""
    workshop, made = bench.workshop, []
    for unit, digest, own in zip(units, workshop.digests(units), flops, strict=True):
        spent = Spent(flops=own, networks=1, seconds=workshop.seconds(unit))
        made.append(Teacher(trained=trained_from(workshop.results.get(digest)), digest=digest, spent=spent))
    return made


def _starts(bench: Bench, wanted: Sequence[tuple[Signed, int, int]]) -> dict[tuple[str, int], str]:
    """Return the digests of assembled networks by library and index; a library, which is large, is read once."""
    libraries = {library.digest: library for library, _, _ in wanted}
    indices = {
        digest: sorted({index for library, index, _ in wanted if library.digest == digest})
        for digest in libraries
    }
    units = [
        Unit(
            kind=works.kind("assemble"),
            config={**bench.base, "indices": indices[digest]},
            inputs=library.inputs,
        )
        for digest, library in libraries.items()
    ]
    found = {}
    for digest, content in zip(libraries, bench.workshop.contents(units), strict=True):
        for index, start in zip(indices[digest], content["starts"], strict=True):
            found[digest, index] = bench.workshop.add(start, "assembled network")
    return found


def _unsigned(
    bench: Bench, teacher: Teacher, units: Sequence[Unit], digests: Sequence[str]
) -> tuple[Mapping[str, str], Spent]:
    recipe = DistilRecipe.from_json(json.dumps(bench.settings.distil))
    config, stages = bench.truth.config, range(len(units))
    flops = sum(recipe_flops(config, teacher.index, stage, bench.images, recipe) for stage in stages)
    seconds = float(np.sum([bench.workshop.seconds(unit) for unit in units]))
    inputs = {works.stage_input(stage): digest for stage, digest in enumerate(digests)}
    return {works.TEACHER: teacher.digest, **inputs}, Spent(flops=flops, seconds=seconds)

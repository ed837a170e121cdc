"""Distillations and fine-tunings as units: what they give is what the calls give, they go on, and bad ones are refused."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from factories.small_distillations import SMALL, TEACHER, small_teacher

from search.distillation.block_library import BlockLibrary, StageLibrary, stage_content, stage_from
from search.distillation.distill import distil_stage
from search.distillation.recipe import DistilRecipe
from search.distillation.teacher_features import StageTask
from search.study.units import study_kind
from search.training.images import Task
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import trained_digest
from search.training.trained_files import trained_content, trained_from
from search.work.distillations import run_distillation, run_finetuning
from search.work.kinds import Context, Step, load_function
from search.work.trainings import plain_space
from space import Architecture, SpaceConfig
from space.errors import ConfigError

pytestmark = pytest.mark.training

SOURCE = "synthetic:0:10/5/5"
DISTIL = DistilRecipe(epochs=2, batch=20, seed=3)
TUNE = Recipe(epochs=2, batch=20, learning_rate=1e-9, weight_decay=0)  # weights stay
STUDENT = Architecture.parse(TEACHER, SMALL)  # the teacher's own, of other weights


class Stopped(Exception):
    pass


@cache
def task() -> Task:
    return load_task(SOURCE, SMALL)


@cache
def stages() -> tuple[StageLibrary, ...]:
    once = dataclasses.replace(DISTIL, epochs=1)
    return tuple(
        distil_stage(StageTask(small_teacher(), task(), place), once, [block])
        for place, block in enumerate(STUDENT.blocks)
    )


def distillation(**changes: Any) -> dict[str, Any]:
    recipe = json.loads(DISTIL.to_json())
    return {"space": plain_space(SMALL), "task": SOURCE, "stage": 1, "recipe": recipe, **changes}


def finetuning(**changes: Any) -> dict[str, Any]:
    config = {"space": plain_space(SMALL), "architecture": str(STUDENT), "task": SOURCE}
    return {**config, "recipe": json.loads(TUNE.to_json()), **changes}


def inputs(*names: str) -> dict[str, dict[str, Any]]:
    every = {"teacher": trained_content(small_teacher())}
    every |= {f"stage{place}": stage_content(one) for place, one in enumerate(stages())}
    return {name: every[name] for name in names}


def context(told: list[str], scratch: Path | None = None, most: int = 99) -> Context:
    def report(step: Step) -> None:
        told.append(str(step))
        if len(told) == most:
            raise Stopped

    return Context(scratch=scratch, device="cpu", threads=1, on_progress=report)


ALL = ("teacher", "stage0", "stage1")


def test_a_distillation_gives_what_the_call_gives_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    lean = dataclasses.replace(SMALL, name="lean", ops=("conv",))  # of 6 blocks
    teacher = small_teacher("conv/conv", config=lean)
    given = {"teacher": trained_content(teacher)}
    config, told = distillation(space=plain_space(lean), task_sha256=task().images_digest), []
    with pytest.raises(Stopped):
        run_distillation(config, given, context([], tmp_path, most=1))
    found = stage_from(run_distillation(config, given, context(told, tmp_path)))
    assert told == ["blocks 1 to 6 of 6, epoch 2 of 2"]
    wanted = distil_stage(StageTask(teacher, task(), 1), DISTIL)
    assert (found.stage, found.recipe, found.teacher) == (1, DISTIL, trained_digest(teacher))
    assert found.nsr.tolist() == wanted.nsr.tolist() and found.history.tolist() == wanted.history.tolist()


def test_a_fine_tuning_begins_with_the_librarys_blocks_has_the_teacher_and_goes_on(tmp_path: Path) -> None:
    config, told = finetuning(guide={"weight": 0.25}, task_sha256=task().images_digest), []
    with pytest.raises(Stopped):
        run_finetuning(config, inputs(*ALL), context([], tmp_path, most=1))
    found = trained_from(run_finetuning(config, inputs(*ALL), context(told, tmp_path)), "it")
    assert len(told) == 1 and told[0].startswith("epoch 2 of 2, ")
    library = BlockLibrary(teacher=small_teacher(), stages=stages())
    assert found.start == f"library {library.digest}"
    assert found.guide == {"teacher": trained_digest(small_teacher()), "weight": "0.25", "temperature": "4.0"}
    for name, tensor in library.assemble(STUDENT).items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(found.weights[name], tensor, rtol=0, atol=1e-6)


def test_the_study_distils_and_fine_tunes_as_a_search_does() -> None:
    assert load_function(study_kind("distil")) is load_function("distil-stage")
    library = BlockLibrary(teacher=small_teacher(), stages=stages())
    start = {
        "architecture": str(STUDENT),
        "weights": library.assemble(STUDENT),
        "origin": f"library {library.digest}",
    }
    config = finetuning(recipe={**json.loads(TUNE.to_json()), "learning_rate": 0.01}, guide={"weight": 0.25})
    wanted = trained_from(run_finetuning(config, inputs(*ALL), context([])), "it")
    run = load_function(study_kind("fine_tune"))
    found = trained_from(run(config, {**inputs("teacher"), "start": start}, context([])), "it")
    assert (found.start, found.guide, found.test) == (wanted.start, wanted.guide, wanted.test)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in wanted.weights.items())
    with pytest.raises(ConfigError, match="was given the weights of conv/conv"):
        run(config, {**inputs("teacher"), "start": {**start, "architecture": "conv/conv"}}, context([]))


OTHER = SpaceConfig(name="other", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=4)
DEEP = SpaceConfig(name="deep", ops=("conv",), widths=(4, 8, 16), image_size=8, classes=4)
IN_DEEP = {"space": plain_space(DEEP), "architecture": "conv/conv/conv"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": 1}, "unit: the config has no 'stages'"),
        ({"space": plain_space(OTHER)}, "input 'teacher' is of space 'small', the unit of 'other'"),
        ({"task_sha256": "0" * 64}, "has images of SHA-256"),
        ({"stage": "1"}, "unit: stage '1' is str; give its number"),
        ({"stage": True}, "unit: stage True is bool"),
        ({"recipe": {"epoch": 1}}, "no 'epoch'"),
    ],
)
def test_a_distillation_that_cannot_be_done_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run_distillation(distillation(**changes), inputs("teacher"), context([]))


@pytest.mark.parametrize(
    ("changes", "given", "told"),
    [
        ({"stage": 1}, ALL, "unit: the config has no 'stage'"),
        ({"task_sha256": "0" * 64}, ALL, "has images of SHA-256"),
        ({}, ("teacher", "stage0"), "it has no input 'stage1'; give the digest of one"),
        ({}, ("stage0", "stage1"), "it has no input 'teacher'"),
        (IN_DEEP, ALL, "it has no input 'stage2'"),
        ({"guide": {"wait": 1}}, ALL, "guide: wait = 1"),
        ({"architecture": "conv/conv"}, ALL, "stage 0 of the library has no block conv"),
    ],
)
def test_a_fine_tuning_that_cannot_be_done_is_refused(
    changes: dict[str, Any], given: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run_finetuning(finetuning(**changes), inputs(*given), context([]))


def test_a_distillation_without_or_with_other_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="it has no input 'teacher'"):
        run_distillation(distillation(), {}, context([]))
    with pytest.raises(ConfigError, match="unit: the inputs has no 'stage0'"):
        run_distillation(distillation(), inputs("teacher", "stage0"), context([]))

"""Distilling step by step: what a plain loop over one block does, what a stopped one knows, what it is lent and gives back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.small_distillations import BLOCKS, SMALL, pixels, small_task, small_teacher

from search.distillation import separate_weights
from search.distillation.block_library import StageLibrary
from search.distillation.checkpoints import NAME
from search.distillation.distill import distil_stage, together_for
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import distil_seed, fresh_stage
from search.distillation.teacher_features import StageTask, Views, teacher_features
from search.training.augment import Augmentation
from search.training.history import EpochDone
from search.training.trained import Trained, trained_digest
from space import BLOX, Block, SpaceConfig
from space.errors import ConfigError, HarnessError
from space.networks import Stage, build_network
from space.stages import SpaceStage

pytestmark = pytest.mark.training

VARIED = Augmentation(rand_ops=0, cutout=0)
RECIPE = DistilRecipe(
    epochs=3, batch=16, learning_rate=0.02, weight_decay=0.3, views=2, augmentation=VARIED, seed=5
)
QUICK = DistilRecipe(epochs=1, batch=20)
TWO = [BLOCKS["mbconv"], BLOCKS["conv-conv+out"]]
DEEP = SpaceConfig(name="deep", ops=("conv",), widths=(2, 4, 8), image_size=8, classes=4)  # ends at one pixel


def answered(teacher: Trained, stage: int, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the teacher's stage reads of images and what it answers, in evaluation mode."""
    network = build_network(teacher.architecture)
    network.load_state_dict(dict(teacher.weights))
    network.eval()
    with torch.no_grad():
        x = network.stem(pixels(images))
        for before in network.stages[:stage]:
            x = before(x)
        return x, network.stages[stage](x)


def plain_errors(answers: torch.Tensor, targets: torch.Tensor, variance: torch.Tensor) -> dict[str, Any]:
    """Return MSE and NSR of one block by their definitions."""
    each = ((answers - targets) ** 2).mean((0, 2, 3))
    return {"mse": each.mean(), "nsr": (each / variance).mean()}


def plainly(
    teacher: Trained, stage: int, recipe: DistilRecipe, block: Block
) -> tuple[list[float], dict[str, Any]]:
    """Distill one block by a plain loop: return its loss of each epoch, and what it is worth on the validation images."""
    task = small_task()
    with teacher_features(
        StageTask(teacher, task, stage),
        views=Views(
            count=recipe.views, augmentation=recipe.augmentation, seed=distil_seed(recipe, "views", stage)
        ),
    ) as found:
        inputs, targets = found.inputs.split(40), found.targets.split(40)  # by view
    variance = torch.cat(targets).var((0, 2, 3), correction=0)
    student = fresh_stage(recipe, SpaceStage(SMALL, stage), block).train()
    adam = torch.optim.Adam(student.parameters(), weight_decay=recipe.weight_decay)
    history, taken = [], 0
    for number in range(recipe.epochs):
        view = number % recipe.views
        order = torch.randperm(
            40, generator=torch.Generator().manual_seed(distil_seed(recipe, "order", stage, number + 1))
        )
        total = 0.0
        for rows in (order[:16], order[16:32], order[32:]):
            adam.param_groups[0]["lr"] = (
                recipe.learning_rate * (1 + math.cos(math.pi * taken / (3 * recipe.epochs))) / 2
            )
            loss = plain_errors(student(inputs[view][rows]), targets[view][rows], variance)[recipe.loss]
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(rows) / 40
            taken += 1
        history.append(total)
    read, wanted = answered(teacher, stage, task.val.images)
    with torch.no_grad():
        answers = student.eval()(read)
    return history, plain_errors(answers, wanted, wanted.var((0, 2, 3), correction=0))


@pytest.mark.parametrize("loss", ["nsr", "mse"])
def test_blocks_learn_together_what_a_plain_loop_teaches_each(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separate_weights, "_CHECK_EVERY", 2)  # of three batches an epoch
    recipe, teacher = dataclasses.replace(RECIPE, loss=loss), small_teacher()
    found = distil_stage(StageTask(teacher, small_task(), 1), recipe, TWO)
    for place, block in enumerate(TWO):
        history, worth = plainly(teacher, 1, recipe, block)
        np.testing.assert_allclose(found.history[:, place], history, rtol=1e-3)
        assert found.mse[place] == pytest.approx(float(worth["mse"]), rel=0.01)
        assert found.nsr[place] == pytest.approx(float(worth["nsr"]), rel=0.01)
    # The weights are those that were judged.
    read, wanted = answered(teacher, 1, small_task().val.images)
    for place, block in enumerate(TWO):
        stage = Stage(block, 8)
        stage.load_state_dict(dict(found.weights[place]))
        with torch.no_grad():
            worth = plain_errors(stage.eval()(read), wanted, wanted.var((0, 2, 3), correction=0))
        assert found.nsr[place] == pytest.approx(float(worth["nsr"]), rel=1e-3)


def test_the_stage_says_what_it_is_of_and_how_it_was_computed() -> None:
    teacher = small_teacher()
    found = distil_stage(StageTask(teacher, small_task(), 0), QUICK, TWO, together=8)
    assert found.teacher == trained_digest(teacher) and (found.stage, found.config) == (0, SMALL)
    assert (found.task, found.source) == ("synthetic noise", "synthetic noise")
    assert found.environment["together"] == "2"  # as many as there are
    assert (
        distil_stage(StageTask(teacher, small_task(), 0), QUICK, TWO, together=1).environment["together"]
        == "1"
    )


def test_only_where_the_recipe_says_so_is_the_teachers_own_block_kept() -> None:
    teacher, own = small_teacher(), BLOCKS["mbconv"]
    weights = {
        name.removeprefix("stages.1."): tensor
        for name, tensor in teacher.weights.items()
        if name.startswith("stages.1.")
    }

    def is_own(library: StageLibrary) -> list[bool]:
        return [
            state.keys() == weights.keys()
            and all(torch.equal(state[name], weights[name]) for name in weights)
            for state in library.weights
        ]

    blocks = [BLOCKS["conv"], own, BLOCKS["conv+conv"]]
    kept = distil_stage(
        StageTask(teacher, small_task(), 1), dataclasses.replace(QUICK, keep_own=True), blocks
    )
    learned = distil_stage(StageTask(teacher, small_task(), 1), QUICK, blocks)
    assert is_own(kept) == [False, True, False] and is_own(learned) == [False, False, False]
    assert kept.nsr[1] < 1e-6 < learned.nsr[1]
    np.testing.assert_allclose(kept.nsr[[0, 2]], learned.nsr[[0, 2]], rtol=1e-3)  # the others learn as ever
    # Each once.
    assert distil_stage(StageTask(teacher, small_task(), 1), QUICK, [*blocks, own]).blocks == tuple(blocks)


def test_initial_weights_are_the_recipes_stages_and_blocks_own_and_leave_torchs_generator() -> None:
    before = torch.get_rng_state()

    def drawn(seed: int, stage: int, text: str) -> torch.Tensor:
        recipe = dataclasses.replace(QUICK, seed=seed)
        return fresh_stage(recipe, SpaceStage(SMALL, stage), BLOCKS[text]).state_dict()[
            "reduction.shallow.0.weight"
        ]

    some = [drawn(*of) for of in ((0, 0, "conv"), (1, 0, "conv"), (0, 1, "conv"), (0, 0, "conv-conv"))]
    some.append(drawn(0, 0, "conv-conv+in"))  # of the same layers
    assert torch.equal(some[0], drawn(0, 0, "conv"))
    assert len({tuple(one.flatten().tolist()) for one in some}) == 5
    distil_stage(StageTask(small_teacher(), small_task(), 0), QUICK, TWO[:1])
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_learn_even_where_the_caller_wants_no_gradients() -> None:
    usual = distil_stage(StageTask(small_teacher(), small_task(), 0), QUICK, TWO[:1])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = distil_stage(StageTask(small_teacher(), small_task(), 0), QUICK, TWO[:1])
        assert found.nsr.tolist() == usual.nsr.tolist()


def test_a_stopped_distillation_goes_on_with_its_own_inputs_alone(tmp_path: Path) -> None:
    def stop(_: EpochDone) -> None:
        raise KeyboardInterrupt

    usual: dict[str, Any] = {
        "teacher": small_teacher(),
        "task": small_task(),
        "stage": 1,
        "recipe": QUICK,
        "blocks": TWO,
        "together": 1,
    }

    def distil(usual: dict[str, Any], on_epoch: Callable[[EpochDone], None] | None = None) -> None:
        more = dict(usual)
        stage_task = StageTask(more.pop("teacher"), more.pop("task"), more.pop("stage"))
        distil_stage(stage_task, folder=tmp_path, on_epoch=on_epoch, **more)

    with pytest.raises(KeyboardInterrupt):
        distil(usual, stop)
    for changes, what in (
        ({"teacher": small_teacher(seed=1)}, "teacher is"),
        ({"task": small_task(seed=1)}, "task is synthetic noise, images"),  # of the same name
        ({"stage": 0}, "stage is 1 in it, and 0 now"),
        ({"recipe": dataclasses.replace(QUICK, weight_decay=0.1)}, "recipe is"),
        ({"blocks": TWO[::-1]}, r"blocks is mbconv conv-conv\+out in it, and"),
        ({"together": 2}, "blocks at once is 1 in it, and 2 now"),
    ):
        with pytest.raises(ConfigError, match=f"is of another distillation: {what}"):
            distil(usual | changes)


def test_groups_before_a_stop_are_kept_the_one_in_work_goes_on_and_those_after_it_begin_anew(
    tmp_path: Path,
) -> None:
    usual: dict[str, Any] = {
        "recipe": dataclasses.replace(QUICK, epochs=2),
        "blocks": [*TWO, BLOCKS["conv"]],
        "together": 1,
    }

    def stop(done: EpochDone) -> None:
        if (done.first, done.number) == (1, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil_stage(StageTask(small_teacher(), small_task(), 1), folder=tmp_path, on_epoch=stop, **usual)
    assert (tmp_path / NAME).exists()
    told: list[EpochDone] = []
    found = distil_stage(
        StageTask(small_teacher(), small_task(), 1), folder=tmp_path, on_epoch=told.append, **usual
    )
    assert [(one.first, one.blocks, one.number) for one in told] == [(1, 1, 2), (2, 1, 1), (2, 1, 2)]
    assert told[-1] == EpochDone(number=2, epochs=2, first=2, blocks=1, of=3) and told[-1].share == 1
    assert list(tmp_path.iterdir()) == []
    whole = distil_stage(StageTask(small_teacher(), small_task(), 1), **usual)
    assert found.history.tolist() == whole.history.tolist() and found.nsr.tolist() == whole.nsr.tolist()
    for one, other in zip(found.weights, whole.weights, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_as_many_blocks_learn_together_as_two_gibibytes_hold() -> None:
    # 2^31 bytes over 4 bytes x 300 maps x width x pixels x batch
    assert [together_for(SpaceStage(BLOX, stage), 16) for stage in (0, 1, 2)] == [3, 6, 13]
    assert [together_for(SpaceStage(BLOX, stage), 256) for stage in (0, 1, 2)] == [1, 1, 1]


def test_memory_that_runs_out_names_the_blocks_and_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = separate_weights.repeated

    def small(x: torch.Tensor, count: int) -> torch.Tensor:
        if len(x) > 5:
            raise MemoryError
        return real(x, count)

    monkeypatch.setattr(separate_weights, "repeated", small)
    with pytest.raises(
        HarnessError,
        match=r"^distilling 2 blocks of stage 1 at once: .* with a batch of 20 images .* a batch of 5 fits",
    ):
        distil_stage(StageTask(small_teacher(), small_task(), 1), QUICK, TWO)


def test_a_batch_of_one_image_is_refused_only_where_batchnorm_has_one_pixel_of_it() -> None:
    alone = dataclasses.replace(QUICK, batch=13)  # 40 = 3 * 13 + 1
    assert distil_stage(StageTask(small_teacher(), small_task(), 1), alone, TWO[:1]).nsr.shape == (1,)
    teacher = small_teacher("conv/conv/conv", config=DEEP)
    with pytest.raises(ConfigError, match=r"batch = 13 leaves a batch of one of 40 images.*space 'deep'"):
        distil_stage(StageTask(teacher, small_task(), 2), alone)
    assert distil_stage(StageTask(teacher, small_task(), 1), alone).nsr.shape == (6,), "of 2 x 2 pixels"
    with pytest.raises(
        ConfigError, match="space 'deep' has no block mbconv in stage 2; its blocks are of conv"
    ):
        distil_stage(StageTask(teacher, small_task(), 2), QUICK, TWO[:1])
    assert distil_stage(
        StageTask(teacher, small_task(), 2), dataclasses.replace(QUICK, batch=12)
    ).history.shape == (
        1,
        6,
    )

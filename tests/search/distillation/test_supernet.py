"""The supernet of a stage: its paths are the blocks, it learns what it is shown, and it knows the block that the teacher has."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from factories.small_distillations import small_task_apart, small_teacher

from search.distillation.paths import path_sampler
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import BlockGroup
from search.distillation.supernet import (
    CellSupernet,
    additive_scores,
    judge_paths,
    learned_supernet,
    supernet_scores,
    train_supernet,
)
from search.distillation.teacher_features import FeatureMaps, StageTask, Views, teacher_features
from search.training.augment import Augmentation
from search.training.history import EpochDone
from space import TINY, SpaceConfig
from space.errors import HarnessError
from space.networks import Stage
from space.stages import SpaceStage

pytestmark = pytest.mark.training

SMALL = SpaceConfig(name="small", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=4)  # 21 blocks
STAGE = 1
RECIPE = DistilRecipe(epochs=1, batch=16, learning_rate=0.01)


def group(recipe: DistilRecipe, stage: SpaceStage | None = None) -> BlockGroup:
    stage = stage or SpaceStage(SMALL, STAGE)
    return BlockGroup(stage=stage, blocks=stage.blocks, recipe=recipe)


def features(count: int = 32, seed: int = 0, stage: int = STAGE) -> FeatureMaps:
    torch.manual_seed(seed)
    width, size = SMALL.widths[stage], SMALL.image_size >> stage
    # In which BatchNorm makes the answers as wide as a trained one's.
    teacher = Stage(SMALL.blocks[0], width).train()
    inputs = torch.randn(count, width, size, size)
    with torch.no_grad():
        return as_features(inputs, teacher(inputs))


def as_features(inputs: torch.Tensor, targets: torch.Tensor) -> FeatureMaps:
    return FeatureMaps(
        inputs=inputs, targets=targets, variance=targets.var(dim=(0, 2, 3), correction=0) + 1e-6
    )


def test_every_path_computes_what_the_block_with_these_weights_computes() -> None:
    network = CellSupernet(SpaceStage(TINY, 1)).eval()
    x = torch.randn(2, 16, 4, 4)
    for block in TINY.blocks:
        stage = Stage(block, 16).eval()
        if block.op0 is not None:
            stage.cell.op0.load_state_dict(network.first[block.op0].state_dict())
        stage.cell.op1.load_state_dict(network.last[block.op1].state_dict())
        stage.reduction.load_state_dict(network.reduction.state_dict())
        assert torch.equal(network(x, block), stage(x)), str(block)
    first, last = (dict(ops.named_parameters()) for ops in (network.first, network.last))
    assert first.keys() == last.keys() and all(first[name] is not last[name] for name in first)


def test_training_lowers_the_error_on_held_out_features() -> None:
    train, held_out = features(64), features(32, seed=0)
    told: list[EpochDone] = []
    short = supernet_scores(group(DistilRecipe(epochs=1, batch=16, learning_rate=1e-6)), train, held_out)
    long = supernet_scores(
        group(DistilRecipe(epochs=6, batch=16, learning_rate=0.01)),
        train,
        held_out,
        on_epoch=told.append,
    )
    assert long.shape == (21,)
    assert np.median(long) < 0.9 * np.median(short)
    assert len(told) == 6


def test_the_same_arguments_give_the_same_scores_and_leave_torch_s_generator() -> None:
    train, held_out = features(), features(16, 1)
    torch.manual_seed(5)
    first = supernet_scores(group(replace(RECIPE, seed=3)), train, held_out)
    after = torch.rand(1)
    torch.manual_seed(6)
    second = supernet_scores(group(replace(RECIPE, seed=3)), train, held_out)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert (first == second).all()
    assert (first != supernet_scores(group(replace(RECIPE, seed=4)), train, held_out)).any()


def test_a_path_that_holds_the_teacher_s_weights_has_no_error() -> None:
    network = CellSupernet(SpaceStage(SMALL, STAGE)).train()
    x = torch.randn(32, 8, 4, 4)
    with torch.no_grad():
        held_out = as_features(x, network(x, SMALL.blocks[7]))
    scores = judge_paths(network, SMALL.blocks, held_out, torch.ones(16, 1, 1), batch=32)
    assert scores[7] == pytest.approx(0, abs=1e-9)
    assert (np.delete(scores, 7) > 1e-4).sum() >= 18
    # BatchNorm looks at the whole batch, so that batches are made even, and an odd rest spoils nothing.
    assert judge_paths(network, SMALL.blocks[:2], held_out, torch.ones(16, 1, 1), batch=31).shape == (2,)


def test_the_noise_to_signal_ratio_weighs_channels_by_the_teacher_s_variance() -> None:
    train, held_out = features(), features(16, 1)
    louder = as_features(train.inputs, train.targets * 10)
    held_louder = as_features(held_out.inputs, held_out.targets * 10)
    medians = {}
    for loss in ("nsr", "mse"):
        quiet = supernet_scores(group(replace(RECIPE, loss=loss)), train, held_out)
        loud = supernet_scores(group(replace(RECIPE, loss=loss)), louder, held_louder)
        medians[loss] = np.median(quiet), np.median(loud)
    assert medians["mse"][1] > 20 * medians["mse"][0], "an error of a louder teacher is larger"
    assert medians["nsr"][1] < 2 * medians["nsr"][0], "its share of the teacher's variance is not"


def test_networks_are_ranked_by_the_sum_of_their_blocks_errors() -> None:
    scores = np.array([[1.0, 2.0], [10.0, 30.0]])
    assert additive_scores(scores, np.array([[0, 0], [1, 1], [1, 0]])).tolist() == [-11, -32, -12]


def test_a_loss_that_is_not_finite_is_refused() -> None:
    train = features(16)
    broken = as_features(train.inputs, torch.full_like(train.targets, float("inf")))
    with pytest.raises(HarnessError, match="supernet of stage 1: the loss of epoch 1 is"):
        supernet_scores(group(replace(RECIPE, loss="mse")), broken, train)


def test_a_supernet_takes_the_steps_of_a_plain_loop_over_views() -> None:
    recipe = DistilRecipe(epochs=3, batch=16, learning_rate=0.02, weight_decay=0.3, views=2, seed=4)
    both, held_out = features(80), features(21, 1)  # two views of 40: two batches and a rest each
    told: list[EpochDone] = []
    found = supernet_scores(group(recipe), both, held_out, on_epoch=told.append)
    orders, paths = (torch.Generator().manual_seed(seed) for seed in (8, 9))
    torch.manual_seed(4)
    network = CellSupernet(SpaceStage(SMALL, STAGE))
    adam = torch.optim.Adam(network.parameters(), weight_decay=0.3)
    means, taken = [], 0
    for view in (0, 1, 0):
        losses = []
        for rows in torch.randperm(40, generator=orders).split(16):
            adam.param_groups[0]["lr"] = 0.02 * (1 + math.cos(math.pi * taken / 9)) / 2
            block = SMALL.blocks[int(torch.randint(21, (), generator=paths))]
            wrong = network(both.inputs[40 * view + rows], block) - both.targets[40 * view + rows]
            loss = (wrong.square().mean((0, 2, 3)) / both.variance).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item() * len(rows))
            taken += 1
        means.append(sum(losses) / 40)
    assert [one.number for one in told] == [1, 2, 3]
    np.testing.assert_allclose([one.loss for one in told], means, rtol=1e-3)
    with torch.no_grad():  # 21 images in batches of 16 are one, of all
        wrong = network(held_out.inputs, SMALL.blocks[3]) - held_out.targets
    wanted = (wrong.square().mean((0, 2, 3)) / both.variance).mean()
    assert found[3] == pytest.approx(float(wanted), rel=0.01)


def test_a_fair_step_adds_up_the_gradients_of_its_paths_before_the_optimizer_moves() -> None:
    recipe = DistilRecipe(epochs=2, batch=16, learning_rate=0.02, shared=True, paths="fair", seed=4)
    train = features(32)
    network, means = learned_supernet(group(recipe), train)
    orders, paths = (torch.Generator().manual_seed(seed) for seed in (8, 9))
    sampler = path_sampler("fair", SMALL.ops, SMALL.blocks)
    torch.manual_seed(4)
    plain = CellSupernet(SpaceStage(SMALL, STAGE))
    adam = torch.optim.Adam(plain.parameters())
    for epoch in (0, 1):
        losses = []
        order = torch.randperm(32, generator=orders)
        drawn = [sampler.draw(lambda n: int(torch.randint(n, (), generator=paths))) for _ in range(2)]
        for place, rows in enumerate(order.split(16)):
            adam.param_groups[0]["lr"] = recipe.rate_at((2 * epoch + place) / 4)
            each = [
                (
                    (plain(train.inputs[rows], SMALL.blocks[one]) - train.targets[rows])
                    .square()
                    .mean((0, 2, 3))
                )
                / train.variance
                for one in drawn[place]
            ]
            adam.zero_grad()
            torch.stack([one.mean() for one in each]).sum().backward()
            adam.step()
            losses.append(torch.stack([one.mean() for one in each]).mean().item())
        assert means[epoch] == pytest.approx(sum(losses) / 2, rel=1e-4)
    # What they compute: biases before BatchNorm have no gradient but rounding, which Adam makes steps of.
    with torch.no_grad():
        for block in SMALL.blocks[::6]:
            torch.testing.assert_close(
                network(train.inputs, block), plain(train.inputs, block), rtol=1e-2, atol=1e-2
            )


def test_paths_are_judged_in_even_batches_of_which_every_image_counts_alike() -> None:
    network, held_out = CellSupernet(SpaceStage(SMALL, STAGE)), features(21, 1)
    before = {name: parameter.grad for name, parameter in network.named_parameters()}
    (found,) = judge_paths(network, SMALL.blocks[5:6], held_out, torch.full((16, 1, 1), 2.0), batch=8)
    total = 0.0
    network.train()
    for low, high in ((0, 7), (7, 14), (14, 21)):
        with torch.no_grad():
            wrong = network(held_out.inputs[low:high], SMALL.blocks[5]) - held_out.targets[low:high]
        total += 2 * float(wrong.square().mean()) * (high - low)
    assert found == pytest.approx(total / 21, rel=1e-5)
    # Batches of unlike size: 20 in three are of 6, 7 and 7.
    fewer = as_features(held_out.inputs[:20], held_out.targets[:20])
    (uneven,) = judge_paths(network, SMALL.blocks[5:6], fewer, torch.ones(16, 1, 1), batch=7)
    with torch.no_grad():
        parts = [
            ((network(fewer.inputs[a:b], SMALL.blocks[5]) - fewer.targets[a:b]).square().mean(), b - a)
            for a, b in ((0, 6), (6, 13), (13, 20))
        ]
    assert uneven == pytest.approx(sum(float(error) * size for error, size in parts) / 20, rel=1e-5)
    assert {name: parameter.grad for name, parameter in network.named_parameters()} == before  # none
    few = as_features(held_out.inputs[:3], held_out.targets[:3])
    assert judge_paths(network, SMALL.blocks[5:6], few, torch.ones(16, 1, 1), batch=16).shape == (1,)


def test_a_supernet_learns_the_teachers_stage_on_the_recipes_views_and_is_judged_on_images_for_profiling() -> (
    None
):
    teacher, task = small_teacher(), small_task_apart()
    recipe = DistilRecipe(
        epochs=2, batch=20, views=2, augmentation=Augmentation(rand_ops=0, cutout=0), seed=6, loss="mse"
    )
    found = train_supernet(StageTask(teacher, task, 1), recipe)
    with (
        teacher_features(
            StageTask(teacher, task, 1), views=Views(count=2, augmentation=recipe.augmentation, seed=6)
        ) as learned,
        teacher_features(StageTask(teacher, task, 1), "profile") as held_out,
    ):
        wanted = supernet_scores(group(recipe, SpaceStage(teacher.architecture.config, 1)), learned, held_out)
    assert found.tolist() == wanted.tolist() and len(set(found)) > 10

"""Blocks distilled with shared weights: they are a supernet's paths, each with statistics of BatchNorm of its own."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from factories.small_distillations import BLOCKS, SMALL, small_task, small_teacher

from search.distillation import supernet
from search.distillation.block_library import StageLibrary
from search.distillation.distill import distil_stage
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import BlockGroup
from search.distillation.supernet import learned_supernet, train_supernet
from search.distillation.teacher_features import StageTask, teacher_features
from search.training.history import EpochDone
from space.block import Block
from space.errors import ConfigError, HarnessError
from space.networks import Stage
from space.stages import SpaceStage

pytestmark = pytest.mark.training

STAGE = 1
RECIPE = DistilRecipe(epochs=3, batch=16, learning_rate=0.01, shared=True, seed=5)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


SOME = (*SMALL.blocks[::4], BLOCKS["mbconv"])  # with the teacher's own


def distilled(
    recipe: DistilRecipe = RECIPE, blocks: tuple[Block, ...] = SOME, **more: object
) -> StageLibrary:
    return distil_stage(StageTask(small_teacher(), small_task(), STAGE), recipe, blocks, **more)  # type: ignore[arg-type]


@cache
def usual() -> StageLibrary:
    """Return what the usual recipe gives, which several tests hold others against."""
    return distilled()


def same(one: StageLibrary, other: StageLibrary) -> bool:
    weights = zip(one.weights, other.weights, strict=True)
    return all(torch.equal(a[name], b[name]) for a, b in weights for name in a) and np.array_equal(
        one.nsr, other.nsr
    )


def test_equal_ops_in_equal_places_have_the_weights_of_the_supernet_that_learned_so() -> None:
    found = usual()
    assert found.blocks == SOME
    with teacher_features(StageTask(small_teacher(), small_task(), STAGE)) as train:
        network, losses = learned_supernet(
            BlockGroup(stage=SpaceStage(SMALL, STAGE), blocks=SOME, recipe=RECIPE), train
        )
    assert found.history.tolist() == [[loss] * len(SOME) for loss in losses]
    for block, state in zip(found.blocks, found.weights, strict=True):
        places = {"cell.op1": network.last[block.op1], "reduction": network.reduction}
        if block.op0 is not None:
            places["cell.op0"] = network.first[block.op0]
        wanted = {
            f"{place}.{name}": tensor
            for place, part in places.items()
            for name, tensor in part.state_dict().items()
        }
        assert wanted.keys() == state.keys()
        for name, tensor in wanted.items():
            if not name.endswith(STATISTICS):
                assert torch.equal(tensor, state[name]), f"{block} {name}"


def test_statistics_are_means_over_batches_along_the_block_s_own_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supernet, "CALIBRATION_IMAGES", 35)
    found = distilled()
    with teacher_features(StageTask(small_teacher(), small_task(), STAGE)) as train:
        batches = [train.inputs[:18], train.inputs[18:35]]
        for block, state in zip(found.blocks, found.weights, strict=True):
            stage = Stage(block, SMALL.widths[STAGE]).train()
            stage.load_state_dict(dict(state))
            seen: list[torch.Tensor] = []
            norm = stage.reduction.shallow[1]
            norm.register_forward_hook(lambda module, given, _, seen=seen: seen.append(given[0].detach()))
            with torch.no_grad():
                for batch in batches:
                    stage(batch)
            mean = torch.stack([one.mean((0, 2, 3)) for one in seen]).mean(0)
            variance = torch.stack([one.var((0, 2, 3)) for one in seen]).mean(0)
            torch.testing.assert_close(state["reduction.shallow.1.running_mean"], mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                state["reduction.shallow.1.running_var"], variance, rtol=1e-4, atol=1e-5
            )


def test_held_out_errors_are_of_blocks_in_evaluation_and_near_the_supernet_s_own_scores() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=12)
    found = distilled(recipe, SMALL.blocks)
    with teacher_features(StageTask(small_teacher(), small_task(), STAGE), "val") as held_out:
        stage = Stage(found.blocks[7], SMALL.widths[STAGE]).eval()
        stage.load_state_dict(dict(found.weights[7]))
        with torch.no_grad():
            wrong = (stage(held_out.inputs) - held_out.targets).square().mean((0, 2, 3)) / held_out.variance
    assert found.nsr[7] == pytest.approx(float(wrong.mean()), rel=1e-4)
    # By the statistics of each batch.
    scores = train_supernet(StageTask(small_teacher(), small_task(), STAGE), recipe)
    assert np.corrcoef(np.argsort(np.argsort(scores)), np.argsort(np.argsort(found.nsr)))[0, 1] > 0.6
    assert np.median(found.nsr) < np.median(
        distilled(dataclasses.replace(RECIPE, epochs=1), SMALL.blocks).nsr
    )


def test_blocks_at_once_change_memory_and_no_result() -> None:
    few, all_at_once = distilled(together=3), usual()
    np.testing.assert_allclose(few.nsr, all_at_once.nsr, rtol=1e-5)
    assert few.environment["together"] == "3"


def test_a_stopped_one_goes_on_bit_for_bit(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: EpochDone) -> None:
        assert (done.first, done.blocks, done.of) == (0, len(SOME), len(SOME))
        if done.number == 2:
            raise Stop

    told: list[int] = []
    with pytest.raises(Stop):
        distilled(folder=tmp_path, on_epoch=stop)
    assert list(tmp_path.iterdir())
    went_on = distilled(folder=tmp_path, on_epoch=lambda done: told.append(done.number))
    assert told == [3]
    assert list(tmp_path.iterdir()) == []
    assert same(went_on, usual())


def test_the_teacher_s_own_block_may_keep_the_teacher_s_weights() -> None:
    found = distilled(dataclasses.replace(RECIPE, keep_own=True))
    own = found.blocks.index(small_teacher().architecture.blocks[STAGE])
    assert found.nsr[own] < 1e-9 < np.delete(found.nsr, own).min()


def test_what_is_of_a_distillation_apart_is_not_gone_on_from(tmp_path: Path) -> None:
    def stop(done: EpochDone) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distilled(dataclasses.replace(RECIPE, shared=False), folder=tmp_path, on_epoch=stop)
    with pytest.raises(ConfigError, match="is of another distillation: recipe is"):
        distilled(folder=tmp_path)


def test_a_rate_too_high_is_named() -> None:
    with pytest.raises(
        HarnessError, match=r"supernet of stage 1: the loss of epoch 1 is nan; give a lower learning_rate"
    ):
        distilled(dataclasses.replace(RECIPE, learning_rate=1e30))

"""The supernet of a stage: its paths are the blocks, it learns what it is shown, and it knows the block that the teacher has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import ConfigError, HarnessError
from search.blockwise.supernet import Features, Supernet, additive_scores, judge_paths, supernet_scores
from space import TINY
from space.networks import Stage

STAGE = 1
KNOBS = {"epochs": 1, "batch": 16, "learning_rate": 0.05}


def features(count: int = 32, seed: int = 0, stage: int = STAGE) -> Features:
    torch.manual_seed(seed)
    width, size = TINY.widths[stage], TINY.image_size >> stage
    teacher = Stage(
        TINY.blocks[0], width
    ).train()  # in which BatchNorm makes the answers as wide as a trained one's
    inputs = torch.randn(count, width, size, size)
    with torch.no_grad():
        return Features(inputs=inputs, targets=teacher(inputs))


def test_every_path_computes_what_the_block_with_these_weights_computes() -> None:
    network = Supernet(TINY, STAGE).eval()
    x = torch.randn(2, 16, 4, 4)
    for block in TINY.blocks:
        stage = Stage(block, 16).eval()
        if block.op0 is not None:
            stage.cell.op0.load_state_dict(network.first[block.op0].state_dict())
        stage.cell.op1.load_state_dict(network.last[block.op1].state_dict())
        stage.reduction.load_state_dict(network.reduction.state_dict())
        assert torch.equal(network(x, block), stage(x)), str(block)


def test_training_lowers_the_error_on_held_out_features() -> None:
    train, held_out = features(64), features(32, seed=0)
    told: list[float] = []
    short = supernet_scores(TINY, STAGE, train, held_out, epochs=1, batch=16, learning_rate=1e-6)
    long = supernet_scores(
        TINY,
        STAGE,
        train,
        held_out,
        epochs=6,
        batch=16,
        learning_rate=0.1,
        on_epoch=lambda n, e: told.append(e),
    )
    assert long.shape == (45,)
    assert np.median(long) < 0.9 * np.median(short)
    assert len(told) == 6


def test_the_same_arguments_give_the_same_scores_and_leave_torch_s_generator() -> None:
    train, held_out = features(), features(16, 1)
    torch.manual_seed(5)
    first = supernet_scores(TINY, STAGE, train, held_out, **KNOBS, seed=3)
    after = torch.rand(1)
    torch.manual_seed(6)
    second = supernet_scores(TINY, STAGE, train, held_out, **KNOBS, seed=3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert (first == second).all()
    assert (first != supernet_scores(TINY, STAGE, train, held_out, **KNOBS, seed=4)).any()


def test_a_path_that_holds_the_teacher_s_weights_has_no_error() -> None:
    network = Supernet(TINY, STAGE).train()
    x = torch.randn(32, 16, 4, 4)
    with torch.no_grad():
        held_out = Features(inputs=x, targets=network(x, TINY.blocks[7]))
    scores = judge_paths(network, TINY.blocks, held_out, torch.ones(32, 1, 1), batch=32)
    assert scores[7] == pytest.approx(0, abs=1e-9)
    assert (np.delete(scores, 7) > 1e-4).sum() >= 40
    # BatchNorm looks at the whole batch, so that batches are made even, and an odd rest spoils nothing.
    assert judge_paths(network, TINY.blocks[:2], held_out, torch.ones(32, 1, 1), batch=31).shape == (2,)


def test_the_noise_to_signal_ratio_weighs_channels_by_the_teacher_s_variance() -> None:
    train, held_out = features(), features(16, 1)
    louder = Features(inputs=train.inputs, targets=train.targets * 10)
    held_louder = Features(inputs=held_out.inputs, targets=held_out.targets * 10)
    medians = {}
    for loss in ("nsr", "mse"):
        quiet = supernet_scores(TINY, STAGE, train, held_out, **KNOBS, loss=loss)
        loud = supernet_scores(TINY, STAGE, louder, held_louder, **KNOBS, loss=loss)
        medians[loss] = np.median(quiet), np.median(loud)
    assert medians["mse"][1] > 20 * medians["mse"][0], "an error of a louder teacher is larger"
    assert medians["nsr"][1] < 2 * medians["nsr"][0], "its share of the teacher's variance is not"


def test_networks_are_ranked_by_the_sum_of_their_blocks_errors() -> None:
    scores = {0: np.array([1.0, 2.0]), 1: np.array([10.0, 30.0])}
    assert additive_scores(scores, np.array([[0, 0], [1, 1], [1, 0]])).tolist() == [-11, -32, -12]


def test_bad_input_is_refused() -> None:
    train = features(16)
    with pytest.raises(ConfigError, match="no stage 2; its stages are 0 to 1"):
        supernet_scores(TINY, 2, train, train, **KNOBS)
    with pytest.raises(ConfigError, match="loss 'snr'; choose one of nsr, mse"):
        supernet_scores(TINY, STAGE, train, train, **KNOBS, loss="snr")
    with pytest.raises(ValueError, match="give one each"):
        Features(inputs=train.inputs, targets=train.targets[:3])
    broken = Features(inputs=train.inputs, targets=torch.full_like(train.targets, float("inf")))
    with pytest.raises(HarnessError, match="supernet of stage 1: the loss of epoch 1 is"):
        supernet_scores(TINY, STAGE, broken, train, **KNOBS, loss="mse")

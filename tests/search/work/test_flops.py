"""FLOPs of training and distilling, against sums by hand and against what networks' layers say."""

from __future__ import annotations

import pytest

from search.distillation.recipe import DistilRecipe
from search.work import flops
from search.work.flops import Spent
from space import TINY, Architecture

SMALL, LARGE = Architecture.parse("bconv/bconv", TINY), Architecture.parse("mbconv-mbconv/conv", TINY)


def test_training_is_three_passes_of_two_operations_a_multiply_accumulate() -> None:
    assert flops.training_flops(10, images=7, epochs=2) == 3 * 2 * 10 * 7 * 2
    assert flops.forward_flops(10, images=7) == 2 * 10 * 7
    assert flops.network_flops(TINY, LARGE.index, 100, 4) == 6 * LARGE.macs * 400


def test_a_network_s_parts_add_up_to_the_network() -> None:
    first = TINY.blocks.index(LARGE.blocks[0])
    second = TINY.blocks.index(LARGE.blocks[1])
    before = flops.teacher_macs(TINY, LARGE.index, 1)
    both = flops.teacher_macs(TINY, LARGE.index, 2)
    stem = flops.teacher_macs(TINY, LARGE.index, 0)
    assert before - stem == flops.stage_macs(TINY, 0)[first]
    assert both - before == flops.stage_macs(TINY, 1)[second]
    # What is left is the head: 32 channels of 2 x 2 pixels pooled, 32 x 10 weights and 10 biases.
    assert LARGE.macs - both == 32 * 4 + 32 * 10 + 10


def test_a_guided_training_also_pays_for_the_teacher_s_passes() -> None:
    alone = flops.network_flops(TINY, SMALL.index, 50, 2)
    assert flops.guided_flops(TINY, SMALL.index, LARGE.index, 50, 2) - alone == 2 * LARGE.macs * 100


def test_distilling_pays_for_every_block_and_a_supernet_for_one_a_step() -> None:
    passes = flops.forward_flops(flops.teacher_macs(TINY, LARGE.index, 2), 50)
    every = flops.recipe_flops(TINY, LARGE.index, 1, 50, DistilRecipe(epochs=3)) - passes
    one = flops.supernet_flops(TINY, LARGE.index, 1, 50, DistilRecipe(epochs=3)) - passes
    assert every == 6 * sum(flops.stage_macs(TINY, 1)) * 150
    assert every / one == pytest.approx(45)
    twice = flops.recipe_flops(TINY, LARGE.index, 1, 50, DistilRecipe(epochs=3, views=2))
    assert twice - every == pytest.approx(2 * passes)


@pytest.mark.parametrize(("paths", "images", "calibrating"), [("random", 600, 512), ("fair", 50, 50)])
def test_a_recipe_with_shared_weights_pays_for_a_supernet_and_its_calibration(
    paths: str, images: int, calibrating: int
) -> None:
    shared = DistilRecipe(epochs=3, views=2, shared=True, paths=paths)
    supernet = flops.supernet_flops(TINY, LARGE.index, 1, images, shared)
    calibrated = 2 * sum(flops.stage_macs(TINY, 1)) * calibrating
    assert flops.recipe_flops(TINY, LARGE.index, 1, images, shared) == supernet + calibrated


def test_a_fair_step_pays_for_a_path_an_op() -> None:
    def learned(paths: str) -> float:
        recipe = DistilRecipe(epochs=3, shared=True, paths=paths)
        passes = flops.forward_flops(flops.teacher_macs(TINY, LARGE.index, 2), 50)
        return flops.supernet_flops(TINY, LARGE.index, 1, 50, recipe) - passes

    by_ops: dict[tuple[str | None, str], int] = {}  # wiring costs nothing
    for block, macs in zip(TINY.blocks, flops.stage_macs(TINY, 1), strict=True):
        by_ops[block.op0, block.op1] = macs
    single = sum(macs for (first, _), macs in by_ops.items() if first is None)
    double = sum(macs for (first, _), macs in by_ops.items() if first) / 3
    assert learned("fair") == pytest.approx(6 * 150 * (3 / 45 * single + 42 / 45 * double))
    assert learned("fair") / learned("random") == pytest.approx(3, rel=0.02)


def test_plugging_in_the_teacher_s_own_blocks_costs_whole_passes() -> None:
    """Of a stage: what stands before it once, and from it on a pass for each block."""
    macs = LARGE.macs
    by_hand = 0
    for stage, block in enumerate(LARGE.blocks):
        before = flops.teacher_macs(TINY, LARGE.index, stage)
        own = flops.stage_macs(TINY, stage)[TINY.blocks.index(block)]
        by_hand += before + sum(m + macs - before - own for m in flops.stage_macs(TINY, stage))
    assert flops.plugging_flops(TINY, LARGE.index, images=5) == 2 * by_hand * 5


def test_what_was_spent_adds_up() -> None:
    both = Spent(flops=1, networks=1, seconds=2) + Spent(flops=3, seconds=0.5)
    assert both == Spent(flops=4, networks=1, seconds=2.5)
    mean = flops.mean_training_flops(TINY, [SMALL.index, LARGE.index], 10, 1)
    assert mean == 30 * (SMALL.macs + LARGE.macs)

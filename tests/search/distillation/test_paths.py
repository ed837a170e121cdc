"""Paths of a supernet's steps: what a step trains, counted, and how often that is in the mean."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from search.distillation.paths import FAIR, RANDOM, path_sampler
from space import TINY, SpaceConfig
from space.errors import ConfigError

STEPS = 20_000


def draws(paths: str, config: SpaceConfig, steps: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    sampler = path_sampler(paths, config.ops, config.blocks)
    return [sampler.draw(lambda count: int(rng.integers(count))) for _ in range(steps)]


def test_fair_paths_train_every_op_once_in_every_place_of_each_step() -> None:
    for step in draws(FAIR, TINY, 500):
        blocks = [TINY.blocks[place] for place in step]
        assert sorted(block.op1 for block in blocks) == sorted(TINY.ops)
        firsts = [block.op0 for block in blocks]
        assert firsts == [None] * 3 or sorted(map(str, firsts)) == sorted(TINY.ops)


@pytest.mark.parametrize("paths", [RANDOM, FAIR])
def test_blocks_are_drawn_as_often_as_is_said(paths: str) -> None:
    taken = draws(paths, TINY, STEPS)
    visits = path_sampler(paths, TINY.ops, TINY.blocks).visits
    counts = Counter(place for step in taken for place in step)
    found = np.array([counts[place] for place in range(len(TINY.blocks))]) / STEPS
    assert visits.sum() == pytest.approx(1 if paths == RANDOM else 3)
    assert visits.min() > 0
    # Of 45 blocks, by chance 1 in 3,000.
    assert np.abs(found - visits).max() < 4.5 * np.sqrt(visits.max() / STEPS)


def test_wirings_of_a_pair_of_ops_are_alike_and_so_are_pairs() -> None:
    visits = path_sampler(FAIR, TINY.ops, TINY.blocks).visits
    by_pair: dict[tuple[str | None, str], list[float]] = {}
    for block, often in zip(TINY.blocks, visits, strict=True):
        by_pair.setdefault((block.op0, block.op1), []).append(often)
    assert all(len(set(each)) == 1 for each in by_pair.values())
    sums = {sum(each) for (first, _), each in by_pair.items() if first}
    assert len(by_pair) == 12 and max(sums) == pytest.approx(min(sums))


def test_with_one_op_a_fair_step_is_a_single_path() -> None:
    one = SpaceConfig(name="one", ops=("conv",), widths=(4,), image_size=8, classes=4)
    assert all(len(step) == 1 for step in draws(FAIR, one, 50))
    alone = path_sampler(FAIR, TINY.ops, [block for block in TINY.blocks if block.op0 is None])
    assert alone.visits.tolist() == [1, 1, 1]


def test_blocks_of_which_no_step_can_be_fair_are_refused() -> None:
    without = [block for block in TINY.blocks if (block.op0, block.op1) != ("conv", "mbconv")]
    with pytest.raises(ConfigError, match="no block has conv and then mbconv; distill all blocks"):
        path_sampler(FAIR, TINY.ops, without)
    with pytest.raises(ConfigError, match="single op are of some ops only"):
        path_sampler(FAIR, TINY.ops, [block for block in TINY.blocks if str(block) != "bconv"])
    assert path_sampler(RANDOM, TINY.ops, without).visits.shape == (len(without),)

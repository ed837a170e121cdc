"""Finalists: the greedy rule by hand, by a plain loop over all networks, and by integer programs."""

from __future__ import annotations

import numpy as np
import pytest

from search.blockwise import by_integer_program
from search.blockwise.by_integer_program import from_integer_program
from search.blockwise.finalists import Finalists, from_list, from_scores
from search.integer_program.solve import Limit
from space import SpaceConfig
from space.indexing import BoolArray, FloatArray, block_indices

ONE_OP = SpaceConfig(name="one-op", ops=("conv",), widths=(4, 8), image_size=8, classes=4)
TWO = SpaceConfig(name="two", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=4)
THREE = SpaceConfig(name="three", ops=("conv",), widths=(4, 8, 16), image_size=8, classes=4)


def everything(config: SpaceConfig) -> BoolArray:
    return np.ones(len(config), dtype=np.bool_)


def by_hand(
    config: SpaceConfig, scores: FloatArray, allowed: BoolArray, count: int, distance: int
) -> list[tuple[int, int]]:
    """Return (index, distance) of each finalist: the rule as its docstring tells it, network by network."""
    choices = block_indices(config, np.arange(len(config)))
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count and distance:
        best = None
        for index in np.flatnonzero(allowed).tolist():
            apart = all((choices[index] != choices[other]).sum() >= distance for other, _ in chosen)
            if apart and (best is None or scores[index] > scores[best]):
                best = index
        if best is None:
            distance -= 1
        else:
            chosen.append((best, distance))
    return chosen


def told(found: Finalists, config: SpaceConfig) -> list[tuple[int, int]]:
    return list(zip(found.indices(config), found.distances.tolist(), strict=True))


@pytest.mark.parametrize("distance", [1, 2, 3])
@pytest.mark.parametrize("config", [TWO, THREE], ids=lambda config: config.name)
def test_finalists_are_those_of_the_rule_applied_network_by_network(
    config: SpaceConfig, distance: int
) -> None:
    random = np.random.default_rng(distance)
    for count in (1, 7, 40):
        scores = random.integers(0, 4, len(config)).astype(float)  # with ties
        allowed = random.random(len(config)) < 0.4
        found = from_scores(config, scores, allowed, count, distance=distance)
        assert told(found, config) == by_hand(config, scores, allowed, count, min(distance, config.stages))
        assert (found.scores == scores[found.indices(config)]).all()


def test_no_two_finalists_share_a_block_until_no_other_network_is_left() -> None:
    count = len(TWO.blocks)
    found = from_scores(TWO, np.arange(len(TWO), dtype=float), everything(TWO), count + 1, distance=2)
    assert found.distances.tolist() == [2] * count + [1]
    for stage in range(TWO.stages):
        assert len(set(found.choices[:count, stage].tolist())) == count


def test_at_distance_one_finalists_are_the_best_networks() -> None:
    scores = np.random.default_rng(0).normal(size=len(TWO))
    found = from_scores(TWO, scores, everything(TWO), 10, distance=1)
    assert found.indices(TWO) == np.argsort(-scores)[:10].tolist()


def test_equal_scores_are_taken_in_canonical_order_whatever_else_is_allowed() -> None:
    found = from_scores(TWO, np.zeros(len(TWO)), everything(TWO), 3, distance=1)
    assert found.indices(TWO) == [0, 1, 2]


def test_fewer_come_back_where_fewer_are_allowed_and_unknown_scores_are_passed_over() -> None:
    scores = np.full(len(ONE_OP), np.nan)
    scores[[1, 3]] = 5.0, 6.0
    assert from_scores(ONE_OP, scores, everything(ONE_OP), 9).indices(ONE_OP) == [3, 1]
    none = from_scores(ONE_OP, scores, ~everything(ONE_OP), 9)
    assert len(none) == 0
    assert none.indices(ONE_OP) == []


@pytest.mark.parametrize("distance", [1, 2])
@pytest.mark.parametrize("config", [TWO, THREE], ids=lambda config: config.name)
def test_integer_programs_find_the_finalists_of_all_networks_listed(
    config: SpaceConfig, distance: int
) -> None:
    random = np.random.default_rng(7)
    effects = random.normal(size=(config.stages, len(config.blocks)))
    costs = random.uniform(1, 2, size=effects.shape)
    stages, choices = np.arange(config.stages), block_indices(config, np.arange(len(config)))
    total = costs[stages, choices].sum(axis=1)
    limit = Limit(name="latency", costs=costs, constant=0.5, upper=float(np.median(total)) + 0.5)
    listed = from_scores(
        config,
        effects[stages, choices].sum(axis=1),
        total <= np.median(total),
        12,
        distance=distance,
    )
    planned = from_integer_program(effects, [limit], 12, distance=distance)
    assert told(planned, config) == told(listed, config)
    assert planned.scores == pytest.approx(listed.scores)


def test_integer_programs_find_finalists_where_networks_cannot_be_listed() -> None:
    stages, blocks = 8, 45
    random = np.random.default_rng(1)
    effects, costs = random.normal(size=(stages, blocks)), random.uniform(1, 2, size=(stages, blocks))
    limit = Limit(name="latency", costs=costs, upper=11.0)
    found = from_integer_program(effects, [limit], 6, distance=4)
    assert (found.distances == 4).all()
    assert (np.diff(found.scores) <= 0).all()
    for place, one in enumerate(found.choices):
        assert limit.total(one.tolist()) <= 11.0
        assert all((one != other).sum() >= 4 for other in found.choices[:place])


@pytest.mark.parametrize("walks", [by_integer_program.WALKS, (1,), (4, 9)])
@pytest.mark.parametrize("distance", [1, 2, 3])
def test_integer_programs_find_them_beside_networks_of_which_more_is_known(
    walks: tuple[int, ...], distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_integer_program, "WALKS", walks)
    random = np.random.default_rng(3)
    effects = random.normal(size=(THREE.stages, len(THREE.blocks)))
    costs = random.uniform(1, 2, size=effects.shape)
    stages, choices = np.arange(THREE.stages), block_indices(THREE, np.arange(len(THREE)))
    scores, total = effects[stages, choices].sum(axis=1), costs[stages, choices].sum(axis=1)
    limit = float(np.quantile(total, 0.4))
    known = random.choice(len(THREE), 60, replace=False)
    may = random.random(60) < 0.5
    within = total <= limit
    within[known] = may
    listed = from_scores(THREE, scores, within, 15, distance=distance)
    planned = from_integer_program(
        effects,
        [Limit(name="latency", costs=costs, upper=limit)],
        15,
        distance=distance,
        listed=choices[known],
        allowed=may,
    )
    assert told(planned, THREE) == told(listed, THREE)
    assert set(planned.indices(THREE)) & set(known[may].tolist()), "some are among those known"


def test_where_no_network_is_better_than_another_finalists_are_within_limits_and_apart() -> None:
    costs = np.random.default_rng(2).uniform(1, 2, (5, 45))
    limit = Limit(name="latency", costs=costs, upper=6.0)
    found = from_integer_program(np.zeros((5, 45)), [limit], 4, distance=3)
    assert found.distances.tolist() == [3] * 4
    for place, one in enumerate(found.choices):
        assert limit.total(one.tolist()) <= 6
        assert all((one != other).sum() >= 3 for other in found.choices[:place])


def test_where_all_networks_within_the_limits_are_found_integer_programs_end() -> None:
    effects = np.random.default_rng(0).normal(size=(2, 4))
    costs = np.arange(4.0) + np.zeros((2, 1))
    found = from_integer_program(effects, [Limit(name="latency", costs=costs, upper=2.0)], 99, distance=2)
    assert sorted(found.choices.sum(axis=1).tolist()) == [0, 1, 1, 2, 2, 2]


def test_a_list_is_chosen_from_down_to_the_distance_that_is_asked_for() -> None:
    choices = np.array([[0, 0], [0, 1], [1, 1], [2, 1]])
    scores = np.array([1.0, 4.0, 3.0, 2.0])
    assert from_list(choices, scores, 4, distance=2).choices.tolist() == [[0, 1], [1, 1], [2, 1], [0, 0]]
    only = from_list(choices, scores, 4, distance=2, least=2)
    assert (only.choices.tolist(), only.scores.tolist()) == ([[0, 1]], [4.0])


def test_limits_that_nothing_meets_leave_no_finalist() -> None:
    effects = np.ones((2, 3))
    found = from_integer_program(effects, [Limit(name="latency", costs=effects, upper=1.0)], 4)
    assert len(found) == 0
    assert found.choices.shape == (0, 2)


def test_counts_and_distances_below_one_are_refused() -> None:
    scores = np.zeros(len(TWO))
    for count, distance in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1 of each"):
            from_scores(TWO, scores, everything(TWO), count, distance=distance)
        with pytest.raises(ValueError, match="at least 1 of each"):
            from_integer_program(np.zeros((2, 3)), [], count, distance=distance)
    with pytest.raises(ValueError, match="give one a network"):
        from_scores(TWO, scores[1:], everything(TWO)[1:], 1)

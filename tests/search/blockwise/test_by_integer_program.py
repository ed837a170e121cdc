"""Where a space can be enumerated, integer programs choose what enumeration does: the same scores, the same nearest network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories.own_spaces import own_space
from factories.signatures import by_rule, drawn, made_signatures

from search.blockwise import by_integer_program
from search.blockwise.by_integer_program import nearest, ranked
from search.blockwise.choice import choose_finalists
from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.defaults import POOL
from search.blockwise.predictors import additive, fit
from search.blockwise.search import SearchPlan, choose_listed, predicted_table
from search.blockwise.setting import SpaceCosts
from search.table import Cost, CostEstimate
from search.table.answers import nearest as listed_nearest
from search.table.constraints import parse_constraint
from search.table.costs import AdditiveCosts, BlockSums, decisive, limits_on, meets
from space import DEEP, TINY, Architecture, SpaceConfig
from space.costs import all_macs, block_costs, fixed_cost
from space.errors import ConfigError
from space.indexing import FloatArray, available, block_indices

SIGNATURES = made_signatures(config=TINY)


def latency(
    config: SpaceConfig = TINY, *, margin: float = 0.08, measured: int = 30, seed: int = 0
) -> AdditiveCosts:
    """Return made-up latencies: sums, of which some networks were measured to take up to 20 % more or less."""
    random = np.random.default_rng(seed)
    total = BlockSums(blocks=random.uniform(0.5, 2, (config.stages, len(config.blocks))), constant=0.7)
    bare = AdditiveCosts(
        name="pixel",
        unit="ms",
        title="made-up latency",
        config=config,
        totals=(total,),
        margin=margin,
        coverage=0.95,
    )
    known = {}
    for index in random.choice(len(config), measured, replace=False).tolist():
        value = bare.at(index).value * random.uniform(0.8, 1.2)
        known[index] = CostEstimate(
            value=value, low=0.98 * value, high=1.02 * value, grade="B", is_measured=True
        )
    return replace(bare, known=known)


def macs(config: SpaceConfig = TINY) -> AdditiveCosts:
    blocks = np.array([[cost.macs for cost in row] for row in block_costs(config)], dtype=np.float64)
    total = BlockSums(blocks=blocks, constant=fixed_cost(config).macs)
    return AdditiveCosts(name="macs", unit="", title="MACs", config=config, totals=(total,))


def column(cost: AdditiveCosts) -> Cost:
    """Return the same cost of every network, listed."""
    amounts = [cost.at(index) for index in range(len(cost.config))]
    has_ends = cost.coverage is not None
    return Cost(
        name=cost.name,
        unit=cost.unit,
        title=cost.title,
        values=np.array([one.value for one in amounts]),
        low=np.array([one.low for one in amounts]) if has_ends else None,
        high=np.array([one.high for one in amounts]) if has_ends else None,
        coverage=cost.coverage,
    )


COSTS: Mapping[str, AdditiveCosts] = {"pixel": latency(), "macs": macs()}
COLUMNS = {name: column(cost) for name, cost in COSTS.items()}


@cache
def predictor(name: str) -> FittedPredictor:
    """Return a predictor of made-up signatures, of which those of two blocks are unknown, fitted to accuracies by a rule."""
    values = np.array(SIGNATURES.column("loss_change"))
    values[1, 3:5] = np.nan
    signatures = SIGNATURES.with_columns({"loss_change": values})
    indices = drawn(0, 40, TINY)
    indices = indices[~np.isin(block_indices(TINY, indices)[:, 1], (3, 4))]
    accuracies = by_rule(SIGNATURES, np.array([3.0, 2.0]), coupling=1.0)[indices]
    if name == "sum":
        return fit(name, signatures)
    return fit(name, signatures, indices=indices, accuracies=accuracies)


def predictions(fitted: FittedPredictor, indices: np.ndarray) -> FloatArray:
    values = np.full(len(indices), np.nan)
    known = fitted.features.known[np.arange(TINY.stages), block_indices(TINY, indices)].all(axis=1)
    values[known] = fitted.predict(indices[known])
    return values


LIMITS = [
    ["pixel<3ms"],
    ["pixel<=2.5ms", "macs<750k"],
    ["pixel>2.5ms", "pixel<3.5ms"],
    ["macs>800k"],
    [],
]


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("name", ["sum", "linear"])
@pytest.mark.parametrize("texts", LIMITS, ids=lambda texts: " ".join(texts) or "none")
def test_integer_programs_choose_the_finalists_that_enumeration_chooses(
    texts: Sequence[str], name: str, confident: bool
) -> None:
    constraints = [parse_constraint(text) for text in texts]
    fitted = predictor(name)
    form = additive(fitted)
    assert form is not None
    table = predicted_table(
        TINY,
        lambda indices: predictions(fitted, indices),
        COLUMNS,
        metric="made up",
        origin=(),
        synthetic=True,
    )
    listed, count = choose_listed(table, constraints, SearchPlan(finalists=12), confident=confident)
    found = by_integer_program.choose(TINY, form[0], COSTS, constraints, 12, confident=confident)
    assert count > 12
    assert found.scores + form[1] == pytest.approx(listed.scores, abs=1e-9)
    assert found.distances.tolist() == listed.distances.tolist()
    assert predictions(fitted, np.array(found.indices(TINY))) == pytest.approx(listed.scores, abs=1e-9)
    for index in found.indices(TINY):
        assert all(meets(COSTS[c.subject].at(index), c, confident=confident) for c in constraints)


def test_some_finalists_are_measured_networks_that_their_sums_would_have_excluded() -> None:
    cost = COSTS["pixel"]
    constraint = parse_constraint("pixel<2.2ms")
    only_measured = [
        index
        for index in cost.known
        if meets(cost.at(index), constraint, confident=False)
        and cost.totals[0].of(block_indices(TINY, [index])[0].tolist()) > 2.2
    ]
    assert only_measured, "else the test proves nothing"
    scores = np.zeros((TINY.stages, len(TINY.blocks)))
    scores[np.arange(2), block_indices(TINY, only_measured[:1])[0]] = 1.0
    found = by_integer_program.choose(TINY, scores, COSTS, [constraint], 1)
    assert found.indices(TINY) == only_measured[:1]


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("texts", [["pixel<1ms"], ["pixel<1.3ms", "macs<300k"], ["pixel<2ms", "macs>2.4M"]])
def test_where_nothing_is_within_the_limits_the_nearest_misses_them_by_what_enumeration_says(
    texts: Sequence[str], confident: bool
) -> None:
    constraints = [parse_constraint(text) for text in texts]
    table = predicted_table(
        TINY, lambda indices: np.zeros(len(indices)), COLUMNS, metric="made up", origin=(), synthetic=True
    )
    listed = listed_nearest(table, constraints, confident=confident)
    found = nearest(TINY, COSTS, constraints, confident=confident)
    assert listed is not None and found is not None
    worst = [max(one.excess for one in which.violations) for which in (listed, found)]
    assert worst[1] == pytest.approx(worst[0], abs=2e-6)
    scores = np.zeros((TINY.stages, len(TINY.blocks)))
    with pytest.raises(ConfigError, match=r"no network is within pixel<.*; the nearest is .* beyond "):
        by_integer_program.choose(TINY, scores, COSTS, constraints, 3, confident=confident)


def test_the_nearest_has_no_block_without_a_score() -> None:
    constraint = parse_constraint("pixel<1ms")
    free = nearest(TINY, COSTS, [constraint])
    assert free is not None
    scores = np.zeros((TINY.stages, len(TINY.blocks)))
    scores[np.arange(2), block_indices(TINY, [free.index])[0]] = np.nan
    with pytest.raises(ConfigError, match="the nearest is") as error:
        by_integer_program.choose(TINY, scores, COSTS, [constraint], 1)
    text = str(error.value).split("the nearest is ")[1].split(":")[0]
    blocks = Architecture.parse(text, TINY).blocks
    assert not set(zip((0, 1), blocks, strict=True)) & set(
        zip((0, 1), Architecture.from_index(free.index, TINY).blocks, strict=True)
    )


def test_far_ends_that_nobody_knows_leave_measured_networks_alone() -> None:
    unknown = {"pixel": latency(margin=np.inf)}
    constraint = parse_constraint("pixel<9ms")
    scores = np.zeros((TINY.stages, len(TINY.blocks)))
    found = by_integer_program.choose(TINY, scores, unknown, [constraint], 99, confident=True)
    assert sorted(found.indices(TINY)) == sorted(unknown["pixel"].known)
    bare = {"pixel": latency(margin=np.inf, measured=0)}
    with pytest.raises(ConfigError, match="of none is all of it known"):
        by_integer_program.choose(TINY, scores, bare, [constraint], 1, confident=True)


def test_a_stage_without_a_score_is_refused_by_its_number() -> None:
    scores = np.zeros((TINY.stages, len(TINY.blocks)))
    scores[1] = np.nan
    with pytest.raises(ConfigError, match="no block of stage 1 of space 'tiny' has a score"):
        by_integer_program.choose(TINY, scores, COSTS, [], 1)


def test_a_maximum_is_held_below_a_limit_and_cannot_be_held_above_one() -> None:
    random = np.random.default_rng(1)
    totals = tuple(BlockSums(blocks=random.uniform(0, 1, (2, 45)), constant=0.0) for _ in range(3))
    cost = AdditiveCosts(name="memory", unit="bytes", title="made-up maximum", config=TINY, totals=totals)
    values = column(cost).values
    choices = block_indices(TINY, np.arange(len(TINY)))
    sums = [total.blocks[np.arange(2), choices].sum(axis=1) for total in totals]
    assert values == pytest.approx(np.max(sums, axis=0))
    most = float(np.sort(values)[10])  # for each network that is found a program is solved
    within = [parse_constraint(f"memory<{most!r}B")]
    found = by_integer_program.choose(
        TINY, np.zeros((2, 45)), {"memory": cost}, within, len(TINY), distance=1
    )
    assert sorted(found.indices(TINY)) == np.flatnonzero(values < most).tolist()
    assert len(found) == 10
    with pytest.raises(ConfigError, match="memory>1B: made-up maximum, is a maximum"):
        limits_on(cost, parse_constraint("memory>1B"), confident=False)


def test_a_pool_is_ranked_by_what_is_predicted_of_its_networks() -> None:
    form = additive(predictor("sum"))
    assert form is not None
    pool = by_integer_program.choose(TINY, form[0], COSTS, [parse_constraint("pixel<3ms")], POOL, distance=1)
    assert len(pool) == POOL
    found = ranked(TINY, pool, lambda indices: -indices.astype(np.float64), 7, distance=1)
    assert found.indices(TINY) == sorted(pool.indices(TINY))[:7]


def test_in_a_space_that_nobody_lists_finalists_are_within_limits_and_apart() -> None:
    costs = {"pixel": latency(DEEP, measured=40), "macs": macs(DEEP)}
    scores = np.random.default_rng(5).normal(size=(5, 45))
    constraints = [parse_constraint("pixel<4.5ms"), parse_constraint("macs<12M")]
    found = by_integer_program.choose(DEEP, scores, costs, constraints, 20, confident=True)
    assert len(found) == 20 and (np.diff(found.scores) <= 0).all()
    for place, index in enumerate(found.indices(DEEP)):
        assert costs["pixel"].at(index).high < 4.5
        assert costs["macs"].at(index).value < 12e6
        assert all((found.choices[place] != other).sum() >= 2 for other in found.choices[:place])


def test_one_network_s_amount_is_that_of_the_column() -> None:
    listed = COLUMNS["pixel"]
    for index in (0, next(iter(COSTS["pixel"].known)), 2024):
        assert (listed.at(index).value, listed.at(index).high) == (
            COSTS["pixel"].at(index).value,
            COSTS["pixel"].at(index).high,
        )
    exact = column(macs())
    assert exact.at(7) == CostEstimate(value=all_macs(TINY)[7], low=all_macs(TINY)[7], high=all_macs(TINY)[7])
    assert decisive(exact.at(7), parse_constraint("macs<1M"), confident=True) == exact.at(7).value


@pytest.mark.parametrize("name", ["linear", "second-order"])  # a sum, and one that ranks a pool
def test_blocks_whose_costs_are_not_known_are_not_chosen(name: str) -> None:
    unseen = np.zeros(SIGNATURES.shape, dtype=np.bool_)
    fitted = predictor(name)

    def chosen() -> list[int]:
        costs = SpaceCosts(costs={}, blocks={}, sources={}, is_listed=False, unseen=unseen)
        setting: Any = SimpleNamespace(
            costs=costs, plan=SearchPlan(finalists=5), constraints=(), confident=False, columns=None
        )
        return list(choose_finalists(fitted, SIGNATURES, setting).finalists.indices(TINY))

    best = block_indices(TINY, np.array(chosen()[:1]))[0]
    unseen[0, best[0]] = True
    found = block_indices(TINY, np.array(chosen()))
    assert len(found) == 5 and (found[:, 0] != best[0]).all()


SLOW = CostEstimate(value=40.0, low=39.0, high=41.0, grade="A", is_measured=True)
FAILED = CostEstimate(value=np.nan, low=np.nan, high=np.nan)


@pytest.mark.parametrize("told", [SLOW, FAILED], ids=["slow", "failed"])
def test_the_nearest_is_not_one_that_failed_or_was_measured_to_take_more_by_another_name(
    told: CostEstimate,
) -> None:
    space = own_space()
    first, other = (
        Architecture.parse(text, space).index for text in ("mb/mb/skip/basic", "mb/skip/mb/basic")
    )
    blocks = np.full((space.stages, len(space.blocks)), 2.0)
    blocks[np.arange(space.stages), block_indices(space, [other])[0]] = 1.0
    total = BlockSums(blocks=blocks, constant=0.0)
    cost = AdditiveCosts(
        name="pixel",
        unit="ms",
        title="latency",
        config=space,
        totals=(total,),
        coverage=0.9,
        known={first: told},
    )
    scores = np.where(available(space), 0.0, np.nan)
    with pytest.raises(ConfigError, match=r"it takes pixel 5ms"):
        by_integer_program.choose(space, scores, {"pixel": cost}, [parse_constraint("pixel<1ms")], 1)

"""Predictors, programs and search methods in a space whose choices have different candidates: 2, 3, 3 and 2 of four."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from factories.own_spaces import own_space

from search.integer_program.solve import Limit, additive_part, choice_limits, solve
from search.latency.additive import additive_candidates, as_additive
from search.latency.block_features import block_features, stage_effects, stage_means
from search.latency.design import Variance, least_variance_design
from search.latency.model_selection import select_predictor, space_weights
from search.latency.parts import parts_sum
from search.methods.evolution import Evolution
from search.methods.method import Problem
from search.methods.registry import run
from search.table.synthetic import synthetic_accuracies
from space import SpaceConfig
from space.costs import all_macs
from space.errors import ConfigError
from space.indexing import FloatArray, available, block_indices, blocks_of
from space.segments import all_segments


def ratios_of(config: SpaceConfig, seed: int = 0) -> FloatArray:
    """Return a ratio of every network that is a sum over its candidates, each with a cost of its own at each site."""
    costs = np.random.default_rng(seed).uniform(0.1, 1.0, (config.stages, len(config.blocks)))
    choices = block_indices(config, np.arange(len(config)))
    total: FloatArray = 0.5 + costs[np.arange(config.stages), choices].sum(axis=1)
    return total


def test_features_have_the_moments_that_they_have_over_the_space() -> None:
    config = own_space()
    table, choices = block_features(config), block_indices(config, np.arange(len(config)))
    assert np.allclose(stage_means(config, table), table[choices].mean(axis=0))
    values = ratios_of(config)
    effects = stage_effects(config, values)
    assert np.allclose(effects[np.arange(config.stages), choices].sum(axis=1) + values.mean(), values)
    assert (effects[~available(config)] == 0).all()
    measured = np.arange(0, len(config), 3)
    weights = space_weights(config, measured)
    assert weights.min() > 0 and np.isclose(weights.mean(), 1)


def test_a_few_networks_predict_all_others_where_candidates_add_up() -> None:
    config = own_space()
    values = ratios_of(config)
    measured = least_variance_design(config, 18)
    assert len(set(measured.tolist())) == 18
    predictor = select_predictor(measured, values[measured], config=config)
    predicted = predictor.predict(np.arange(len(config))).ratios
    assert np.abs(predicted / values - 1).max() < 0.02 and predictor.errors.mape < 0.02
    candidates = additive_candidates(config)
    sums = as_additive(select_predictor(measured, values[measured], config=config, candidates=candidates))
    choices = block_indices(config, np.arange(len(config)))
    total = sums.constant + sums.blocks[np.arange(config.stages), choices].sum(axis=1)
    assert np.abs(total / values - 1).max() < 0.02


def test_a_designs_mean_variance_is_that_over_the_space() -> None:
    config = own_space()
    variance = Variance(config, np.arange(len(config)))
    assert np.isclose(variance.mean, variance.leverage.mean())
    variance.measure(7)
    assert np.isclose(variance.mean, variance.leverage.mean())


def test_parts_of_sites_that_share_a_choice_are_added_to_it() -> None:
    config = own_space()
    parts = {str(segment): 0.01 * (number + 1) for number, segment in enumerate(all_segments(config))}
    total = parts_sum(parts, config)
    # stem, the fixed site and head; of the last choice both sites
    fixed = ("segment:stem", "segment:site3:basic", "segment:head")
    assert np.isclose(total.constant, sum(parts[name] for name in fixed))
    basic, skip = (config.table.by_text[name] for name in ("basic", "skip"))
    assert np.isclose(total.blocks[3, basic], parts["segment:site4:basic"] + parts["segment:site5:basic"])
    assert total.blocks[3, skip] == 0
    first = config[0]
    names = [f"segment:site{place}:{module.name}" for place, _, module in config.chain.modules(first.blocks)]  # type: ignore[union-attr]
    assert np.isclose(
        total(np.array([0]))[0], parts["segment:stem"] + parts["segment:head"] + sum(parts[n] for n in names)
    )
    del parts["segment:site4:basic"]
    with pytest.raises(ConfigError, match=r"1 of 11 parts .* such as segment:site4:basic"):
        parts_sum(parts, config)


def test_the_integer_program_chooses_what_each_choice_has_and_nothing_else() -> None:
    config = own_space()
    rng = np.random.default_rng(3)
    scores, costs = rng.normal(size=(2, config.stages, len(config.blocks)))
    scores[~available(config)] = 9.0  # what is not there would be best
    limit = Limit(name="cost", costs=costs, upper=0.5)
    found = solve(scores, [*choice_limits(config), limit], 40)
    allowed = [
        blocks
        for blocks in product(*config.choices)
        if sum(costs[stage, block] for stage, block in enumerate(blocks)) <= 0.5
    ]
    best = sorted(allowed, key=lambda blocks: -sum(scores[s, b] for s, b in enumerate(blocks)))
    assert [one.blocks for one in found] == best


@pytest.mark.parametrize("method", ["exhaustive", "random", "evolution", "linear", "ilp"])
def test_methods_find_the_best_network_within_a_limit(method: str) -> None:
    config = own_space()
    accuracy, macs = synthetic_accuracies(config).values, all_macs(config).astype(np.float64)
    limit = float(np.median(macs))
    allowed = macs <= limit
    problem = Problem(
        config=config,
        allowed=allowed,
        budget=len(config),
        seed=1,
        costs={"macs": macs},
        limits={"macs": limit},
    )
    trace = run(method, problem, lambda indices: accuracy[indices])
    assert allowed[trace.indices].all()
    assert trace.best == np.where(allowed, accuracy, -np.inf).argmax()


def test_mutants_differ_in_one_choice() -> None:
    config = own_space()
    problem = Problem(config=config, allowed=np.ones(len(config), dtype=np.bool_), budget=1, seed=0)
    mutants = Evolution(problem)._mutants(17).tolist()
    differing = [
        sum(a != b for a, b in zip(blocks_of(config, one), blocks_of(config, 17), strict=True))
        for one in mutants
    ]
    assert differing == [1] * (1 + 2 + 2 + 1) and len(set(mutants)) == len(mutants)


def test_the_additive_part_of_values_that_are_known_in_part_has_no_effect_of_what_is_not_there() -> None:
    config = own_space()
    values = ratios_of(config)
    values[::5] = np.nan
    effects, constant = additive_part(config, values)
    choices = block_indices(config, np.arange(len(config)))
    total = constant + effects[np.arange(config.stages), choices].sum(axis=1)
    known = np.isfinite(values)
    assert np.allclose(total[known], values[known]) and np.abs(effects[~available(config)]).max() < 1e-9

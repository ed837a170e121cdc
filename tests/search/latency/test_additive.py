"""Latency predictors that are sums: the predictor's own numbers without an array over the space, and margins that hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from factories.chains import long_chain

from search.blockwise.search import predicted_table
from search.latency.additive import Additive, additive_candidates, as_additive
from search.latency.block_features import block_features
from search.latency.model_selection import select_predictor
from search.latency.parts import parts_sum
from search.table.synthetic import synthetic_accuracies
from space import DEEP, MINI, ArchitectureError, SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, block_indices, index_of
from space.segments import all_segments

SUMS = ("macs", "sum", "affine", "ridge", "corrected", "pairs")


def made_parts(config: SpaceConfig, seed: int = 0) -> dict[str, float]:
    """Return a made-up ratio of each segment."""
    random = np.random.default_rng(seed)
    return {str(one): float(random.uniform(0.05, 0.4)) for one in all_segments(config)}


def made_ratios(config: SpaceConfig, indices: FloatArray, noise: float, seed: int = 0) -> FloatArray:
    """Return made-up ratios: a sum over the blocks' features in each stage, and noise as a share."""
    random = np.random.default_rng((seed, 1))
    ops = len(config.ops)
    op = random.uniform(0.05, 0.15, ops) * np.exp(random.normal(0, 0.2, (config.stages, ops)))
    slopes = np.hstack([op, op, random.uniform(0, 0.01, (config.stages, 3))])
    effects = slopes @ block_features(config).T
    sums = 0.5 + effects[np.arange(config.stages), block_indices(config, indices)].sum(axis=1)
    found: FloatArray = sums * (1 + random.normal(0, noise, len(indices)))
    return found


def fitted_sum(
    config: SpaceConfig, indices: np.ndarray, ratios: FloatArray, *, seed: int = 0, **known: Any
) -> Additive:
    """Return the best of the sums; `known`: further arguments of `select_predictor`."""
    candidates = additive_candidates(config)
    predictor = select_predictor(indices, ratios, config=config, candidates=candidates, seed=seed, **known)
    return as_additive(predictor, seed)


def drawn(config: SpaceConfig, count: int, seed: int = 0) -> np.ndarray:
    return np.unique(np.random.default_rng(seed).integers(0, len(config), 2 * count))[:count]


@pytest.mark.parametrize("name", SUMS)
def test_each_rung_that_is_a_sum_is_found_as_constant_and_blocks(name: str) -> None:
    indices, parts = drawn(MINI, 120), parts_sum(made_parts(MINI), MINI)
    ratios = made_ratios(MINI, indices, 0.02) + parts(indices)
    candidates = [candidate for candidate in additive_candidates(MINI) if candidate.name == name]
    predictor = select_predictor(indices, ratios, config=MINI, parts_sum=parts, candidates=candidates)
    fitted, everywhere = as_additive(predictor), np.arange(len(MINI))
    sums = fitted.blocks[np.arange(MINI.stages), block_indices(MINI, everywhere)].sum(axis=1)
    predicted = predictor.predict(everywhere).ratios
    assert fitted.constant + sums == pytest.approx(predicted, rel=1e-9)
    assert np.ptp(predicted) > 0


def test_rungs_that_are_sums_keep_the_order_of_the_ladder() -> None:
    assert tuple(candidate.name for candidate in additive_candidates(MINI)) == SUMS


def test_latencies_of_a_space_that_nobody_lists_are_learned_from_few_networks() -> None:
    indices = drawn(DEEP, 80)
    fitted = fitted_sum(DEEP, indices, made_ratios(DEEP, indices, 0.01))
    assert fitted.chosen == "ridge"
    assert fitted.blocks.shape == (5, 45)
    others = drawn(DEEP, 200, seed=9)
    truth = made_ratios(DEEP, others, 0.0)
    choices = block_indices(DEEP, others)
    predicted = fitted.constant + fitted.blocks[np.arange(5), choices].sum(axis=1)
    assert np.abs(predicted / truth - 1).mean() < 0.03
    assert fitted.errors.mape < 0.04


def test_parts_that_add_up_are_taken_as_they_are() -> None:
    indices, parts = drawn(DEEP, 30), made_parts(DEEP)
    cells = np.array(
        [[parts[f"segment:cell{stage}:{block}"] for block in DEEP.blocks] for stage in range(DEEP.stages)]
    )
    fixed = sum(value for name, value in parts.items() if ":cell" not in name)
    ratios = fixed + cells[np.arange(5), block_indices(DEEP, indices)].sum(axis=1)
    fitted = fitted_sum(DEEP, indices, ratios, parts_sum=parts_sum(parts, DEEP))
    assert fitted.chosen == "sum"
    assert fitted.constant + fitted.blocks[:, 0].sum() == pytest.approx(fixed + cells[:, 0].sum())
    with pytest.raises(ConfigError, match="are not measured"):
        parts_sum({"segment:stem": 1.0}, DEEP)


def test_no_network_takes_no_time_where_a_fit_leaves_none_for_what_all_share() -> None:
    config = long_chain()
    indices = np.unique(np.random.default_rng(0).integers(0, len(config), 40))
    costs = np.array(
        [{"k1": 0.02, "k3": 0.05, "k5": 0.1, "skip": 0.0}[str(block)] for block in config.blocks]
    )
    ratios = costs[block_indices(config, indices)].sum(axis=1) - 0.1
    predictor = select_predictor(indices, ratios, config=config, candidates=additive_candidates(config))
    bare = index_of(config, [[str(block) for block in config.blocks].index("skip")] * config.stages)
    found = predictor.predict(np.array([bare]))
    assert 0 <= found.low[0] < found.ratios[0] < found.high[0] and found.ratios[0] < 0.01
    assert not found.supported[0]
    assert as_additive(predictor).constant > 0


def test_too_few_networks_are_refused() -> None:
    indices = drawn(DEEP, 9)
    with pytest.raises(ConfigError, match="9 measured networks are too few"):
        fitted_sum(DEEP, indices, made_ratios(DEEP, indices, 0.0))


@pytest.mark.long
@pytest.mark.simulation
def test_networks_are_measured_within_the_margin_as_often_as_it_says() -> None:
    inside, count = 0, 0
    for seed in range(8):
        indices = drawn(DEEP, 100, seed)
        ratios = made_ratios(DEEP, indices, 0.03, seed)
        fitted = fitted_sum(DEEP, indices[:60], ratios[:60], seed=seed)
        choices = block_indices(DEEP, indices[60:])
        predicted = fitted.constant + fitted.blocks[np.arange(5), choices].sum(axis=1)
        errors = np.abs(ratios[60:] / predicted - 1)
        inside, count = inside + int((errors <= fitted.margin(0.9)).sum()), count + len(errors)
    assert 0.85 < inside / count < 0.97  # 320 networks: the standard error is 1.7 points


@pytest.mark.parametrize(
    "ask",
    [
        lambda: synthetic_accuracies(DEEP),
        lambda: predicted_table(
            DEEP, lambda indices: indices.astype(np.float64), {}, metric="made up", origin=(), synthetic=True
        ),
    ],
    ids=["synthetic_accuracies", "predicted_table"],
)
def test_what_would_need_an_array_over_such_a_space_is_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(ArchitectureError, match="184,528,125 networks of space 'deep' are too many to list"):
        ask()

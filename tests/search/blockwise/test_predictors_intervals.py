"""Intervals of predictors from signatures: by the definition, with the coverage asked for, and infinite rather than made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from factories.signatures import by_rule, drawn, made_signatures

from search.accuracy.gcn import GcnConfig
from search.blockwise.cross_validation import deal
from search.blockwise.predictors import fit
from search.statistics import fewest_scores
from space import MINI
from space.errors import ConfigError
from space.indexing import FloatArray

SIGNATURES = made_signatures()
TRUTH = by_rule(SIGNATURES, np.array([2.0, 1.0]))
EVERY = np.arange(len(MINI))
NOISE = 1.0


def covered(name: str, seed: int, count: int, coverage: float) -> tuple[float, float]:
    """Return which share of unseen networks' noisy accuracies an interval holds, and its mean width."""
    noisy = TRUTH + np.random.default_rng((seed, 3)).normal(0, NOISE, len(TRUTH))
    known = drawn(seed, count)
    columns = ["accuracy_change"]  # by the made rule, log NSR is a straight line in it
    low, high = fit(name, SIGNATURES, columns, known, noisy[known]).interval(EVERY, coverage)
    unseen = np.setdiff1d(EVERY, known)
    holds = (low <= noisy) & (noisy <= high)
    return float(holds[unseen].mean()), float((high - low)[unseen].mean())


@pytest.mark.parametrize(("name", "runs", "count"), [("linear", 8, 20), ("sum", 60, 20), ("sum", 40, 40)])
def test_the_coverage_is_what_was_asked_for_and_the_width_not_much_more_than_needed(
    name: str, runs: int, count: int
) -> None:
    shares, widths = np.array([covered(name, seed, count, 0.9) for seed in range(runs)]).T
    assert 0.86 < shares.mean() < 0.97, shares
    spread = NOISE if name == "linear" else float(np.hypot(NOISE, residual()))
    assert widths.mean() < 1.4 * 2 * 1.645 * spread, widths


def residual() -> float:
    """Return the deviation that a line through the sums leaves of the truth: by the rule stage 0 counts double."""
    sums = fit("sum", SIGNATURES, ["accuracy_change"]).predict(EVERY)
    slope, constant = np.polyfit(sums, TRUTH, 1)
    return float((TRUTH - constant - slope * sums).std())


@pytest.mark.parametrize(("name", "count"), [("linear", 12), ("gcn", 13)])
def test_the_ends_are_the_order_statistics_of_barber_and_others(name: str, count: int) -> None:
    known, some = drawn(0, count), EVERY[::100]
    scores = TRUTH[known] + np.random.default_rng(0).normal(0, NOISE, count)
    hyperparameters = GcnConfig(width=8, epochs=3)
    found = fit(name, SIGNATURES, ["nsr"], known, scores, hyperparameters=hyperparameters)
    low, high = found.interval(some, 0.8)
    ends_low: list[FloatArray] = []
    ends_high: list[FloatArray] = []
    for row in range(count):
        model = found.left_out[found.fold_of[row]]
        residual_ = abs(scores[row] - model(known[[row]])[0])
        ends_low.append(model(some) - residual_)
        ends_high.append(model(some) + residual_)
    # Section 1.2: the floor(alpha (n + 1))-th smallest of the one, the ceil((1 - alpha)(n + 1))-th of the other.
    lowest, highest = math.floor(0.2 * (count + 1) + 1e-9), math.ceil(0.8 * (count + 1) - 1e-9)
    np.testing.assert_allclose(low, np.sort(ends_low, axis=0)[lowest - 1], rtol=1e-5)
    np.testing.assert_allclose(high, np.sort(ends_high, axis=0)[highest - 1], rtol=1e-5)


def test_a_model_that_left_networks_out_never_saw_them() -> None:
    known = drawn(4, 13)
    hyperparameters = GcnConfig(width=8, epochs=3)
    for name in ("sum", "linear", "second-order", "gcn"):
        scores = TRUTH[known].copy()
        first = fit(name, SIGNATURES, indices=known, accuracies=scores, hyperparameters=hyperparameters)
        out = first.fold_of == first.fold_of[6]
        scores[out] += np.linspace(5, 9, out.sum())
        second = fit(name, SIGNATURES, indices=known, accuracies=scores, hyperparameters=hyperparameters)
        np.testing.assert_array_equal(first.leave_out[out], second.leave_out[out])
        assert not np.allclose(first.leave_out[~out], second.leave_out[~out], rtol=1e-9)


def test_too_few_networks_give_an_infinite_interval_and_enough_a_finite_one() -> None:
    assert [fewest_scores(coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    for count, is_finite in ((8, False), (9, True)):
        known = drawn(0, count)
        low, high = fit("sum", SIGNATURES, indices=known, accuracies=TRUTH[known]).interval(EVERY, 0.9)
        assert (np.isfinite(low) & np.isfinite(high)).all() == is_finite
        if not is_finite:
            assert (low == -np.inf).all() and (high == np.inf).all()


def test_a_coverage_that_is_no_share_is_refused() -> None:
    found = fit("sum", SIGNATURES, indices=EVERY[:9], accuracies=TRUTH[:9])
    for coverage in (0.0, 1.0, 90.0, float("nan")):
        with pytest.raises(ConfigError, match="give a share between 0 and 1"):
            found.interval(EVERY, coverage)


def test_intervals_of_many_networks_are_those_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fit("sum", SIGNATURES, indices=drawn(0, 12), accuracies=TRUTH[drawn(0, 12)])
    whole = found.interval(EVERY)
    monkeypatch.setattr("search.blockwise.cross_validation.AT_ONCE", 100)
    np.testing.assert_array_equal(whole, found.interval(EVERY))
    assert np.array(found.interval(EVERY[:0])).shape == (2, 0)


def test_folds_are_one_network_each_or_of_nearly_equal_size() -> None:
    networks = np.random.default_rng(0).permutation(EVERY)[:23]
    assert sorted(deal(networks, 200, 0)) == list(range(23))
    dealt = deal(networks, 5, 0)
    assert sorted(np.bincount(dealt)) == [4, 4, 5, 5, 5]
    assert (deal(networks, 5, 1) != dealt).any()
    turned = networks[::-1]
    assert (deal(turned, 5, 0) == dealt[::-1]).all()

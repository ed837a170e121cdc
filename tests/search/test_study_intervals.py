"""Rank correlations against scipy, intervals by their coverage, verdicts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from search.study.intervals import (
    BEATS,
    LOSES,
    TIES,
    UNDECIDED,
    Estimate,
    correlation_of,
    kendall,
    mean_of,
    spearman,
    verdict,
)


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_correlations_are_those_of_the_repeated_networks(ties: bool) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=30), rng.normal(size=30)
    if ties:
        x, y = np.round(x), np.round(y)
    counts = rng.multinomial(30, np.full(30, 1 / 30), 5).astype(float)
    for row, tau, rho in zip(counts, kendall(x, y, counts), spearman(x, y, counts), strict=True):
        again = np.repeat(np.arange(30), row.astype(int))
        assert tau == pytest.approx(stats.kendalltau(x[again], y[again]).statistic)
        assert rho == pytest.approx(stats.spearmanr(x[again], y[again]).statistic)


def test_a_predictor_of_one_value_has_no_correlation() -> None:
    found = correlation_of(kendall, np.ones(20), np.arange(20.0))
    assert math.isnan(found.value)
    assert str(found) == "none"


@pytest.mark.parametrize("count", [3, 10])
def test_the_mean_s_interval_holds_the_truth_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        found = mean_of(rng.normal(5, 2, count), seed=trial, draws=400)
        held += found.low <= 5 <= found.high
    assert 0.915 <= held / 300 <= 0.985  # plain percentiles of ten values hold 0.90, of three 0.75


def test_the_mean_s_interval_is_as_wide_as_student_s_for_normal_values() -> None:
    rng = np.random.default_rng(2)
    ratios = []
    for trial in range(60):
        values = rng.normal(0, 1, 10)
        found = mean_of(values, seed=trial, draws=1000)
        ratios.append((found.high - found.low) / (2 * stats.sem(values) * stats.t.ppf(0.975, 9)))
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)  # 0.95 if it were not widened for its own scatter


def test_the_correlation_s_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    true = 2 / math.pi * math.asin(0.6)  # Kendall's tau of normals with correlation 0.6
    held = 0
    for trial in range(200):
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        found = correlation_of(kendall, x, y, seed=trial, draws=200)
        held += found.low <= true <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_a_few_networks_that_happen_to_be_in_order_have_no_interval() -> None:
    found = correlation_of(kendall, np.arange(4.0), np.arange(4.0))
    assert (found.value, found.count, math.isnan(found.low)) == (1, 4, True)
    many = correlation_of(kendall, np.where(np.arange(30) < 18, np.arange(30.0), np.nan), np.arange(30.0))
    assert (many.low, many.count) == (1, 18)


def test_networks_that_a_run_was_fitted_on_are_left_out() -> None:
    true = np.arange(30.0)
    predicted = np.stack([true, true])
    predicted[0, :10] = np.nan
    predicted[1, 5] = np.nan
    assert correlation_of(spearman, predicted, true).value == pytest.approx(1)
    spoiled = predicted.copy()
    spoiled[0, 10:] = -true[10:]
    mixed = correlation_of(kendall, spoiled, true)
    assert mixed.value == pytest.approx(0)  # one run is right and one is wrong
    assert (mixed.low, mixed.high) == (pytest.approx(-1), pytest.approx(1))


def test_values_that_are_missing_are_no_part_of_a_mean() -> None:
    found = mean_of(np.array([1.0, math.nan, 3.0]))
    assert (found.value, found.count) == (2, 2)
    one = mean_of(np.array([4.0]))
    assert (one.value, one.count, math.isnan(one.low)) == (4, 1, True)
    assert str(one) == "4.00 (no interval)"
    assert one.to_plain() == {"value": 4.0, "low": None, "high": None, "count": 1}
    assert math.isnan(mean_of(np.array([math.nan])).value)


def test_a_verdict_needs_an_interval_beside_0_and_enough_runs() -> None:
    def of(low: float, high: float, count: int = 10) -> str:
        return verdict(Estimate(value=(low + high) / 2, low=low, high=high, count=count))

    assert of(-2, -1) == BEATS
    assert of(1, 2) == LOSES
    assert of(-1, 2) == of(-2, 1) == TIES
    assert of(0, 2) == TIES
    assert of(-2, -1, count=2) == UNDECIDED

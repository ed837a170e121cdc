"""Errors of predictions, against scipy and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from search.latency.evaluation import MOST_PAIRED, judge, mape_interval, repeatability
from space.errors import ConfigError


def test_errors_of_a_small_case_are_those_worked_out_by_hand() -> None:
    found = judge([1.02, 1.80, 0.50, 4.80], [1.0, 2.0, 0.5, 4.0])  # off by 2 %, 10 %, 0, 20 %
    assert found.count == 4
    assert found.mape == pytest.approx(0.08)
    assert found.median_ape == pytest.approx(0.06)
    assert (found.within_5, found.within_10) == (0.5, 0.75)
    assert (found.spearman, found.kendall) == (1.0, 1.0)


@pytest.mark.parametrize("count", [60, MOST_PAIRED, MOST_PAIRED + 1])
def test_rank_correlations_are_those_of_scipy_with_ties_too(count: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(1, 2, count).round(1)
    guess = (truth + rng.normal(0, 0.2, count)).round(1)
    found = judge(guess, truth)
    assert found.spearman == pytest.approx(
        stats.pearsonr(stats.rankdata(guess), stats.rankdata(truth)).statistic
    )
    assert found.kendall == pytest.approx(stats.kendalltau(guess, truth).statistic)


def test_a_constant_prediction_has_no_rank_correlation_rather_than_nan() -> None:
    found = judge([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert found.spearman is None and found.kendall is None


def test_two_rounds_differ_by_more_than_an_exact_predictor_is_off() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.9, 2.2, 4000)
    first, second = (truth * np.exp(rng.normal(0, 0.007, 4000)) for _ in range(2))
    ratio = judge(truth, second).mape / repeatability(first, second).mape
    assert ratio == pytest.approx(1 / np.sqrt(2), abs=0.03)


def test_the_interval_of_the_mean_error_covers_it_in_95_of_100_cases() -> None:
    rng, hits = np.random.default_rng(1), 0
    for seed in range(150):
        off = np.abs(rng.normal(0, 0.01, 60))
        low, high = mape_interval(1 + off, np.ones(60), seed)
        hits += low <= 0.01 * np.sqrt(2 / np.pi) <= high
    assert 0.90 <= hits / 150 <= 0.99


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_the_interval_of_a_few_errors_holds_their_mean_nearly_as_often_as_it_says(count: int) -> None:
    rng, hits = np.random.default_rng(count), 0
    for seed in range(300):
        low, high = mape_interval(1 + np.abs(rng.normal(0, 0.01, count)), np.ones(count), seed)
        hits += low <= 0.01 * np.sqrt(2 / np.pi) <= high
    assert hits / 300 >= 0.87, "of 95 %: absolute errors are skewed; percentiles of resamples have 48 to 87 %"


@pytest.mark.parametrize("shape", ["normal", "Laplace", "t of 3"])
def test_the_high_end_is_seldom_below_the_mean_error_whatever_the_errors_shape(shape: str) -> None:
    rng = np.random.default_rng(5)
    errors, mean = {
        "normal": (np.abs(rng.normal(size=(600, 24))), np.sqrt(2 / np.pi)),
        "Laplace": (rng.exponential(size=(600, 24)), 1.0),
        "t of 3": (np.abs(rng.standard_t(3, (600, 24))), 2 * np.sqrt(3) / np.pi),
    }[shape]
    highs = [mape_interval(1 + 0.01 * off, np.ones(24), seed)[1] for seed, off in enumerate(errors)]
    missed = np.mean(np.array(highs) < 0.01 * mean)
    assert missed <= 0.05, "2.5 % is meant; percentiles of means miss 6 to 9 %"


def test_errors_that_are_all_alike_are_known() -> None:
    assert mape_interval(np.full(24, 1.5), np.ones(24)) == (0.5, 0.5)


def test_the_error_of_one_network_says_nothing_of_others() -> None:
    assert mape_interval([1.01], [1.0]) == (0.0, np.inf)


def test_the_interval_is_reproducible_by_its_seed() -> None:
    sides = np.linspace(1, 2, 20), np.linspace(1, 2.1, 20)
    assert mape_interval(*sides, seed=4) == mape_interval(*sides, seed=4)
    assert mape_interval(*sides, seed=4) != mape_interval(*sides, seed=5)


@pytest.mark.parametrize(
    ("predicted", "actual", "message"),
    [
        ([1.0], [1.0, 2.0], "shape"),
        ([], [], "at least one network"),
        ([1.0, 1.0], [1.0, 0.0], "measured ratio 0.0 at place 1"),
        ([1.0, 1.0], [1.0, np.nan], "measured ratio nan at place 1"),
        ([np.inf, 1.0], [1.0, 1.0], "predicted ratio inf at place 0"),
    ],
)
def test_what_is_no_ratio_is_refused(predicted: list[float], actual: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        judge(predicted, actual)

"""Rank correlations against scipy, intervals by their coverage, verdicts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from search.statistics import (
    accuracy_interval,
    conformal_interval,
    conformal_margin,
    correlation_of,
    fewest_scores,
    kendall,
    mean_interval,
    mean_of,
    seeds_interval,
    spearman,
    spearman_of_rows,
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


@pytest.mark.parametrize("ties", [False, True])
def test_the_correlations_of_rows_are_those_of_scipy_and_to_the_bit_those_of_networks_counted_once(
    ties: bool,
) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 40)), rng.normal(size=(5, 40))
    if ties:
        x, y = np.round(x), np.round(y)
    found = spearman_of_rows(x, y)
    assert found == pytest.approx([stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)])
    once = np.ones((1, 40))
    assert found.tolist() == [spearman(a, b, once)[0] for a, b in zip(x, y, strict=True)]
    assert np.isnan(spearman_of_rows(np.ones((1, 5)), x[:1, :5])).all()


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


def test_the_mean_s_interval_is_as_wide_as_student_s_for_normal_values_and_little_wider() -> None:
    rng = np.random.default_rng(2)
    ratios = []
    for trial in range(60):
        values = rng.normal(0, 1, 10)
        found = mean_of(values, seed=trial, draws=1000)
        ratios.append((found.high - found.low) / (2 * stats.sem(values) * stats.t.ppf(0.975, 9)))
    assert min(ratios) >= 1 - 1e-9 and np.mean(ratios) < 1.15


@pytest.mark.simulation
@pytest.mark.parametrize("count", [10, 24])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_mean_s_interval_holds_the_truth_of_skewed_values_and_where_half_are_nothing(
    count: int, share: float
) -> None:
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(800):
        found = mean_of(rng.exponential(1, count) * (rng.random(count) < share), seed=trial, draws=400)
        held += found.low <= share <= found.high
    assert 0.925 <= held / 800 <= 0.98  # of ten, widened percentiles and Student's t hold 0.90 and 0.86


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
    assert (many.low, many.high, many.count) == (pytest.approx(0.953, abs=1e-3), 1, 18)
    opposed = correlation_of(spearman, -np.arange(18.0), np.arange(18.0))
    assert (opposed.low, opposed.high) == (-1, pytest.approx(-0.953, abs=1e-3))


@pytest.mark.simulation
def test_of_ten_networks_that_often_happen_to_be_in_order_the_interval_holds_the_correlation() -> None:
    rng, held, in_order = np.random.default_rng(2), 0, 0
    for trial in range(400):
        x, noise = rng.normal(size=(2, 10))
        found = correlation_of(kendall, x, x + 0.2 * noise, seed=trial, draws=100)
        in_order += found.value == 1
        held += found.low <= 2 / math.pi * math.asin(1 / math.hypot(1, 0.2)) <= found.high
    assert in_order > 20 and held / 400 >= 0.93


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


def test_one_seed_has_no_interval_and_equal_runs_have_none_of_width() -> None:
    mean, low, high = mean_interval(np.array([[2.0, 1.0]]))
    assert mean.tolist() == [2.0, 1.0]
    assert np.isnan([low, high]).all()
    mean, low, high = mean_interval(np.zeros((10, 1)))
    assert (mean[0], low[0], high[0]) == (0, 0, 0)


@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_intervals_of_ten_runs_cover_more_than_the_percentile_bootstrap_s(draw: str) -> None:
    rng = np.random.default_rng(0)
    count, many = 10, 4000
    values = rng.normal(3, 1, (count, many)) if draw == "normal" else rng.exponential(3, (count, many))
    _, low, high = mean_interval(values)
    covered = float(((low <= 3) & (high >= 3)).mean())
    resampled = np.stack([values[rng.integers(count, size=count)].mean(axis=0) for _ in range(500)])
    ends = np.quantile(resampled, [0.025, 0.975], axis=0)
    bootstrap = float(((ends[0] <= 3) & (ends[1] >= 3)).mean())
    assert covered > bootstrap + 0.01
    assert covered == pytest.approx(0.95, abs=0.01) if draw == "normal" else 0.88 < covered < 0.95


def test_draws_without_an_order_are_left_out() -> None:
    x, y = np.append(np.ones(9), 2.0), np.arange(10.0)  # often only the first value is drawn
    found = correlation_of(kendall, x, y)
    assert np.isfinite([found.value, found.low, found.high]).all()


def test_a_margin_is_the_score_of_its_rank_and_infinite_where_there_are_too_few() -> None:
    scores = np.arange(1, 20) / 100  # 19: the fewest for 95 %
    assert conformal_margin(scores, 0.95) == 0.19
    assert conformal_margin(scores, 0.9) == 0.18
    assert conformal_margin(scores[:18], 0.95) == np.inf


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_a_conformal_interval_is_finite_from_the_fewest_scores_on(coverage: float) -> None:
    for count, is_finite in ((fewest_scores(coverage), True), (fewest_scores(coverage) - 1, False)):
        predicted = np.ones((count, 3))
        low, high = conformal_interval(predicted, np.ones((count, 1)), coverage)
        assert np.isfinite(low).all() == np.isfinite(high).all() == is_finite
        assert np.isfinite(conformal_margin(np.ones(count), coverage)) == is_finite


def test_a_conformal_interval_is_between_the_predictions_of_its_ranks() -> None:
    predicted = np.random.default_rng(0).normal(size=(19, 4))  # by 19 models, of 4 networks
    reach = np.random.default_rng(1).uniform(size=(19, 1))
    low, high = conformal_interval(predicted, reach, 0.9)  # the second of 19 from either end
    assert low.tolist() == np.sort(predicted - reach, axis=0)[1].tolist()
    assert high.tolist() == np.sort(predicted + reach, axis=0)[-2].tolist()


# --- accuracies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "images"), [(0, 100), (1, 100), (50, 100), (296, 300), (300, 300), (1, 1)])
def test_an_accuracy_s_interval_is_that_of_clopper_and_pearson(right: int, images: int) -> None:
    found = accuracy_interval(right, images)
    exact = stats.binomtest(right, images).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high))
    assert (found.value, found.count) == (100 * right / images, images)


@pytest.mark.parametrize(("right", "images"), [(-1, 10), (11, 10), (0, 0)])
def test_more_right_images_than_there_are_have_no_interval(right: int, images: int) -> None:
    with pytest.raises(ValueError, match=f"{right} of {images} images right"):
        accuracy_interval(right, images)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97, 0.985, 0.995, 0.999])
@pytest.mark.parametrize("images", [100, 300, 2000])
def test_an_accuracy_s_interval_holds_it_as_often_as_it_says_at_every_accuracy(
    accuracy: float, images: int
) -> None:
    rights = np.arange(images + 1)
    chances = stats.binom.pmf(rights, images, accuracy)
    counted = rights[chances > 1e-9]
    intervals = {right: accuracy_interval(right, images) for right in counted.tolist()}
    held = sum(chances[r] for r, one in intervals.items() if one.low <= 100 * accuracy <= one.high)
    assert held >= 0.95, "exactly, with no drawing"  # Wilson's holds 0.935 at 0.995 of 300
    assert held < 0.9999 or accuracy > 0.98, "and is not wide for nothing"


@pytest.mark.simulation
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_between_seeds_holds_the_mean_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(1)
    runs = rng.normal(95, 1.5, (4000, seeds))
    found = [seeds_interval(row.tolist()) for row in runs]
    assert np.mean([one.low <= 95 <= one.high for one in found]) == pytest.approx(0.95, abs=0.012)
    counted = rng.binomial(300, np.clip(rng.normal(0.95, 0.015, (2000, seeds)), 0, 1)) / 3
    held = [one.low <= 95 <= one.high for one in map(seeds_interval, counted.tolist()) if one.low == one.low]
    assert np.mean(held) >= 0.93, "also of counted images"


def test_few_or_equal_seeds_have_no_interval_between_them_and_none_leaves_the_percents() -> None:
    assert math.isnan(seeds_interval([97.0]).low) and math.isnan(seeds_interval([97.0, 97.0, 97.0]).high)
    wide = seeds_interval([99.0, 90.0, 98.0])
    assert wide.high == 100 and 0 < wide.low < 90 and wide.value == pytest.approx(287 / 3)
    assert seeds_interval([1.0, 9.0]).low == 0

"""Reports on predictors: the statistics are scipy's, and their intervals cover."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from factories.signatures import by_rule, drawn, made_signatures
from scipy.stats import kendalltau, spearmanr

from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.predictors import fit
from search.blockwise.predictors_report import PredictorReport, evaluate
from search.statistics import Estimate
from space import MINI
from space.errors import ConfigError

SIGNATURES = made_signatures()
TRUTH = by_rule(SIGNATURES, np.array([2.0, 1.0]))
EVERY = np.arange(len(MINI))
FITTED = fit("sum", SIGNATURES, indices=drawn(0, 20), accuracies=TRUTH[drawn(0, 20)])


def judged(predicted: np.ndarray, truth: np.ndarray, **more: object) -> PredictorReport:
    """Return the report on leave-out predictions put in the place of a predictor's own."""
    made: FittedPredictor = dataclasses.replace(
        FITTED,
        indices=EVERY[: len(truth)],
        accuracies=np.asarray(truth, float),
        leave_out=np.asarray(predicted, float),
        ranking=np.asarray(predicted, float),
    )
    return evaluate(made, **more)  # type: ignore[arg-type]


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_the_statistics_are_those_of_scipy_with_ties_and_without(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    truth = np.round(rng.normal(60, 3, 40), decimals)
    predicted = np.round(truth + rng.normal(0, 2, 40), decimals)
    report = judged(predicted, truth)
    assert value(report.kendall) == pytest.approx(kendalltau(predicted, truth).statistic)
    assert value(report.spearman) == pytest.approx(spearmanr(predicted, truth).statistic)
    assert value(report.mae) == pytest.approx(np.abs(predicted - truth).mean())
    assert value(report.rmse) == pytest.approx(((predicted - truth) ** 2).mean() ** 0.5)
    assert (report.n, report.coverage) == (40, 0.95)


def test_intervals_of_ranks_are_the_percentiles_of_scipy_s_statistics_over_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    truth = np.round(rng.normal(60, 3, 25))
    predicted = np.round(truth + rng.normal(0, 3, 25))
    report = judged(predicted, truth, draws=200, seed=4)
    counts = np.random.default_rng(4).multinomial(25, np.full(25, 1 / 25), 200)
    picks = [np.repeat(np.arange(25), row) for row in counts]
    for estimate, of in (
        (report.kendall, lambda p, t: kendalltau(p, t).statistic),
        (report.spearman, lambda p, t: spearmanr(p, t).statistic),
    ):
        values = [of(predicted[pick], truth[pick]) for pick in picks]
        assert estimate is not None
        np.testing.assert_allclose((estimate.low, estimate.high), np.quantile(values, (0.025, 0.975)))


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    correlation, runs = 0.7, 150
    # Of two normals (Kendall 1949); their mean absolute difference is known too.
    tau = 2 / np.pi * np.arcsin(correlation)
    mae = (2 / np.pi) ** 0.5 * (2 - 2 * correlation) ** 0.5
    held = []
    for seed in range(runs):
        pair = np.random.default_rng((seed, 5)).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 50).T
        report = judged(*pair, draws=300, seed=seed)
        for estimate, true in ((report.kendall, tau), (report.mae, mae)):
            assert estimate is not None
            held.append(estimate.low <= true <= estimate.high)
    shares = np.mean(np.reshape(held, (runs, 2)), axis=0)
    assert (shares > 0.88).all() and (shares < 0.99).all(), shares


def test_the_high_end_is_seldom_below_the_error_of_ten_networks() -> None:
    rng, runs = np.random.default_rng(7), 400
    below = np.zeros(2)
    for seed in range(runs):
        report = judged(rng.normal(0, 1, 10), np.zeros(10), draws=400, seed=seed)
        assert 0 <= report.mae.low <= report.mae.value <= report.rmse.value <= report.rmse.high
        below += (report.mae.high < (2 / np.pi) ** 0.5, report.rmse.high < 1)
    assert (below / runs < (0.065, 0.11)).all(), "of percentiles in 12 and 18 %"


def test_errors_of_few_networks_have_no_interval_and_null_in_json() -> None:
    report = judged(np.array([1.0, 2.0, 4.0, 8.0]), np.arange(4.0))
    assert report.mae is not None and str(report.mae) == "2.25 (no interval)"
    plain = json.loads(json.dumps(report.to_plain(), allow_nan=False))
    assert plain["kendall"] == {"value": 1.0, "low": None, "high": None} and plain["mae"]["high"] is None
    in_order = judged(np.arange(10.0), np.arange(10.0)).to_plain()["kendall"]
    assert in_order == {"value": 1.0, "low": pytest.approx(0.843, abs=1e-3), "high": 1.0}


def test_equal_seeds_report_equally_and_others_differently() -> None:
    assert evaluate(FITTED, seed=1) == evaluate(FITTED, seed=1) != evaluate(FITTED, seed=2)


def test_leave_out_predictions_of_useless_signatures_do_not_look_useful() -> None:
    taus = []
    for seed in range(8):
        noise = np.random.default_rng((seed, 6)).normal(60, 1, len(MINI))
        known = drawn(seed, 12)
        found = fit("linear", SIGNATURES, ["nsr"], known, noise[known])
        taus.append(value(evaluate(found, draws=2).kendall))
    assert np.mean(taus) < 0.1, taus


def test_what_has_no_order_has_no_rank_correlation() -> None:
    for predicted, truth in (([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1], [2])):
        report = judged(np.array(predicted), np.array(truth))
        assert report.kendall is None and report.spearman is None
        assert value(report.mae) > 0


def test_networks_that_prove_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="judged by 0 networks"):
        evaluate(fit("sum", SIGNATURES))
    with pytest.raises(ConfigError, match="with coverage 95"):
        evaluate(FITTED, coverage=95)

"""The predictor of predictors on latencies made by a rule."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories.chains import long_chain
from factories.latencies import NOISE, additive, cells, costs, design, fused, measured, sum_of

from search.latency import model_selection
from search.latency.candidates import CANDIDATES, CandidatePredictor, SpaceFacts, Training
from search.latency.design import least_variance_design
from search.latency.evaluation import judge
from search.latency.model_selection import (
    Prediction,
    choose,
    cv_plus,
    folds,
    guaranteed,
    select_predictor,
    space_weights,
)
from search.latency.ridge import Linear, fit_line
from space import BLOX, MINI
from space.costs import all_macs
from space.errors import ConfigError
from space.selection import select_models

MEAN_NOISE = NOISE * np.sqrt(2 / np.pi)  # mean absolute error of an exact predictor
EVERY = np.arange(len(BLOX))
SOME = EVERY[::37]  # in each stage every block
SMALL = np.arange(len(MINI))


def candidates(*names: str) -> list[CandidatePredictor]:
    return [candidate for candidate in CANDIDATES if candidate.name in names]


@pytest.fixture
def dealt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deal folds once: with one candidate intervals are of the first deal, the others only judge it."""
    monkeypatch.setattr(model_selection, "REPEATS", 1)


def test_ridge_finds_an_additive_space_to_about_the_noise_from_45_and_90_networks() -> None:
    truth = additive(cells(costs(1)))
    for rounds, most in ((1, 2.0), (2, 1.3)):
        places = design(rounds)
        predictor = select_predictor(places, measured(truth, places, 5), config=BLOX)
        assert predictor.chosen == "ridge"
        found = judge(predictor.predict(SOME).ratios, measured(truth, SOME, 6))
        assert found.mape < most * MEAN_NOISE
        assert predictor.errors.mape < 2.5 * MEAN_NOISE


@pytest.mark.simulation
@pytest.mark.usefixtures("dealt_once")
def test_nine_of_ten_networks_held_out_are_measured_within_their_intervals() -> None:
    shares = []
    for seed in range(8):
        truth = additive(cells(costs(seed)))
        places = design(4, seed)
        predictor = select_predictor(
            places, measured(truth, places, seed), candidates=candidates("ridge"), seed=seed, config=BLOX
        )
        others = np.delete(EVERY, places)[seed::40]
        again, found = measured(truth, others, 100 + seed), predictor.predict(others)
        shares.append(np.mean((found.low <= again) & (again <= found.high)))
    assert 0.86 <= np.mean(shares) <= 0.94


def test_an_interval_holds_its_point_and_widens_with_the_coverage() -> None:
    truth, places = additive(cells(costs(0))), design(2)
    predictor = select_predictor(
        places, measured(truth, places, 0), candidates=candidates("ridge"), config=BLOX
    )
    usual, wide = predictor.predict(SOME), predictor.predict(SOME, coverage=0.97)
    assert np.all((usual.low <= usual.ratios) & (usual.ratios <= usual.high))
    assert np.all((wide.low <= usual.low) & (usual.high <= wide.high))
    assert np.mean(wide.high - wide.low) > 1.1 * np.mean(usual.high - usual.low)


def test_products_across_stages_win_where_latency_depends_on_two_stages_at_once() -> None:
    truth = additive(cells(costs(2))) + fused(0.06)
    places = design(2)
    predictor = select_predictor(places, measured(truth, places, 0), config=BLOX)
    by_name = {report.name: report.errors for report in predictor.reports}
    assert predictor.chosen == "borders"
    assert by_name["borders"].mape < 0.7 * by_name["ridge"].mape  # type: ignore[union-attr]
    held_out = np.delete(EVERY, places)[::50]
    assert judge(predictor.predict(held_out).ratios, truth[held_out]).mape < 0.7 * by_name["ridge"].mape  # type: ignore[union-attr]


def test_a_line_is_chosen_where_the_sum_of_parts_is_biased_but_exact() -> None:
    cell, places = cells(costs(3)), design(1)
    truth, biased = additive(cell), sum_of(1.07 * cell, 1.07 * 0.4 + 0.1)
    predictor = select_predictor(places, measured(truth, places, 0), parts_sum=biased, config=BLOX)
    by_name = {report.name: report.errors for report in predictor.reports}
    assert predictor.chosen == "affine"
    assert by_name["sum"].mape > 0.1 > by_name["affine"].mape * 8  # type: ignore[union-attr]
    assert judge(predictor.predict(SOME).ratios, truth[SOME]).mape < MEAN_NOISE


def test_a_sum_of_parts_that_needs_no_fit_is_taken_as_it_is() -> None:
    total, places = sum_of(cells(costs(3))), design(1)
    truth = total(EVERY)
    predictor = select_predictor(places, measured(truth, places, 1), parts_sum=total, config=BLOX)
    assert predictor.chosen == "sum"
    assert np.array_equal(predictor.predict(EVERY).ratios, truth)


def test_where_parts_mislead_by_wiring_the_corrected_line_beats_line_and_ridge() -> None:
    cost = costs(4)
    truth = additive(cells(cost + np.array([0, 0, 0, 0, 0, 0, 0.06, 0.08, 0])))  # sums are dearer than alone
    places = design(1)[:25]
    predictor = select_predictor(
        places, measured(truth, places, 1), parts_sum=sum_of(cells(cost)), config=BLOX
    )
    assert predictor.chosen == "corrected"


@pytest.mark.slow
def test_ten_networks_and_another_device_do_what_ten_networks_alone_cannot() -> None:
    orders, shares = [], []
    for seed in range(3):
        rng, cost = np.random.default_rng(seed), costs(seed)
        prior = additive(cells(cost))
        truth = additive(cells(cost * np.exp(rng.normal(0, 0.15, cost.shape))), 0.5)
        places = design(1, seed)[:10]
        predictor = select_predictor(
            places,
            measured(truth, places, seed),
            prior=prior,
            candidates=candidates("transfer", "ridge"),
            config=BLOX,
        )
        assert predictor.chosen == "transfer"
        found = judge(predictor.predict(SOME).ratios, truth[SOME])
        alone = select_predictor(
            places, measured(truth, places, seed), candidates=candidates("ridge"), config=BLOX
        )
        orders.append(found.spearman)
        shares.append(found.mape / judge(alone.predict(SOME).ratios, truth[SOME]).mape)
    assert np.mean(orders) >= 0.95
    assert np.mean(shares) < 0.5


def test_a_correction_learns_what_the_prior_does_not_know() -> None:
    cost, places = costs(7), design(1)
    truth = additive(cells(cost + np.array([0, 0, 0.1, 0, 0, 0.1, 0, 0, 0])))  # bconv is dear here
    training = Training(
        known=SpaceFacts(config=BLOX, prior=additive(cells(cost))),
        indices=places,
        ratios=measured(truth, places, 0),
        weights=np.ones(len(places)),
        seed=0,
    )
    (transfer,) = candidates("transfer")
    assert judge(transfer.fit(training)(EVERY), truth).mape < MEAN_NOISE


def test_the_cv_plus_interval_of_a_small_case_is_the_one_worked_out_by_hand() -> None:
    # 9 measured networks in 3 folds; at 80 % of 10 places: the 2nd smallest and the 8th smallest.
    predictions = np.array([[1.0], [2.0], [4.0]])
    fold_of = np.repeat([0, 1, 2], 3)
    scores = np.array([0.1, 0.2, 0.5, 0.0, 0.1, 0.2, 0.0, 0.25, 0.5])
    # low ends 0.9 0.8 0.5 2 1.8 1.6 4 3 2, high ends 1.1 1.2 1.5 2 2.2 2.4 4 5 6
    low, high = cv_plus(predictions, fold_of, scores, 0.8)
    assert low.tolist() == [0.8]
    assert high.tolist() == [5.0]
    low, high = cv_plus(predictions, fold_of, scores, 0.9)  # the smallest and the largest
    assert (low.tolist(), high.tolist()) == ([0.5], [6.0])
    low, high = cv_plus(predictions, fold_of, scores, 0.95)  # 9 networks cannot carry 95 %
    assert (low.tolist(), high.tolist()) == ([0.0], [np.inf])


def test_folds_are_of_nearly_equal_size_and_drawn_by_the_seed() -> None:
    assert sorted(np.bincount(folds(45, 0))) == [4] * 5 + [5] * 5
    assert sorted(folds(7, 0)) == list(range(7))
    assert folds(45, 0).tolist() == folds(45, 0).tolist() != folds(45, 1).tolist()


def test_a_simpler_rung_is_chosen_only_where_the_paired_errors_do_not_tell_it_from_the_best() -> None:
    rng, equal = np.random.default_rng(0), np.ones(100)
    best = np.abs(rng.normal(0, 0.01, 100))  # mean 0.008, whose standard error is 0.0006
    worse = best + rng.normal(0.0003, 0.0005, 100)  # told by pairs, and far within that standard error
    tied = best + rng.normal(0, 0.005, 100)
    tied += (best - tied).mean() + 0.00005
    assert choose({"worse": worse, "best": best}, equal) == "best"
    assert choose({"worse": worse, "tied": tied, "best": best}, equal) == "tied"
    assert choose({"best": best, "same": best}, equal) == "best"


def test_the_errors_that_choose_count_as_often_as_such_networks_are_in_the_space() -> None:
    # One block in the first stage of most.
    places = np.concatenate([design(1)[:20], 40 + 45 * np.arange(40) % 2025])
    weights = space_weights(BLOX, places)
    assert weights.mean() == pytest.approx(1) and weights.min() > 0
    assert weights[:20].mean() > 1.5 * weights[20:].mean()
    assert space_weights(BLOX, design(1)) == pytest.approx(1)


def test_rungs_that_lack_what_they_need_are_reported_as_skipped_with_the_reason() -> None:
    truth, places = additive(cells(costs(0))), design(1)[:44]
    skipped = {
        r.name: r.skipped
        for r in select_predictor(places, truth[places], config=BLOX).reports
        if r.errors is None
    }
    assert set(skipped) == {"sum", "affine", "corrected", "transfer", "pairs", "borders"}
    assert "parts_sum" in skipped["sum"] and "prior" in skipped["transfer"]
    assert skipped["pairs"] == "needs 45 measured networks, and there are 44"


def test_the_same_seed_gives_the_same_ladder_and_another_one_other_folds() -> None:
    truth, places = additive(cells(costs(0))), design(2)
    ratios = measured(truth, places, 0)
    first, second, third = (
        select_predictor(places, ratios, seed=seed, candidates=candidates("ridge"), config=BLOX)
        for seed in (0, 0, 1)
    )
    for name in ("ratios", "low", "high"):
        assert np.array_equal(getattr(first.predict(SOME), name), getattr(second.predict(SOME), name))
    assert first.reports == second.reports
    assert first.reports != third.reports


def test_a_small_space_is_predicted_as_well() -> None:
    truth, places = additive(cells(costs(0, MINI), MINI), config=MINI), design(2, config=MINI)
    predictor = select_predictor(places, measured(truth, places, 0), config=MINI)
    assert judge(predictor.predict(np.arange(len(MINI))).ratios, truth).mape < 2 * MEAN_NOISE


@pytest.mark.parametrize(
    ("places", "ratios", "message"),
    [
        (
            range(9),
            np.ones(9),
            r"9 measured networks are too few .* needs 10; run `harness measure --models design:1`",
        ),
        (range(10), np.ones(9), "10 networks with ratios of shape"),
        (range(10), [1.0] * 9 + [0.0], "measured ratio 0.0 at place 9"),
        (range(10), [np.nan] + [1.0] * 9, "measured ratio nan at place 0"),
        (range(10), [np.inf] + [1.0] * 9, "measured ratio inf at place 0"),
        ([*range(9), 8], np.ones(10), "network 8 .* more than once"),
        ([*range(9), 91125], np.ones(10), "index 91125: space 'blox' has 91125 networks"),
        ([*range(9), -1], np.ones(10), "index -1"),
        (np.arange(10) / 2, np.ones(10), "whole numbers"),
    ],
)
def test_bad_measurements_are_refused_with_the_remedy(places: object, ratios: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_predictor(places, ratios, config=BLOX)  # type: ignore[arg-type]


def test_what_is_known_must_be_known_of_every_network() -> None:
    with pytest.raises(ConfigError, match=r"prior has shape \(3,\); give one value for each of 91125"):
        select_predictor(range(10), np.ones(10), prior=np.ones(3), config=BLOX)
    holed = np.ones(len(BLOX))
    holed[7] = np.nan
    with pytest.raises(ConfigError, match="prior of network 7 is nan"):
        select_predictor(range(10), np.ones(10), prior=holed, config=BLOX)
    with pytest.raises(ConfigError, match=r"no predictor can be fitted \(sum: needs parts_sum"):
        select_predictor(range(10), np.ones(10), candidates=candidates("sum"), config=BLOX)


def test_networks_that_all_take_the_same_time_are_predicted_to() -> None:
    same = sum_of(np.zeros((3, 45)), 1.5)
    predictor = select_predictor(
        design(1), np.full(45, 1.5), prior=np.ones(len(BLOX)), parts_sum=same, config=BLOX
    )
    assert np.allclose(predictor.predict(EVERY[::100]).ratios, 1.5)


@pytest.mark.parametrize("count", [12, 45, 90])
def test_no_part_costs_less_than_nothing_and_no_network_less_than_the_parts_that_all_share(
    count: int,
) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        places = np.sort(rng.choice(len(BLOX), count, replace=False))
        wild = np.exp(rng.normal(0, 0.5, count))  # no physics at all: what contention makes of ratios
        total = sum_of(cells(costs(seed)))
        prior = total(EVERY) * np.exp(rng.normal(0, 0.05, len(BLOX)))
        known = SpaceFacts(config=BLOX, parts_sum=total, prior=prior)
        training = Training(known=known, indices=places, ratios=wild, weights=np.ones(count), seed=0)
        for candidate in CANDIDATES:
            fitted = candidate.fit(training)
            assert fitted(EVERY).min() > 0, candidate.name
            assert fitted.leverage(SOME).min() >= 0, candidate.name
            if isinstance(fitted.point, Linear):
                assert fitted.point.constant >= 0 and fitted.point.blocks.min() >= 0, candidate.name
                assert fitted(EVERY).min() >= fitted.point.constant, candidate.name


def test_a_line_neither_falls_nor_begins_below_nothing_where_it_may_not() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert fit_line(x, 2 - 0.5 * x)[0] == 0.0
    assert fit_line(x, x - 0.5) == pytest.approx((1.0, -0.5))
    slope, intercept = fit_line(x, x - 0.5, from_zero=True)
    assert intercept == 0.0 and 0.5 < slope < 1


def test_an_op_costs_about_the_same_in_both_slots_and_all_stages_so_that_fifteen_networks_do() -> None:
    rng = np.random.default_rng(3)
    op = rng.uniform(0.1, 0.3, 3) * np.exp(rng.normal(0, 0.1, (3, 3)))
    truth = additive(cells(np.hstack([op, op * 1.01, np.full((3, 3), 0.01)])))
    places = least_variance_design(BLOX, 15, 0)
    predictor = select_predictor(
        places, measured(truth, places, 0), candidates=candidates("ridge"), config=BLOX
    )
    assert judge(predictor.predict(SOME).ratios, truth[SOME]).mape < 2 * MEAN_NOISE


def test_a_network_measured_badly_neither_draws_the_fit_nor_widens_the_intervals_of_others() -> None:
    truth, places = additive(cells(costs(5))), design(1)
    ratios, sds = measured(truth, places, 0), np.full(45, NOISE)
    bad = np.arange(0, 45, 5)
    ratios[bad] *= np.exp(np.random.default_rng(1).normal(0, 0.15, len(bad)))
    sds[bad] = 0.15
    told = select_predictor(places, ratios, sds=sds, candidates=candidates("ridge"), config=BLOX)
    untold = select_predictor(places, ratios, candidates=candidates("ridge"), config=BLOX)
    without = select_predictor(
        np.delete(places, bad), np.delete(ratios, bad), candidates=candidates("ridge"), config=BLOX
    )
    error, worst, best = (
        judge(one.predict(SOME).ratios, truth[SOME]).mape for one in (told, untold, without)
    )
    assert error < 1.3 * best and error < 0.5 * worst
    width, widest, narrow = (
        np.mean(p.high - p.low) for p in (one.predict(SOME) for one in (told, untold, without))
    )
    assert width < 1.5 * narrow and width < 0.5 * widest
    assert told.errors.mape < 0.5 * untold.errors.mape, "the bad ones are not the predictor's errors"


def test_equal_deviations_change_nothing() -> None:
    truth, places = additive(cells(costs(5))), design(1)
    ratios = measured(truth, places, 0)
    plain, told = (
        select_predictor(places, ratios, sds=sds, candidates=candidates("ridge"), config=BLOX)
        for sds in (None, np.full(45, 0.01))
    )
    assert told.predict(SOME).ratios == pytest.approx(plain.predict(SOME).ratios)
    with pytest.raises(ConfigError, match="standard deviation nan at place 3"):
        select_predictor(places, ratios, sds=[0.01] * 3 + [np.nan] * 42, config=BLOX)
    with pytest.raises(ConfigError, match=r"45 networks with standard deviations of shape \(2,\)"):
        select_predictor(places, ratios, sds=[0.01, 0.01], config=BLOX)


@pytest.mark.parametrize("name", ["ridge", "macs"])
def test_a_network_with_an_op_that_was_never_measured_there_is_far_from_all_measured_ones(name: str) -> None:
    truth = additive(cells(costs(1)))
    last = np.array(["bconv" in block.ops for block in BLOX.blocks])[EVERY // 45**2]
    places = np.random.default_rng(0).choice(np.flatnonzero(~last), 40, replace=False)
    predictor = select_predictor(places, measured(truth, places, 0), candidates=candidates(name), config=BLOX)
    found = predictor.predict(EVERY)
    assert not found.supported[last].any()
    # Not those with an op alone in a stage where none was measured.
    assert found.supported[~last].mean() > 0.9
    if name == "ridge":
        width = (found.high - found.low) / found.ratios
        assert width[last].mean() > 1.5 * width[~last].mean()


def test_a_line_through_macs_reaches_no_further_than_what_was_measured() -> None:
    truth = 0.2 + all_macs(BLOX) / 2e8
    slow = np.argsort(truth)[-2000::50]
    predictor = select_predictor(slow, measured(truth, slow, 0), candidates=candidates("macs"), config=BLOX)
    found = predictor.predict(np.argsort(truth)[:10])
    assert not found.supported.any() and (found.ratios > 0).all()


@pytest.mark.simulation
@pytest.mark.usefixtures("dealt_once")
def test_random_judges_lie_within_intervals_as_often_as_claimed_after_a_design_too() -> None:
    shares = []
    for seed in range(12):
        truth, rng = additive(cells(costs(seed))) + fused(0.01), np.random.default_rng(seed)
        places = least_variance_design(BLOX, 60, seed)
        predictor = select_predictor(
            places, measured(truth, places, seed), candidates=candidates("ridge"), seed=seed, config=BLOX
        )
        judges = rng.choice(len(BLOX), 225, replace=False)
        found, again = predictor.predict(judges), measured(truth, judges, 100 + seed)
        shares.append(np.mean((found.low <= again) & (again <= found.high)))
    assert 0.86 <= np.mean(shares) <= 0.94


@pytest.mark.simulation
@pytest.mark.usefixtures("dealt_once")
def test_what_a_minute_of_calm_does_not_show_of_later_sessions_is_in_the_intervals() -> None:
    rng = np.random.default_rng(4)
    session_sd, inside = 0.006, []
    for draw in range(8):
        truth, places = additive(cells(costs(20 + draw))), design(1)
        judges = rng.choice(len(BLOX), 225, replace=False)
        calm = truth[places] * np.exp(session_sd / 3 * rng.standard_normal(len(places)))
        later = truth[judges] * np.exp(session_sd * rng.standard_normal(len(judges)))
        for known in (0.0, session_sd):
            found = select_predictor(
                places, calm, session_sd=known, config=BLOX, candidates=candidates("ridge")
            ).predict(judges)
            inside.append(((found.low <= later) & (later <= found.high)).mean())
    assert np.mean(inside[::2]) < 0.75, "the case is one where the networks alone tell too little"
    assert np.mean(inside[1::2]) > 0.88


def test_networks_that_lie_further_apart_than_sessions_keep_their_own_intervals() -> None:
    places = design(1)
    ratios = measured(additive(cells(costs(1))), places, 5)
    low, high = (
        vars_of(
            select_predictor(
                places, ratios, session_sd=sd, config=BLOX, candidates=candidates("ridge")
            ).predict(SOME)
        )
        for sd in (0.0, NOISE / 10)
    )
    assert all(np.array_equal(*pair) for pair in zip(low, high, strict=True))


def test_cv_plus_guarantees_less_than_it_aims_at() -> None:
    assert guaranteed(0.9) == pytest.approx(0.8)
    assert guaranteed(0.4) == 0.0


@pytest.mark.long
@pytest.mark.slow
def test_importing_every_module_of_search_loads_neither_scikit_learn_nor_scipy() -> None:
    root = Path(__file__).parents[3]
    files = [path.relative_to(root).with_suffix("") for path in (root / "search").rglob("*.py")]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    code = f"import sys, {', '.join(names)}; print(*sys.modules.keys() & {{'sklearn', 'scipy'}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_where_networks_are_too_few_as_many_are_named_as_are_enough() -> None:
    for config, models in ((MINI, "design:1"), (long_chain(), "sample:40")):
        with pytest.raises(ConfigError, match=rf"4 measured networks are too few .* --models {models}`"):
            select_predictor(np.arange(4), np.ones(4), config=config)
        assert len(select_models([models], config)) >= 40


@pytest.mark.parametrize("name", [candidate.name for candidate in CANDIDATES])
def test_a_fitted_predictor_of_every_kind_is_pickled(name: str) -> None:
    cell, places = cells(costs(0, MINI), MINI), design(2, config=MINI)
    truth = additive(cell, config=MINI)
    predictor = select_predictor(
        places,
        truth[places],
        parts_sum=sum_of(0.9 * cell, 0.9 * 0.4, MINI),
        prior=truth + fused(0.01, MINI),
        config=MINI,
        candidates=candidates(name),
    )
    again = pickle.loads(pickle.dumps(predictor))  # noqa: S301 - of this test
    for one, other in zip(vars_of(predictor.predict(SMALL)), vars_of(again.predict(SMALL)), strict=True):
        np.testing.assert_array_equal(one, other)


def vars_of(found: Prediction) -> tuple[np.ndarray, ...]:
    return found.ratios, found.low, found.high, found.supported

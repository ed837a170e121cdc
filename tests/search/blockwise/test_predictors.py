"""Predictors from signatures: they find known rules, agree with sklearn and scipy, and refuse what they cannot know."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from factories.signatures import by_rule, drawn, made_signatures
from scipy.stats import kendalltau, linregress

from search.accuracy.gcn import GcnConfig
from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.predictor_kinds import PREDICTORS
from search.blockwise.predictors import additive, fit
from search.blockwise.predictors_linear import fit_linear, fit_second_order
from search.blockwise.predictors_report import evaluate
from search.blockwise.signature_features import features_of
from search.distillation.signatures import Signatures
from search.methods.ridge import PENALTIES
from space import MINI
from space.errors import ConfigError
from space.indexing import block_indices

SMALL = GcnConfig(width=16, epochs=8, learning_rate=1e-2, dropout=0.0)
EVERY = np.arange(len(MINI))
WEIGHTS = np.array([2.0, 1.0])
SIGNATURES = made_signatures()
TRUTH = by_rule(SIGNATURES, WEIGHTS)


def fitted(name: str, count: int = 14, *, truth: np.ndarray = TRUTH, **more: object) -> FittedPredictor:
    known = drawn(0, count)
    return fit(name, SIGNATURES, indices=known, accuracies=truth[known], hyperparameters=SMALL, **more)  # type: ignore[arg-type]


def without(signatures: Signatures, column: str, stage: int, block: int) -> Signatures:
    values = signatures.column(column).copy()
    values[stage, block] = np.nan
    return signatures.with_columns({column: values})


# What they find


def test_the_linear_predictor_recovers_a_rule_in_logarithms_of_the_nsr_that_it_was_not_told() -> None:
    found = fitted("linear", columns=["nsr"])
    assert np.abs(found.predict(EVERY) - TRUTH).max() < 0.05 * TRUTH.std()
    assert np.abs(found.errors).max() < 0.1 * TRUTH.std()


def test_second_order_terms_predict_products_of_stages_that_a_sum_cannot() -> None:
    truth = by_rule(SIGNATURES, WEIGHTS, coupling=1.5)
    known, others = drawn(0, 30), np.setdiff1d(EVERY, drawn(0, 30))
    features = features_of(SIGNATURES, ["nsr"])
    errors = [
        np.abs(make(features, known, truth[known])(others) - truth[others]).mean()
        for make in (fit_linear, fit_second_order)
    ]
    assert errors[1] < 0.2 * errors[0], errors


def test_the_sum_ranks_without_accuracies_and_lower_losses_are_better() -> None:
    bare = fit("sum", SIGNATURES)
    choices = block_indices(MINI, EVERY)
    expected = -SIGNATURES.column("loss_change")[[0, 1], choices].sum(axis=1)
    np.testing.assert_allclose(bare.predict(EVERY), expected)
    assert not bare.in_percent
    assert kendalltau(bare.predict(EVERY[::20]), TRUTH[::20]).statistic > 0.5
    with pytest.raises(ConfigError, match=r"no interval; fit it to 9 networks or more"):
        bare.interval(EVERY)


def test_the_sum_of_a_column_of_which_more_is_better_is_not_turned_around() -> None:
    for column, sign in (("accuracy_change", 1), ("nsr", -1)):
        predicted = fit("sum", SIGNATURES, [column]).predict(EVERY)
        best = sign * SIGNATURES.column(column)
        assert predicted.argmax() == best[0].argmax() + 45 * best[1].argmax()


def test_the_gcn_sees_signatures_that_the_ops_say_nothing_of() -> None:
    known, others = drawn(3, 80), np.setdiff1d(EVERY, drawn(3, 80))[::4]
    hyperparameters = GcnConfig(width=24, epochs=50, learning_rate=5e-3, dropout=0.0)
    correlations = []
    for seed in (0, 7):  # the true signatures, and others
        predictor = fit(
            *("gcn", made_signatures(seed), ["nsr"], known, TRUTH[known]),
            hyperparameters=hyperparameters,
            cross_validate=False,
        )
        correlations.append(np.corrcoef(predictor.predict(others), TRUTH[others])[0, 1])
    assert correlations[0] > 0.9 > 0.7 > correlations[1], correlations


# Numbers against an authority


def test_the_ridge_and_its_leave_out_predictions_are_those_of_sklearn_done_one_by_one() -> None:
    # Late, here as elsewhere in the tests: every process reads all files, and this takes one a second.
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    known = drawn(5, 8)
    scores = TRUTH[known] + np.random.default_rng(0).normal(0, 1, 8)
    found = fit("linear", SIGNATURES, ["loss_change", "accuracy_change"], known, scores)
    table = np.stack([SIGNATURES.column(name) for name in ("loss_change", "accuracy_change")], axis=2)
    table = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
    design = table[[0, 1], block_indices(MINI, EVERY)].reshape(len(EVERY), -1)

    def by_hand(rows: np.ndarray) -> Ridge:
        x, y = design[known[rows]], scores[rows]
        losses = [
            ((cross_val_predict(Ridge(alpha=a), x, y, cv=LeaveOneOut()) - y) ** 2).mean() for a in PENALTIES
        ]
        return Ridge(alpha=PENALTIES[int(np.argmin(losses))]).fit(x, y)

    np.testing.assert_allclose(found.predict(EVERY), by_hand(np.arange(8)).predict(design), rtol=1e-9)
    for row in (0, 7):
        left = by_hand(np.delete(np.arange(8), row)).predict(design[known[[row]]])
        assert found.leave_out[row] == pytest.approx(left[0], rel=1e-9)


def test_donna_is_sklearn_s_plane_through_the_nsr_and_nothing_else() -> None:
    from sklearn.linear_model import LinearRegression

    known = drawn(5, 9)
    scores = TRUTH[known] + np.random.default_rng(0).normal(0, 1, 9)
    others = SIGNATURES.with_columns({"loss_change": np.random.default_rng(1).normal(size=(2, 45))})
    design = SIGNATURES.column("nsr")[[0, 1], block_indices(MINI, EVERY)]  # (networks, 2), as they are
    plane = LinearRegression().fit(design[known], scores)
    found = fit("donna", others, indices=known, accuracies=scores)
    np.testing.assert_allclose(found.predict(EVERY), plane.predict(design), rtol=1e-9)
    for row in (0, 8):
        rest = np.delete(np.arange(9), row)
        left = LinearRegression().fit(design[known[rest]], scores[rest]).predict(design[known[[row]]])
        assert found.leave_out[row] == pytest.approx(left[0], rel=1e-9)


def test_lana_sums_the_loss_changes_of_training_images() -> None:
    expected = -SIGNATURES.column("train_loss_change")[[0, 1], block_indices(MINI, EVERY)].sum(axis=1)
    found = fit("lana", SIGNATURES)
    np.testing.assert_allclose(found.predict(EVERY), expected)
    assert (found.name, found.in_percent) == ("lana", False)


def test_products_count_as_wide_as_they_were_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import RidgeCV

    monkeypatch.setattr("search.blockwise.predictors_linear.PRODUCT_SCALES", (0.1,))
    features, known = features_of(SIGNATURES, ["accuracy_change"]), drawn(0, 20)
    scores = by_rule(SIGNATURES, WEIGHTS, coupling=1.5)[known]
    x = features.scaled(logarithms=False)[[0, 1], block_indices(MINI, EVERY), 0]  # (networks, 2)
    design = np.column_stack([x, 0.1 * x[:, 0] ** 2, 0.1 * x[:, 0] * x[:, 1], 0.1 * x[:, 1] ** 2])
    expected = RidgeCV(alphas=PENALTIES).fit(design[known], scores).predict(design)
    np.testing.assert_allclose(fit_second_order(features, known, scores)(EVERY), expected, rtol=1e-9)


def test_the_line_through_the_sums_is_scipy_s_and_so_is_each_without_one_network() -> None:
    found = fitted("sum")
    raw, known = fit("sum", SIGNATURES).predict(EVERY), found.indices
    line = linregress(raw[known], TRUTH[known])
    np.testing.assert_allclose(found.predict(EVERY), line.intercept + line.slope * raw)
    for row in range(len(known)):
        rest = np.delete(known, row)
        line = linregress(raw[rest], TRUTH[rest])
        assert found.leave_out[row] == pytest.approx(line.intercept + line.slope * raw[known[row]])
    assert (found.ranking == raw[known]).all()


def test_a_sum_that_ranks_the_wrong_way_predicts_the_mean_and_says_so_by_its_rank_correlation() -> None:
    found = fitted("sum", truth=-TRUTH)
    np.testing.assert_allclose(found.predict(EVERY), -TRUTH[found.indices].mean())
    kendall = evaluate(found).kendall
    assert kendall is not None and kendall.value < -0.3


# Properties


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_order_of_networks_does_not_matter(name: str) -> None:
    known = drawn(1, 9)
    order = np.random.default_rng(0).permutation(9)
    first, second = (
        fit(name, SIGNATURES, indices=known[rows], accuracies=TRUTH[known[rows]], hyperparameters=SMALL)
        for rows in (np.arange(9), order)
    )
    np.testing.assert_allclose(first.predict(EVERY), second.predict(EVERY), rtol=1e-9)
    np.testing.assert_allclose(first.leave_out[order], second.leave_out, rtol=1e-9)
    np.testing.assert_allclose(first.interval(EVERY), second.interval(EVERY), rtol=1e-9)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_constant_added_to_accuracies_is_added_to_predictions_and_intervals(name: str) -> None:
    first, second = fitted(name, 9), fitted(name, 9, truth=TRUTH + 8)
    tolerance = 1e-3 if name == "gcn" else 1e-9
    np.testing.assert_allclose(first.predict(EVERY) + 8, second.predict(EVERY), rtol=tolerance)
    np.testing.assert_allclose(np.add(first.interval(EVERY), 8), second.interval(EVERY), rtol=tolerance)


@pytest.mark.parametrize("name", PREDICTORS)
def test_signatures_in_another_unit_predict_the_same(name: str) -> None:
    column = PREDICTORS[name].columns[0]
    other = SIGNATURES.with_columns({column: 1000 * SIGNATURES.column(column)})
    known = drawn(1, 9)
    first, second = (
        fit(name, s, [column], known, TRUTH[known], hyperparameters=SMALL).predict(EVERY)
        for s in (SIGNATURES, other)
    )
    np.testing.assert_allclose(first, second, rtol=1e-4 if name == "gcn" else 1e-9)


@pytest.mark.parametrize("name", PREDICTORS)
def test_constant_columns_predict_the_mean_without_a_warning(name: str) -> None:
    columns = ("nsr", "loss_change", "train_loss_change")
    constant = SIGNATURES.with_columns({column: np.full((2, 45), 0.1) for column in columns})
    known = drawn(1, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(name, constant, indices=known, accuracies=TRUTH[known], hyperparameters=SMALL)
        low, high = found.interval(EVERY)
        report = evaluate(found)
    assert np.isfinite([low, high]).all() and (low < high).all()
    if name != "gcn":  # which still has the ops to go by
        np.testing.assert_allclose(found.predict(EVERY), TRUTH[known].mean())
        assert report.rmse.value > 0
    if PREDICTORS[name].ranks:
        assert report.kendall is None and report.spearman is None


def test_what_differs_by_rounding_only_is_constant() -> None:
    rounded = np.where(np.arange(45) % 2, 0.1 + 0.2, 0.3) * np.ones((2, 1))
    assert np.ptp(rounded) > 0
    features = features_of(SIGNATURES.with_columns({"loss_change": rounded}), ["loss_change"])
    for by_stage in (True, False):
        assert not features.scaled(logarithms=False, by_stage=by_stage).any()


def test_fewer_networks_than_features_are_enough() -> None:
    known = drawn(2, 6)
    columns = ["nsr", "loss_change", "accuracy_change", "macs"]
    for name in ("linear", "second-order"):
        found = fit(name, SIGNATURES, columns, known, TRUTH[known])
        assert np.corrcoef(found.predict(EVERY), TRUTH)[0, 1] > 0.5


def test_blocks_of_loss_zero_and_one_that_learned_nothing_leave_the_features_finite() -> None:
    nsr = SIGNATURES.column("nsr").copy()
    nsr[0, 3], nsr[1, 5] = 0.0, 1e9
    features = features_of(SIGNATURES.with_columns({"nsr": nsr}), ["nsr"])
    logs = features.scaled(logarithms=True)[:, :, 0]
    assert np.isfinite(logs).all() and np.abs(logs).max() < 10
    assert logs[0].argmin() == 3 and logs[1].argmax() == 5
    assert np.delete(logs[0], 3).std() > 0.5  # the zero does not make all others equal
    nothing = features_of(SIGNATURES.with_columns({"nsr": np.zeros((2, 45))}), ["nsr"])
    assert not nothing.scaled(logarithms=True).any()


# Sums over stages for the integer program


@pytest.mark.parametrize("name", ["sum", "linear", "donna", "lana"])
def test_the_additive_scores_add_up_to_the_predictions(name: str) -> None:
    found = fitted(name)
    parts = additive(found)
    assert parts is not None
    scores, constant = parts
    assert scores.shape == (2, 45)
    total = constant + scores[[0, 1], block_indices(MINI, EVERY)].sum(axis=1)
    np.testing.assert_allclose(total, found.predict(EVERY))


def test_products_of_stages_and_graphs_are_no_sums() -> None:
    assert additive(fitted("second-order", 30, truth=by_rule(SIGNATURES, WEIGHTS, coupling=2.0))) is None
    assert additive(fitted("gcn", 6)) is None


def test_products_within_a_stage_are_still_a_sum_over_stages() -> None:
    model = fit_second_order(features_of(SIGNATURES, ["nsr", "macs"]), drawn(0, 20), TRUTH[drawn(0, 20)])
    products = np.zeros((4, 4))
    products[0, 1], products[2, 2] = 0.7, -0.3
    model = dataclasses.replace(model, products=products)
    parts = model.additive()
    assert parts is not None
    total = parts[1] + parts[0][[0, 1], block_indices(MINI, EVERY)].sum(axis=1)
    np.testing.assert_allclose(total, model(EVERY))
    products[1, 2] = 0.1
    assert model.additive() is None


# Unknown signatures and other input that proves nothing


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_network_with_an_unknown_signature_is_refused_by_stage_block_and_column(name: str) -> None:
    column = PREDICTORS[name].columns[-1]
    signatures = without(SIGNATURES, column, 1, 7)
    with_it, rest = 45 * 7 + 2, np.array([1, 50, 99, 444])
    message = rf"{column} of block {MINI.blocks[7]} in stage 1 is unknown, and network 31[57] has it"
    known = np.append(rest, with_it)
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        fit(name, signatures, indices=known, accuracies=TRUTH[known], hyperparameters=SMALL)
    # Networks without that block are enough.
    found = fit(name, signatures, indices=rest, accuracies=TRUTH[rest], hyperparameters=SMALL)
    assert np.isfinite(found.predict(np.arange(45))).all()
    for ask in (found.predict, found.interval):
        with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
            ask(EVERY)
    parts = additive(found)
    if name in ("sum", "linear", "donna", "lana"):
        assert parts is not None and np.argwhere(np.isnan(parts[0])).tolist() == [[1, 7]]


@pytest.mark.parametrize("name", PREDICTORS)
def test_networks_and_accuracies_that_teach_nothing_are_refused(name: str) -> None:
    more = int(name == "donna")  # which needs one more for its two slopes
    for known, scores, message in (
        (
            [1, 2],
            [50.0, 60.0],
            f"{2 + more} networks of known accuracy; it needs {3 + more} or more, and 9 or more for intervals",
        ),
        ([1, 2, 3], [50.0, 60.0], rf"\({3 + more},\) networks and \({2 + more},\) accuracies"),
        ([1, 2, 3], [50.0, np.nan, 60.0], "accuracy of network 2 is nan"),
        ([1, 2, 2], [50.0, 51.0, 60.0], "network 2 is given 2 times"),
        ([1, 2, 2025], [50.0, 51.0, 60.0], "network 2025 is not in space 'mini' of 2025"),
        ([1, -1, 3], [50.0, 51.0, 60.0], "network -1 is not in space"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(
                name,
                SIGNATURES,
                indices=np.array(known + more * [9]),
                accuracies=np.array(scores + more * [55.0]),
            )


def test_names_of_predictors_and_columns_are_checked() -> None:
    with pytest.raises(ConfigError, match="no predictor is named 'linaer'; did you mean 'linear'"):
        fit("linaer", SIGNATURES)
    with pytest.raises(ConfigError, match="no column 'mse'"):
        fit("linear", SIGNATURES, ["mse"])
    with pytest.raises(ConfigError, match="'sum' sums one column, not nsr, macs"):
        fit("sum", SIGNATURES, ["nsr", "macs"])
    with pytest.raises(
        ConfigError, match=r"'lana' is the published form, of train_loss_change alone.*take sum"
    ):
        fit("lana", SIGNATURES, ["loss_change"])
    with pytest.raises(
        ConfigError, match=r"'donna' is the published form, of nsr alone, not of nsr, macs.*linear"
    ):
        fit("donna", SIGNATURES, ["nsr", "macs"])
    for columns in ([], ["nsr", "nsr"]):
        with pytest.raises(ConfigError, match="at least one column of the signatures, each once"):
            fit("linear", SIGNATURES, columns)
    with pytest.raises(ConfigError, match=r"linear.*0 networks of known accuracy; it needs 3"):
        fit("linear", SIGNATURES)

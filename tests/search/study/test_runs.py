"""The study's ground truth, runs and searches, on a made-up truth whose best network is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from factories.truths import EPOCHS, made_truth, write_truth

from search.statistics import Estimate
from search.study.methods import (
    PLAIN,
    fitted_scores,
    fitted_search,
    ordered_search,
    random_first,
    training_order,
)
from search.study.runs import (
    MethodRuns,
    MethodVerdict,
    price_of_choosing,
    regrets,
    run_of,
    standing,
    verdict,
)
from search.study.settings import QUICK, StudySettings
from search.study.truth import GroundTruth, load_truth
from search.work.flops import Spent, network_flops
from space import TINY
from space.dataset import read_dataset, write_dataset
from space.errors import ConfigError

IMAGES = 200


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> GroundTruth:
    return made_truth(tmp_path_factory.mktemp("truth"))


def test_the_truth_is_read_in_canonical_order_with_its_origin(truth: GroundTruth) -> None:
    assert (np.diff(truth.indices) > 0).all()
    assert (truth.epochs, truth.seed, truth.synthetic) == (EPOCHS, 0, True)
    assert truth.label == "40 trained networks of tiny, synthetic images"
    # The best epoch, not the mean over epochs.
    assert truth.val.mean() == pytest.approx(truth.test.mean(), abs=1)
    assert truth.test[truth.best] == truth.test.max()
    assert truth.allowed.sum() == 40


def test_several_seeds_are_judged_by_their_mean_and_decided_on_by_the_first(tmp_path: Path) -> None:
    first = load_truth(TINY, [write_truth(tmp_path)])
    found = read_dataset(tmp_path / "blox-base-0.csv", config=TINY)
    other = [round(float(value) + 2, 3) for value in found.array("test_top1")][::-1]
    columns = {
        "val_top1": [[99.0] * EPOCHS for _ in other],
        "test_top1": other,
        "train_time_s": [3] * len(other),
    }
    again = dataclasses.replace(
        found, columns=columns, indices=found.indices[::-1].copy(), extra={**found.extra, "seed": 1}
    )
    with pytest.raises(ConfigError, match="its epochs is 5"):
        write_dataset(
            tmp_path / "blox-base-2.csv",
            dataclasses.replace(again, extra={**again.extra, "epochs": 5, "seed": 2}),
        )
        load_truth(TINY, [tmp_path])
    (tmp_path / "blox-base-2.csv").unlink()
    write_dataset(tmp_path / "blox-base-1.csv", again)
    both = load_truth(TINY, [tmp_path])
    assert both.seed == 0 and both.origin == "blox-base-0.csv, blox-base-1.csv"
    np.testing.assert_allclose(both.val, first.val)
    np.testing.assert_allclose(both.test, first.test + 1)  # the second is 2 points higher for each network
    assert both.digest != first.digest
    fewer = dataclasses.replace(
        again, columns={k: v[:-1] for k, v in columns.items()}, indices=again.indices[:-1].copy()
    )
    write_dataset(tmp_path / "blox-base-1.csv", fewer)
    with pytest.raises(ConfigError, match=r"blox-base-1.csv: holds other networks than blox-base-0.csv"):
        load_truth(TINY, [tmp_path])


def test_a_truth_that_cannot_be_used_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="harness train sample:120@0"):
        load_truth(TINY, [tmp_path])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_truth(TINY, [tmp_path / "blox-base-7.csv"])
    with pytest.raises(ConfigError, match="holds 5 networks; train 20 or more"):
        load_truth(TINY, [write_truth(tmp_path, count=5)])
    assert load_truth(TINY, [Path(write_truth(tmp_path, count=25)).parent]).indices.size == 25


def test_regret_is_of_the_best_by_validation_of_those_trained_so_far(truth: GroundTruth) -> None:
    made = dataclasses.replace(
        truth,
        val=np.array([50.0, 60, 60, 70, 10] + [0.0] * 35),
        tests=np.array([[40.0, 55, 80, 50, 90] + [0.0] * 35]),
    )
    places = np.arange(5)
    assert regrets(made, places, made.val[places]).tolist() == [50, 35, 35, 40, 40], "no look at test images"
    assert regrets(made, np.array([4, 0]), np.array([10.0, 50])).tolist() == [0, 50]
    assert regrets(made, np.array([0, 1]), np.array([7.0, 7])).tolist() == [50, 50], "of equal ones the first"
    assert price_of_choosing(made) == 40, "validation prefers the fourth"
    tied = dataclasses.replace(made, val=np.where(np.arange(40) == 4, 70, made.val))
    assert price_of_choosing(tied) == 20, "validation prefers two, and the first one trained is named"


def test_a_run_pays_first_what_was_spent_before_and_then_each_training(truth: GroundTruth) -> None:
    order = truth.indices[[3, 1, 2]]
    run = run_of(truth, 0, order, IMAGES, Spent(flops=1e9, networks=2, seconds=10))
    each = [network_flops(TINY, int(i), IMAGES, EPOCHS) for i in order]
    assert run.flops.tolist() == pytest.approx([1e9 + sum(each[: n + 1]) for n in range(3)])
    assert run.networks.tolist() == [3, 4, 5]
    assert run.seconds.tolist() == [12, 14, 16]
    assert np.isnan(run.at_flops(1e9))
    assert run.at_flops(1e9 + each[0]) == run.regret[0]
    assert run.at_flops(1e15) == run.regret[2]
    places = truth.places(order)
    assert run.regret.tolist() == regrets(truth, places, truth.val[places]).tolist(), "named by validation"
    assert run.lucky_at_flops(1e15) == run.lucky_regret[2] == truth.test.max() - truth.test[[3, 1, 2]].max()
    assert np.isnan(run.at_networks(2))
    assert run.at_networks(4) == run.regret[1]
    with pytest.raises(ValueError, match="are not all in"):
        run_of(truth, 0, [int(np.flatnonzero(~truth.allowed)[0])], IMAGES, Spent())


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "gcn"])  # whose loop is that of linear
def test_a_search_trains_networks_of_the_truth_once_each_and_repeats_by_its_seed(
    name: str, truth: GroundTruth
) -> None:
    found = training_order(name, truth, 20, seed=3)
    assert len(set(found.tolist())) == len(found) == 20
    assert truth.allowed[found].all()
    assert (found == training_order(name, truth, 20, seed=3)).all()
    assert (found != training_order(name, truth, 20, seed=4)).any()


def test_scores_that_are_the_accuracies_find_the_best_first(truth: GroundTruth) -> None:
    order = ordered_search(truth.test, truth, 5, seed=0)
    assert order[0] == truth.indices[truth.best]
    with pytest.raises(ValueError, match="not finite"):
        ordered_search(np.full(40, np.nan), truth, 5, 0)
    tied = {tuple(ordered_search(np.zeros(40), truth, 5, seed).tolist()) for seed in range(5)}
    assert len(tied) == 5, "equal scores are ordered by chance"


def test_a_fit_sees_the_random_networks_alone_and_orders_the_rest(truth: GroundTruth) -> None:
    seen: list[np.ndarray] = []

    def fit(indices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
        seen.append(indices)
        assert (accuracies == truth.val[truth.places(indices)]).all()
        scores = np.zeros(len(TINY))
        scores[truth.indices] = truth.test
        return scores

    order = fitted_search(fit, truth, 6, 15, seed=0)
    assert len(seen) == 1
    assert (order[:6] == seen[0]).all()
    assert (order[:6] == training_order("random", truth, 6, 0)).all(), "paired with random search"
    rest = truth.test[truth.places(order[6:])]
    assert (np.diff(rest) <= 0).all() and len(order) == 15


def test_a_predictor_s_own_networks_are_no_part_of_its_predictions(truth: GroundTruth) -> None:
    predicted = fitted_scores("linear", truth, 12, seed=1)
    known = truth.places(training_order("random", truth, 12, seed=1))
    assert np.flatnonzero(np.isnan(predicted)).tolist() == sorted(known.tolist())
    rest = np.isfinite(predicted)
    assert np.corrcoef(predicted[rest], truth.test[rest])[0, 1] > 0.3


def runs_of(truth: GroundTruth, name: str, scores: np.ndarray | None, before: Spent) -> MethodRuns:
    orders = [
        training_order("random", truth, 20, seed)
        if scores is None
        else ordered_search(scores, truth, 20, seed)
        for seed in range(8)
    ]
    runs = tuple(run_of(truth, seed, order, IMAGES, before) for seed, order in enumerate(orders))
    return MethodRuns(method=name, meaning="", runs=runs)


def test_a_method_beats_random_search_only_where_their_paired_difference_says_so(truth: GroundTruth) -> None:
    random = runs_of(truth, "random", None, Spent())
    each = float(random.runs[0].flops[0])
    good = runs_of(truth, "good", truth.test, Spent())
    assert standing(good, random, 5 * each).verdict == MethodVerdict.BEATS
    same = dataclasses.replace(random, method="twin")
    assert standing(same, random, 5 * each).difference.value == 0
    assert standing(same, random, 5 * each).verdict == MethodVerdict.TIES
    assert standing(random, random, 5 * each).verdict == "the baseline"
    late = runs_of(truth, "late", truth.test, Spent(flops=100 * each))
    missing = standing(late, random, 5 * each)
    assert (missing.answered, missing.runs) == (0, 8)
    assert np.isnan(missing.regret.value)


def random_runs_of(truth: GroundTruth, name: str, count: int = 20) -> MethodRuns:
    runs = [
        run_of(truth, seed, training_order(name, truth, count, seed).tolist(), IMAGES, Spent())
        for seed in range(5)
    ]
    return MethodRuns(method=name, meaning="", runs=tuple(runs), random_first=random_first(name, count))


def test_evolution_chooses_before_the_cost_at_which_it_is_judged(truth: GroundTruth) -> None:
    random, evolution = (training_order(name, truth, 20, 0) for name in ("random", "evolution"))
    first = random_first("evolution", 20)
    assert first == 8 < min(StudySettings().decisive, QUICK.decisive)
    assert (evolution[:first] == random[:first]).all()
    assert (evolution[first:10] != random[first:10]).any()


def test_a_method_that_is_random_so_far_is_not_comparable_with_random_search(truth: GroundTruth) -> None:
    baseline, evolution = random_runs_of(truth, "random"), random_runs_of(truth, "evolution")
    first = evolution.random_first
    until = max(float(run.flops[first - 1]) for run in evolution.runs)
    early = min(float(run.flops[first - 1]) for run in evolution.runs)
    at_first = standing(evolution, baseline, early)
    assert at_first.verdict == MethodVerdict.NOT_COMPARABLE and at_first.difference.value == 0
    assert standing(evolution, baseline, 2 * until).verdict != MethodVerdict.NOT_COMPARABLE
    assert standing(random_runs_of(truth, "random"), baseline, early).verdict == "the baseline"


def test_a_method_without_an_answer_has_no_verdict_and_the_baseline_has_its_own(truth: GroundTruth) -> None:
    baseline = runs_of(truth, "random", None, Spent())
    first = float(baseline.runs[0].flops[0])
    late = runs_of(truth, "seer", truth.test, Spent(flops=1e6 * first))
    assert standing(late, baseline, 10 * first).verdict is MethodVerdict.NO_ANSWER
    assert standing(baseline, baseline, 0).verdict is MethodVerdict.NO_ANSWER
    assert standing(baseline, baseline, 10 * first).verdict is MethodVerdict.BASELINE


def test_runs_of_too_few_libraries_decide_nothing_however_many_seeds(truth: GroundTruth) -> None:
    baseline, seer = runs_of(truth, "random", None, Spent()), runs_of(truth, "seer", truth.test, Spent())
    cost = 10 * float(baseline.runs[0].flops[0])
    assert standing(seer, baseline, cost).verdict == MethodVerdict.BEATS
    for libraries, wanted in (
        (1, MethodVerdict.UNDECIDED),
        (2, MethodVerdict.UNDECIDED),
        (3, MethodVerdict.BEATS),
    ):
        shared = dataclasses.replace(seer, libraries=libraries)
        assert standing(shared, baseline, cost).verdict == wanted


def test_a_verdict_needs_an_interval_beside_0_and_enough_runs() -> None:
    def of(low: float, high: float, count: int = 10) -> str:
        return verdict(Estimate(value=(low + high) / 2, low=low, high=high, count=count))

    assert of(-2, -1) == MethodVerdict.BEATS
    assert of(1, 2) == MethodVerdict.LOSES
    assert of(-1, 2) == of(-2, 1) == MethodVerdict.TIES
    assert of(0, 2) == MethodVerdict.TIES
    assert of(-2, -1, count=2) == MethodVerdict.UNDECIDED


@pytest.mark.simulation
def test_the_best_on_test_images_of_those_trained_looks_better_than_it_is_and_the_incumbent_does_not(
    truth: GroundTruth,
) -> None:
    rng = np.random.default_rng(0)
    count, order = len(truth.indices), np.arange(20)
    best, incumbent = [], []
    for _ in range(300):
        true = rng.normal(60, 1.0, count)
        val, test = (true + rng.normal(0, 2.0, count) for _ in range(2))
        made = dataclasses.replace(truth, val=val, tests=test[None])
        best.append(test[order].max() - true[order][np.argmax(test[order])])
        chosen = order[np.argmax(val[order])]
        reported = made.test.max() - regrets(made, order, val[order])[-1]
        incumbent.append(reported - true[chosen])
    assert np.mean(best) > 2, "choosing and reporting by the same images"
    assert np.mean(incumbent) == pytest.approx(0, abs=0.4)  # three standard errors

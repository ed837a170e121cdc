"""The six answers on made-up numbers whose answer is known, and `not answered here` without numbers."""

from __future__ import annotations

import numpy as np
import pytest

from search.statistics import Estimate, correlation_of, kendall, spearman
from search.study.questions import (
    NOT_ANSWERED,
    QUESTIONS,
    AnswerVerdict,
    block_effects,
    can_one_iterate,
    do_signatures_find_blocks,
    do_they_predict,
    does_distilling_beat_training,
    does_tuned_follow_scratch,
    how_many_epochs,
    verdict_of,
)
from space import TINY
from space.indexing import block_indices
from space.selection import select_models

RNG = np.random.default_rng(0)
SCRATCH = RNG.normal(60, 3, 24)
INDICES = np.sort([one.index for one in select_models("sample:200@0", TINY)])


def tuned(gain: float, noise: float = 1.0) -> dict[int, np.ndarray]:
    return {4: SCRATCH + gain - 3, 8: SCRATCH + gain + RNG.normal(0, noise, 24)}


def test_what_was_not_run_is_not_answered() -> None:
    nothing = (
        does_distilling_beat_training({}, SCRATCH[:0], 14),
        does_tuned_follow_scratch({}, SCRATCH[:0]),
        do_signatures_find_blocks(TINY, {}, INDICES, np.zeros(len(INDICES))),
        do_they_predict({}, []),
        how_many_epochs({4: SCRATCH}),
        can_one_iterate(np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0)), epochs=(4, 4)),
    )
    assert [one.sentence for one in nothing] == [NOT_ANSWERED] * 6
    assert [one.number for one in nothing] == [1, 2, 3, 4, 5, 6]
    assert [one.question for one in nothing] == list(QUESTIONS)
    assert all(one.verdict is None and not one.rows and one.to_plain()["figures"] == {} for one in nothing)


@pytest.mark.parametrize(
    ("gain", "verdict", "start"),
    [
        (2.0, AnswerVerdict.YES, "yes:"),
        (-2.0, AnswerVerdict.NO, "no, they are worse:"),
        (0.0, AnswerVerdict.UNCLEAR, "no clear difference:"),
    ],
)
def test_distilling_beats_training_where_the_paired_gain_says_so(
    gain: float, verdict: AnswerVerdict, start: str
) -> None:
    made = {4: SCRATCH + gain - 3, 8: SCRATCH + gain + np.resize([-1.0, 1.0], 24)}
    answer = does_distilling_beat_training(made, SCRATCH, 8)
    assert answer.verdict is verdict
    assert answer.sentence.startswith(start)
    assert "24 networks" in answer.sentence and "for 8 epochs" in answer.sentence
    assert [row[0] for row in answer.rows] == ["4", "8", "from scratch, 8"]
    assert answer.figures["gain_points"]["8"]["value"] == pytest.approx(gain)


@pytest.mark.parametrize(
    ("gain", "tuned_for", "scratch_for", "start"),
    [
        (-5.0, 2, 12, "not comparable, 2 epochs with 12:"),
        (0.0, 2, 12, "not comparable, 2 epochs with 12:"),
        (2.0, 2, 12, "yes:"),  # better with less
        (2.0, 24, 12, "not comparable, 24 epochs with 12:"),
        (0.0, 24, 12, "not comparable, 24 epochs with 12:"),
        (-2.0, 24, 12, "no, they are worse:"),  # worse with more
    ],
)
def test_networks_trained_for_unlike_epochs_are_compared_only_where_that_makes_no_difference(
    gain: float, tuned_for: int, scratch_for: int, start: str
) -> None:
    made = {tuned_for: SCRATCH + gain + np.resize([-1.0, 1.0], 24)}
    sentence = does_distilling_beat_training(made, SCRATCH, scratch_for).sentence
    assert sentence.startswith(start)
    assert ("fine-tune for 12 as well (tuned_epochs)" in sentence) == start.startswith("not comparable")


def test_the_comparison_is_that_of_equal_epochs_where_there_is_one() -> None:
    made = {2: SCRATCH - 9, 12: SCRATCH + np.resize([1.0, 3.0], 24), 40: SCRATCH + 9}
    sentence = does_distilling_beat_training(made, SCRATCH, 12).sentence
    assert sentence.startswith("yes:") and "for 12 epochs test +2.00" in sentence


def test_fine_tuned_accuracy_follows_or_does_not() -> None:
    assert does_tuned_follow_scratch(tuned(1, 0.1), SCRATCH).sentence.startswith("yes:")
    assert does_tuned_follow_scratch({8: -SCRATCH}, SCRATCH).sentence.startswith("no, they oppose:")
    chance = {8: np.random.default_rng(5).normal(size=24)}
    assert does_tuned_follow_scratch(chance, SCRATCH).sentence.startswith("no different from chance:")


def test_four_networks_in_order_answer_nothing() -> None:
    answer = does_tuned_follow_scratch({2: SCRATCH[:4] - 1}, SCRATCH[:4])
    assert answer.sentence.startswith(
        "too few networks to tell: over 4 networks Kendall's tau is 1.00 (no interval)"
    )


@pytest.mark.parametrize(
    ("low", "high", "epochs", "others", "verdict"),
    [
        (1.0, 2.0, 4, 4, AnswerVerdict.YES),
        (-2.0, -1.0, 4, 4, AnswerVerdict.NO),
        (0.0, 1.0, 4, 4, AnswerVerdict.UNCLEAR),
        (1.0, 2.0, 2, 4, AnswerVerdict.YES),
        (1.0, 2.0, 8, 4, AnswerVerdict.NOT_COMPARABLE),
        (-2.0, -1.0, 2, 4, AnswerVerdict.NOT_COMPARABLE),
        (-2.0, -1.0, 8, 4, AnswerVerdict.NO),
        (-1.0, 1.0, 2, 4, AnswerVerdict.NOT_COMPARABLE),
        (np.nan, np.nan, 2, 4, AnswerVerdict.TOO_FEW),
    ],
)
def test_a_verdict_is_the_side_of_0_of_an_interval_where_epochs_can_be_compared(
    low: float, high: float, epochs: int, others: int, verdict: AnswerVerdict
) -> None:
    estimate = Estimate(value=(low + high) / 2, low=low, high=high, count=9)
    assert verdict_of(estimate, epochs, others) is verdict


def effects() -> np.ndarray:
    made = np.random.default_rng(2).normal(0, 1, (TINY.stages, 45))
    made[1] *= 3
    return made


def accuracies_of(effect: np.ndarray, noise: float = 0.3) -> np.ndarray:
    digits = block_indices(TINY, INDICES)
    added = effect[np.arange(TINY.stages), digits].sum(axis=1)
    return 60 + added + np.random.default_rng(3).normal(0, noise, len(INDICES))


def test_the_effects_of_blocks_are_found_from_some_networks() -> None:
    effect = effects()
    found = block_effects(TINY, INDICES, accuracies_of(effect))
    for stage in range(2):
        seen = np.isfinite(found[stage])
        assert seen.sum() >= 40
        assert np.corrcoef(found[stage][seen], effect[stage][seen])[0, 1] > 0.8
    digits = block_indices(TINY, INDICES)
    without = digits[:, 0] != 7
    again = block_effects(TINY, INDICES[without], accuracies_of(effect)[without])
    assert np.isnan(again[0, 7])


def test_signatures_that_are_the_effects_are_found_good_and_noise_is_not() -> None:
    effect = effects()
    noise = np.random.default_rng(11).normal(size=(2, TINY.stages, 45))
    answer = do_signatures_find_blocks(
        TINY, {"nsr": np.stack([effect, effect]), "mse": noise}, INDICES, accuracies_of(effect)
    )
    assert answer.sentence.startswith("yes, nsr in stage 0: 0.") and "of 2 libraries" in answer.sentence
    assert "nsr in stage 1" in answer.sentence and "mse" not in answer.sentence
    assert [row[0] for row in answer.rows] == ["nsr", "mse"]
    alone = do_signatures_find_blocks(TINY, {"mse": noise}, INDICES, accuracies_of(effect))
    assert alone.sentence.startswith("no different from chance")


def test_the_best_blockwise_predictor_is_named_beside_the_best_other() -> None:
    pair = {
        name: (correlation_of(kendall, values, SCRATCH), correlation_of(spearman, values, SCRATCH))
        for name, values in {
            "sum of nsr": SCRATCH + RNG.normal(0, 1, 24),
            "MACs": SCRATCH + RNG.normal(0, 8, 24),
            "sum of mse": RNG.normal(0, 1, 24),
        }.items()
    }
    answer = do_they_predict(pair, ["sum of nsr", "sum of mse"])
    assert answer.sentence.startswith("yes: the best of the blockwise predictors is sum of nsr")
    assert "the best of the others is MACs" in answer.sentence
    assert len(answer.rows) == 3 and "not comparable" not in answer.sentence
    fewer = np.where(np.arange(24) < 8, np.nan, SCRATCH)
    pair["linear, 8 trained"] = (correlation_of(kendall, fewer, SCRATCH), pair["MACs"][1])
    told = do_they_predict(pair, ["sum of nsr", "sum of mse"]).sentence
    assert "the best of the others is linear, 8 trained" in told
    assert "not comparable closely: judged by 24 networks and by 16" in told
    tied = (correlation_of(kendall, np.zeros(24), SCRATCH), correlation_of(kendall, np.zeros(24), SCRATCH))
    told = do_they_predict({"all alike": tied, **pair}, ["all alike", "sum of nsr", "sum of mse"]).sentence
    assert told.startswith("yes: the best of the blockwise predictors is sum of nsr"), "one without an order"


def test_epochs_are_enough_once_more_gain_nothing_that_can_be_told() -> None:
    noise = np.random.default_rng(8)
    made = {
        1: SCRATCH - 5,
        2: SCRATCH - 2,
        4: SCRATCH + noise.normal(0, 1, 24),
        8: SCRATCH + noise.normal(0, 1, 24),
    }
    assert how_many_epochs(made).sentence.startswith("4: 8 epochs gain")
    rising = {count: SCRATCH + count + noise.normal(0, 0.1, 24) for count in (1, 2, 4)}
    assert how_many_epochs(rising).sentence.startswith("at least 4: 4 epochs still gain +1.9")
    few = {count: values[:4] for count, values in made.items()}
    assert how_many_epochs(few).sentence.startswith("too few networks to tell: over 4 networks 8 epochs gain")


def test_iteration_is_judged_by_the_gain_of_its_last_winner() -> None:
    tested = np.array([[50.0, 55, 60], [48, 56, 61], [52, 57, 59]])
    ranked = np.array([[0.1, 0.3], [0.2, 0.4], [0.0, 0.5]])
    same = {"epochs": (4, 4)}
    answer = can_one_iterate(tested, tested + 1, ranked, np.array([0.6]), **same)
    assert answer.sentence.startswith("yes: from random teachers of 50.00")
    assert "2 rounds" in answer.sentence and "over 3 runs" in answer.sentence
    assert answer.rows[-1][0] == "largest network as teacher"
    one = can_one_iterate(tested[:1], tested[:1], ranked[:1], **same)
    assert one.sentence.startswith("one run decides nothing")
    two = can_one_iterate(tested[:2], tested[:2], ranked[:2], **same)
    assert two.sentence.startswith("too few runs to tell")
    worse = can_one_iterate(tested[:, ::-1], tested, ranked, **same)
    assert worse.sentence.startswith("no, it loses")
    either = can_one_iterate(
        tested - [[0.0, 0.0, 9.0], [0.0, 0.0, 14.0], [0.0, 0.0, 5.0]], tested, ranked, **same
    )
    assert either.sentence.startswith("no different from no gain")


def test_winners_fine_tuned_for_fewer_epochs_than_their_teachers_are_not_comparable_with_them() -> None:
    tested = np.array([[50.0, 45], [48, 46], [52, 47]])
    from_scratch = np.array([[50.0, 53], [48, 51], [52, 54]])
    answer = can_one_iterate(tested, from_scratch, np.zeros((3, 1)), epochs=(12, 2))
    assert answer.sentence.startswith("not comparable, 2 epochs with 12:")
    assert "from scratch for 12 each the winners gain +2.67" in answer.sentence
    better = can_one_iterate(tested + np.array([0.0, 20.0]), from_scratch, np.zeros((3, 1)), epochs=(12, 2))
    assert better.sentence.startswith("yes:")

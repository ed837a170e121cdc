"""Iterated blockwise search from random networks: each round's winner is the next teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from search.blockwise.iterated_search import Budget, RoundResult, iterate
from search.statistics import correlation_of, kendall
from search.study.blocks import ScoredLibrary, StudyContext, Teacher, make_teachers, score_libraries, tune
from search.study.runs import StudyRun, regrets
from search.study.truth import GroundTruth
from search.training.trained import Trained
from search.work.flops import Spent
from space.indexing import FloatArray

COLUMN = "loss_change"  # the signature whose sum chooses the winner, as in LANA


@dataclass(slots=True, kw_only=True, eq=False)
class IterationRun:
    """One run. `teachers`: the random one and each round's winner; `spent`: the total cost until each was trained.

    `ranked`: for each round Kendall's tau of the sum of signatures with the ground truth's test accuracy.
    """

    seed: int
    teachers: list[Teacher]
    spent: list[Spent]
    ranked: list[float] = field(default_factory=list)


def iterate_all(context: StudyContext, seeds: Sequence[int]) -> list[IterationRun]:
    """Run an iteration from a random network of the ground truth for each seed, as many rounds as the settings say."""
    truth, settings = context.truth, context.settings
    starts = [int(np.random.default_rng((seed, 6)).choice(truth.indices)) for seed in seeds]
    firsts = make_teachers(context, [(index, truth.seed) for index in starts])
    runs = [
        IterationRun(seed=seed, teachers=[first], spent=[first.spent])
        for seed, first in zip(seeds, firsts, strict=True)
    ]
    epochs = settings.tuned_epochs[-1]

    def do_rounds(number: int, teachers: Mapping[int, Trained]) -> dict[int, RoundResult]:
        going = [runs[place] for place in teachers]
        libraries = score_libraries(
            context, [run.teachers[-1] for run in going], [1000 * number + run.seed for run in going]
        )
        winners = [_winner(truth, library, run) for library, run in zip(libraries, going, strict=True)]
        tuned = tune(
            context, [(library, index, epochs) for library, index in zip(libraries, winners, strict=True)]
        )
        done = {}
        for place, run, library, one in zip(teachers, going, libraries, tuned, strict=True):
            scores = library.sums(COLUMN, truth.indices)
            spent = library.distilled + library.scoring + one.spent
            run.ranked.append(correlation_of(kendall, scores, truth.test, draws=1).value)
            run.spent.append(run.spent[-1] + spent)
            run.teachers.append(one)
            done[place] = RoundResult(trained=one.trained, flops=spent.flops)
        return done

    budget = Budget(rounds=settings.rounds, is_fixed=True)
    iterate([first.trained for first in firsts], do_rounds, budget)
    return runs


def run_of_iteration(truth: GroundTruth, one: IterationRun) -> StudyRun:
    """Return the run of an iteration's teachers, with its cost until each was trained.

    Its incumbent is the best teacher by validation accuracy; the regret is that of the same network in the ground truth, trained
    from scratch.
    """
    places = truth.places(np.array([teacher.index for teacher in one.teachers]))
    val = np.array([teacher.trained.best.val.top1 for teacher in one.teachers])
    return StudyRun(
        seed=one.seed,
        flops=np.array([spent.flops for spent in one.spent]),
        networks=np.array([spent.networks for spent in one.spent], dtype=np.int64),
        seconds=np.array([spent.seconds for spent in one.spent]),
        regret=regrets(truth, places, val),
        lucky_regret=regrets(truth, places, truth.test[places]),
    )


def followed(truth: GroundTruth, runs: Sequence[IterationRun]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return teachers' test accuracies, those of the same networks from scratch, both (runs, rounds + 1), and taus (runs,
    rounds)."""
    tested = [[teacher.trained.test.top1 for teacher in run.teachers] for run in runs]
    scratch = [
        truth.test[truth.places(np.array([teacher.index for teacher in run.teachers]))] for run in runs
    ]
    return np.array(tested), np.array(scratch), np.array([run.ranked for run in runs])


def _winner(truth: GroundTruth, library: ScoredLibrary, run: IterationRun) -> int:
    """Return the best network by the sum that was no teacher yet, for a teacher would only win again."""
    scores = library.sums(COLUMN, truth.indices)
    scores[truth.places(np.array([teacher.index for teacher in run.teachers]))] = -np.inf
    return int(truth.indices[np.argmax(scores)])

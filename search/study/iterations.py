"""Blockwise search with no good teacher: from random networks on, each round's winner teaches the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.statistics import correlation_of, kendall
from search.study.blocks import Bench, Signed, Teacher, make_teachers, sign_libraries, tune
from search.study.runs import StudyRun, regrets
from search.study.truth import GroundTruth
from search.work.flops import Spent
from space.indexing import FloatArray

COLUMN = "loss_change"  # whose sum chooses the winner, as in LANA


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Iterated:
    """One run. `teachers`: the random one and each round's winner; `spent`, as many: by when each was trained, in all.

    `ranked`, a round each: Kendall's tau of the sum of signatures with the ground truth's test accuracy.
    """

    seed: int
    teachers: tuple[Teacher, ...]
    spent: tuple[Spent, ...]
    ranked: tuple[float, ...]


def iterate_all(bench: Bench, seeds: Sequence[int]) -> list[Iterated]:
    """Run an iteration from a random network of the ground truth for each seed, all in step, so that a pool has work."""
    truth, settings = bench.truth, bench.settings
    starts = [int(np.random.default_rng((seed, 6)).choice(truth.indices)) for seed in seeds]
    teachers = [[one] for one in make_teachers(bench, [(index, truth.seed) for index in starts])]
    spent = [[row[0].spent] for row in teachers]
    ranked: list[list[float]] = [[] for _ in seeds]
    epochs = settings.tuned_epochs[-1]
    for number in range(settings.rounds if seeds else 0):
        libraries = sign_libraries(
            bench, [row[-1] for row in teachers], [1000 * (number + 1) + s for s in seeds]
        )
        winners = [_winner(truth, library, row) for library, row in zip(libraries, teachers, strict=True)]
        tuned = tune(
            bench, [(library, index, epochs) for library, index in zip(libraries, winners, strict=True)]
        )
        for run, (library, one) in enumerate(zip(libraries, tuned, strict=True)):
            scores = library.sums(COLUMN, truth.indices)
            ranked[run].append(correlation_of(kendall, scores, truth.test, draws=1).value)
            spent[run].append(spent[run][-1] + library.distilled + library.plugged + one.spent)
            teachers[run].append(one)
    return [
        Iterated(seed=seed, teachers=tuple(t), spent=tuple(s), ranked=tuple(r))
        for seed, t, s, r in zip(seeds, teachers, spent, ranked, strict=True)
    ]


def run_of_iteration(truth: GroundTruth, one: Iterated) -> StudyRun:
    """Return the run whose networks are its teachers, what each spent until it was trained being what the run had spent.

    Its regret is that of the same networks trained from scratch: the ground truth's.
    """
    return StudyRun(
        seed=one.seed,
        flops=np.array([spent.flops for spent in one.spent]),
        networks=np.array([spent.networks for spent in one.spent], dtype=np.int64),
        seconds=np.array([spent.seconds for spent in one.spent]),
        regret=regrets(truth, truth.places(np.array([teacher.index for teacher in one.teachers]))),
    )


def followed(truth: GroundTruth, runs: Sequence[Iterated]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return teachers' test accuracies, those of the same networks from scratch, both (runs, rounds + 1), and taus (runs,
    rounds)."""
    tested = [[teacher.trained.test.top1 for teacher in run.teachers] for run in runs]
    scratch = [
        truth.test[truth.places(np.array([teacher.index for teacher in run.teachers]))] for run in runs
    ]
    return np.array(tested), np.array(scratch), np.array([run.ranked for run in runs])


def _winner(truth: GroundTruth, library: Signed, teachers: Sequence[Teacher]) -> int:
    """Return the best network by the sum that has not taught yet: a teacher would only follow itself."""
    scores = library.sums(COLUMN, truth.indices)
    scores[truth.places(np.array([teacher.index for teacher in teachers]))] = -np.inf
    return int(truth.indices[np.argmax(scores)])

"""A finished study with made-up accuracies: for what prints, draws and writes one."""

from __future__ import annotations

import numpy as np

from search.statistics import correlation_of, kendall, spearman
from search.study.questions import QuestionAnswer, do_they_predict
from search.study.runs import MethodRuns, run_of, standing
from search.study.settings import StudySettings
from search.study.study import Study
from search.study.truth import GroundTruth
from search.work.flops import Spent
from space import TINY

LABEL = "40 trained networks of tiny, synthetic images"
IMAGES = 100


def made_truth() -> GroundTruth:
    """Return accuracies of 40 networks of `tiny`."""
    rng = np.random.default_rng(3)
    rule = rng.normal(60, 3, 40)
    return GroundTruth(
        config=TINY,
        indices=np.sort(rng.permutation(len(TINY))[:40]),
        val=rule + rng.normal(0, 1, 40),
        tests=rule[None],
        seconds=np.full(40, 3.0),
        dataset="synthetic-0-200-50-200",
        epochs=2,
        seed=0,
        origin="blox-base-0.csv",
        digest="ab" * 32,
    )


def made_study(settings: StudySettings) -> Study:
    """Return a study of random search and of methods that know the truth, early and late."""
    truth = made_truth()
    best_first = truth.indices[np.argsort(-truth.test)]
    orders = {
        "random": [np.random.default_rng(s).permutation(truth.indices)[:20] for s in range(5)],
        "seer": [best_first[:20]] * 5,
        "late": [best_first[:20]] * 5,
    }
    methods = []
    for name, some in orders.items():
        before = Spent(flops=1e12) if name == "late" else Spent()
        runs = tuple(run_of(truth, seed, order.tolist(), IMAGES, before) for seed, order in enumerate(some))
        methods.append(MethodRuns(method=name, meaning=f"what {name} is | $x^2$", runs=runs))
    unit = float(np.mean([run.flops[0] for run in methods[0].runs]))
    predictions = {"MACs": truth.val[None], "sum of nsr": truth.test[None] + 1, "constant": np.ones((1, 40))}
    correlations = {
        name: (correlation_of(kendall, values, truth.test), correlation_of(spearman, values, truth.test))
        for name, values in predictions.items()
    }
    answers = [QuestionAnswer(number=number) for number in range(1, 7)]
    answers[3] = do_they_predict(correlations, ["sum of nsr"])
    return Study(
        settings=settings,
        truth=truth,
        teacher="conv/conv",
        unit_flops=unit,
        methods=tuple(methods),
        standings={
            mark: tuple(standing(one, methods[0], mark * unit) for one in methods) for mark in settings.marks
        },
        correlations=correlations,
        blockwise=("sum of nsr",),
        answers=tuple(answers),
        notes=("mind this",),
    )

"""The whole study, from settings and a ground truth to its tables and answers.

    truth = load_truth(TINY)
    unit_runner = UnitRunner(results=ResultStore(folder=Path("results")), runner=LocalPool(processes=2), log=print)
    study = run_study(StudySettings(), truth, unit_runner)

Everything slow is a unit of work: run again, the study resumes where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.blockwise.signature_features import HIGHER_IS_BETTER
from search.statistics import Estimate, accuracy_interval, correlation_of, kendall
from search.study.blocks import ScoredLibrary, StudyContext, Teacher, make_teachers, score_libraries, tune
from search.study.candidates import (
    SUMS,
    Candidates,
    add_plain,
    add_proxies,
    add_published_lana,
    add_signed,
    add_supernets,
    add_tuned,
)
from search.study.iterations import COLUMN, IterationRun, followed, iterate_all, run_of_iteration
from search.study.questions import (
    QuestionAnswer,
    both_correlations,
    can_one_iterate,
    do_signatures_find_blocks,
    do_they_predict,
    does_distilling_beat_training,
    does_tuned_follow_scratch,
    how_many_epochs,
)
from search.study.runs import (
    FEWEST_RUNS,
    MethodRuns,
    MethodStanding,
    MethodVerdict,
    price_of_choosing,
    standing,
)
from search.study.settings import StudySettings
from search.study.truth import GroundTruth, load_truth
from search.study.unit_runner import UnitRunner
from search.training.images import uses_text
from search.training.tasks import load_task
from search.work.flops import mean_training_flops
from search.work.results import ResultStore
from search.work.trainings import guide_fields
from search.work.unit_runs import Runner
from space import Architecture
from space.atomic_files import check_folder
from space.costs import all_macs
from space.errors import ConfigError
from space.indexing import FloatArray
from space.text import counted

BASELINE = "random"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Results of the study. `unit_flops`: the mean FLOPs of training a network of the ground truth.

    `standings` are each method's at each mark, by mark; `correlations` (Kendall, Spearman) of each predictor with test accuracy.
    `notes` are caveats to the numbers.
    """

    settings: StudySettings
    truth: GroundTruth
    teacher: str
    unit_flops: float
    methods: tuple[MethodRuns, ...]
    standings: Mapping[int, tuple[MethodStanding, ...]]
    correlations: Mapping[str, tuple[Estimate, Estimate]]
    blockwise: tuple[str, ...]
    answers: tuple[QuestionAnswer, ...]
    notes: tuple[str, ...]


def study_folder(
    settings: StudySettings,
    ground_truth: Sequence[Path],
    folder: Path,
    runner: Runner,
    log: Callable[[str], None],
) -> Study:
    """Run a study on the ground truth of files, or the shipped one; a folder keeps its units.

    Raises: ConfigError when a file or the folder cannot be used; else as `run_study`.
    """
    truth = load_truth(settings.config, ground_truth)
    check_folder(folder, "--output ")
    return run_study(settings, truth, UnitRunner(results=ResultStore(folder=folder), runner=runner, log=log))


def run_study(settings: StudySettings, truth: GroundTruth, unit_runner: UnitRunner) -> Study:
    """Run the unfinished units of the study, and return its tables and answers.

    Raises:
        ConfigError: the ground truth is of another space or task than the settings, or their guide has no such field.
        HarnessError: a unit of work failed; the message names it, and the others are kept.
    """
    context = StudyContext(
        settings=settings,
        truth=truth,
        task=load_task(settings.task, settings.config, unit_runner.log),
        unit_runner=unit_runner,
    )
    _check(context)
    found = Candidates()
    work = _work(context, found)
    correlations = {name: both_correlations(values, truth.test) for name, values in found.predictions.items()}
    unit = mean_training_flops(truth.config, truth.indices.tolist(), context.images, truth.epochs)
    methods = tuple(found.methods.values())
    baseline = found.methods[BASELINE]
    return Study(
        settings=settings,
        truth=truth,
        teacher=str(Architecture.from_index(work.teacher, truth.config)),
        unit_flops=unit,
        methods=methods,
        standings={
            mark: tuple(standing(one, baseline, mark * unit) for one in methods) for mark in settings.marks
        },
        correlations=correlations,
        blockwise=tuple(found.blockwise),
        answers=_answers(context, work, correlations, found.blockwise),
        notes=_notes(context, found),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """Results that the questions are answered from: libraries, `chosen` networks fine-tuned by epochs, and iterations.

    `teacher` is the largest network by MACs, which needs no search to be found.
    """

    teacher: int
    libraries: Sequence[ScoredLibrary]
    tuned: Mapping[int, Sequence[Teacher]]
    chosen: Sequence[int]
    iterated: Sequence[IterationRun]


def _work(context: StudyContext, found: Candidates) -> _Work:
    """Run the units of all methods, into `found`, and of the questions."""
    settings, truth = context.settings, context.truth
    truth_digest = context.unit_runner.results.add(truth.to_content(), "ground truth")
    add_plain(context, truth_digest, found)
    add_proxies(context, found)
    seeds, largest = range(settings.libraries), int(np.argmax(all_macs(truth.config)))
    teachers = make_teachers(context, [(largest, truth.seed + number) for number in seeds])
    add_supernets(context, teachers, found)
    libraries = score_libraries(context, teachers, seeds, truth.indices.tolist())
    add_signed(context, libraries, truth_digest, found)
    if settings.lana:
        own = score_libraries(context, teachers, seeds, recipe=settings.lana, on_training=True)
        add_published_lana(context, own, found)
    tuned, chosen = _tune(context, libraries)
    if tuned:
        add_tuned(context, libraries[0], tuned[max(tuned)], found)
    iterated = iterate_all(context, range(settings.iterations))
    found.add(
        "iteration",
        f"{counted(settings.rounds, 'round')} from a random teacher by the sum of {COLUMN}; each winner teaches",
        [run_of_iteration(truth, one) for one in iterated],
    )
    return _Work(teacher=largest, libraries=libraries, tuned=tuned, chosen=chosen, iterated=iterated)


def _tune(
    context: StudyContext, libraries: Sequence[ScoredLibrary]
) -> tuple[dict[int, list[Teacher]], list[int]]:
    """Fine-tune random networks of the ground truth from the first library, once for each number of epochs."""
    settings = context.settings
    if not settings.tuned or not libraries:
        return {}, []
    count = min(settings.tuned, len(context.truth.indices))
    chosen = np.random.default_rng((0, 1)).permutation(context.truth.indices)[:count].tolist()
    made = tune(
        context, [(libraries[0], index, epochs) for epochs in settings.tuned_epochs for index in chosen]
    )
    return {
        epochs: made[number * count : (number + 1) * count]
        for number, epochs in enumerate(settings.tuned_epochs)
    }, chosen


def _answers(
    context: StudyContext,
    work: _Work,
    correlations: Mapping[str, tuple[Estimate, Estimate]],
    blockwise: Sequence[str],
) -> tuple[QuestionAnswer, ...]:
    truth = context.truth
    tested: dict[int, FloatArray] = {
        epochs: np.array([one.trained.test.top1 for one in networks])
        for epochs, networks in work.tuned.items()
    }
    scratch = truth.test[truth.places(np.array(work.chosen, dtype=np.int64))]
    signatures = {
        column: np.array(
            [
                one.signatures.column(column) * (1 if column in HIGHER_IS_BETTER else -1)
                for one in work.libraries
            ]
        )
        for column in (SUMS if work.libraries else ())
    }
    taught = np.array(
        [
            correlation_of(kendall, one.sums(COLUMN, truth.indices), truth.test, draws=1).value
            for one in work.libraries
        ]
    )
    epochs = truth.epochs, context.settings.tuned_epochs[-1]
    return (
        does_distilling_beat_training(tested, scratch, truth.epochs),
        does_tuned_follow_scratch(tested, scratch),
        do_signatures_find_blocks(truth.config, signatures, truth.indices, truth.test),
        do_they_predict(correlations, blockwise),
        how_many_epochs(tested),
        can_one_iterate(*followed(truth, work.iterated), taught, epochs=epochs)
        if work.iterated
        else QuestionAnswer(number=6),
    )


def _check(context: StudyContext) -> None:
    truth, task = context.truth, context.task
    guide_fields(context.settings.guide)
    if truth.config != context.settings.config:
        raise ConfigError(
            f"ground truth {truth.origin} is of space {truth.config.name!r}, the study of {context.settings.space!r}"
        )
    if truth.dataset != task.name:
        raise ConfigError(
            f"ground truth {truth.origin} was trained on {truth.dataset!r}, and the study's task {context.settings.task!r} is "
            f"{task.name!r}; name a ground truth of that task, or the task of this ground truth in the settings"
        )


def _between(truth: GroundTruth) -> str:
    """Return a note on the agreement of trainings of the same networks, the ceiling for any predictor."""
    count = len(truth.tests)
    if count < 2:
        return "Each network was trained once: how much of a difference is luck of the training is not known."
    tau, rho = both_correlations(*truth.tests[:2])
    deviation = float(np.sqrt(truth.tests.var(axis=0, ddof=1).mean()))
    return (
        f"Each network was trained with {count} seeds. Methods decide by the validation accuracy of the first training, and are "
        f"judged by the mean test accuracy, whose standard error from the training is {deviation / np.sqrt(count):.1f} points. "
        f"Test accuracies of two trainings of the same networks agree with Kendall's tau {tau}, Spearman {rho}."
    )


def _notes(context: StudyContext, found: Candidates) -> tuple[str, ...]:
    truth, settings = context.truth, context.settings
    judged = len(found.methods) - 1
    images = len(context.task.test)
    one = accuracy_interval(round(truth.test.mean() / 100 * images), images)
    return (
        f"Methods decide which of {truth.label}, to train, by validation accuracies, and name the best by validation of those "
        f"that they trained: regret is how far it is below the best on test images. So it may rise from one training to the "
        f"next, and where all are trained it is "
        f"{price_of_choosing(truth):.2f} points, for validation does not name the best on test.",
        f"Images: {uses_text(context.task)}.",
        f"What holds here need not hold for larger networks, {'real' if truth.synthetic else 'other'} images or another space.",
        f"Each network was trained for {truth.epochs} epochs; a test accuracy of {images} images, {truth.test.mean():.1f} % in "
        f"the mean, has a 95 % interval of {one.low:.1f} to {one.high:.1f} from the images alone, and the best of them is partly "
        "lucky.",
        _between(truth),
        f"A method is '{MethodVerdict.NOT_COMPARABLE}' with random search as long as it has trained no more than the random "
        f"networks that it begins with. Fewer than {FEWEST_RUNS} runs, or runs of fewer libraries, are too few to compare.",
        f"Of {judged} comparisons with random search at 95 %, about {0.05 * judged:.1f} would be significant by chance alone.",
        *found.left_out,
        f"Runs of {settings.seeds} seeds that use signatures take {settings.libraries} libraries in turn, so "
        "that their intervals know less of the luck of a library than of the seed's.",
        "Seconds are of the machines that did the work and that trained the ground truth, which may differ: costs are compared "
        "in operations.",
    )

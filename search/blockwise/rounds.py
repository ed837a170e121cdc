"""Rounds of a blockwise search: a library's signatures, a predictor fitted to them, finalists, fine-tuning.

searched = search_round(library, setting)
iterated, searched = search_again(library, setting, Budget(rounds=3))     # each round's best is the next teacher

Several seeds: each distills libraries, chooses finalists and fine-tunes networks of its own. The first seed is that of the given
library. Teacher and images are the same for all: runs differ by the luck of distilling, choosing and fine-tuning.

runs = search_seeds(library, setting, 3, search_round_or_rounds)
incumbent(runs).searched.found.best         # chosen by the images for re-scoring over all seeds, and shown on test images
between_seeds(runs)                         # the mean test accuracy of the seeds' answers, with its interval
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from search.blockwise.choice import Choice, choose_finalists
from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.fit_networks import (
    FitCost,
    KnownAccuracies,
    fine_tuned_accuracies,
    fit_costs,
)
from search.blockwise.iterated_search import Budget, Iterated, Round, RoundResult, Val, iterate, val_of
from search.blockwise.predictor_kinds import FINE_TUNED, PREDICTORS
from search.blockwise.predictors import fit
from search.blockwise.predictors_report import PredictorReport, evaluate
from search.blockwise.search import Candidate, FineTune, Found, State, Student, quality, search_blockwise
from search.blockwise.setting import Setting
from search.distillation.block_library import BlockLibrary, stage_from
from search.distillation.block_scores import cached_signatures
from search.distillation.signatures import Signatures
from search.statistics import Estimate, seeds_interval
from search.training.epochs import judge
from search.training.history import Figures
from search.training.images import Task
from search.training.trained import Trained, network_of
from search.training.trained_files import trained_from
from search.work.distillations import finetune_units, library_inputs, stage_units
from search.work.flops import guided_flops, recipe_flops
from space import Architecture
from space.costs import block_costs
from space.indexing import index_of
from space.text import counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """A round's library, its predictor and finalists, and the networks found; `flops` of its training and distilling.

    `report`: cross-validated errors of the predictor on the `known` networks that it was fitted to; None without any.
    `fit_costs`: the cost of training these, fine-tuned and from scratch.
    """

    library: BlockLibrary
    signatures: Signatures
    fitted: FittedPredictor
    known: KnownAccuracies | None
    fit_costs: Mapping[str, FitCost]
    report: PredictorReport | None
    choice: Choice
    found: Found
    flops: float


def search_round(library: BlockLibrary, setting: Setting) -> Searched:
    """Search a library: fine-tune finalists, and where the setting asks for it networks to fit the predictor to.

    Raises: ConfigError when a stage was not distilled, no network is within the limits, or a predictor cannot be fitted.
    """
    columns = setting.columns or PREDICTORS[setting.predictor].columns
    signatures = cached_signatures(
        library, setting.task, setting.results.folder, setting.device, setting.log, columns
    )
    signatures = signatures.with_columns(setting.costs.blocks)
    signatures = replace(signatures, notes={**signatures.notes, **setting.costs.sources})
    tune, known = fine_tuner(library, setting), setting.known
    if setting.fit_networks:
        known = fine_tuned_accuracies(library, setting.fit_networks, setting.seed, tune)
    fitted = fit(
        setting.predictor,
        signatures,
        setting.columns,
        indices=np.array([], dtype=np.int64) if known is None else known.indices,
        accuracies=None if known is None else known.accuracies,
        seed=setting.seed,
    )
    report = evaluate(fitted, seed=setting.seed) if known is not None else None
    choice = choose_finalists(fitted, signatures, setting)

    def log(candidate: Candidate) -> None:
        setting.log(f"{candidate.architecture}: {candidate.inherited.top1:.2f} % with the library's weights")

    found = search_blockwise(
        library.config,
        choice.finalists,
        library,
        setting.plan,
        inherited_judge(setting.task, setting.device),
        tune,
        allowed=choice.allowed,
        on_candidate=log,
    )
    images, epochs = len(setting.task.train), setting.recipe.epochs
    return Searched(
        library=library,
        signatures=signatures,
        fitted=fitted,
        known=known,
        fit_costs={} if known is None else fit_costs(library, known, images=images, fine_tune_epochs=epochs),
        report=report,
        choice=choice,
        found=found,
        flops=_round_flops(library, setting, found, known),
    )


def _round_flops(
    library: BlockLibrary, setting: Setting, found: Found, known: KnownAccuracies | None
) -> float:
    """Return the FLOPs of distilling a library and of fine-tuning networks from it, each once."""
    tuned = {student.architecture.index for student in found.students if student.trained is not None}
    if known is not None and known.kind == FINE_TUNED:
        tuned |= set(known.indices.tolist())  # a finalist among them was not trained again
    tuning = math.fsum(tuning_flops(library.teacher, index, setting) for index in sorted(tuned))
    return library_flops(library.teacher, library, setting.task) + tuning


def search_again(library: BlockLibrary, setting: Setting, budget: Budget) -> tuple[Iterated, Searched]:
    """Search round after round and return their history and the round of the best answer by the images for re-scoring.

    The first round's library is there already; its distillation counts as part of that round.
    Raises: ConfigError when the budget does not allow a single round; else as `search_round`.
    """
    rounds: list[Searched] = []

    def do_round(number: int, teachers: Mapping[int, Trained]) -> dict[int, RoundResult]:
        own = library if number == 1 else distilled(teachers[0], library, setting)
        rounds.append(search_round(own, setting))
        best = rounds[-1].found.best
        assert best.trained is not None  # a setting of several rounds fine-tunes one network or more
        return {0: RoundResult(trained=best.trained, flops=rounds[-1].flops, notes=_notes(rounds[-1]))}

    def log(done: Round) -> None:
        setting.log(
            f"round {done.number}: {done.teacher} with {done.teacher_val:.2f} % taught {done.winner} with "
            f"{done.winner_val:.2f} % ({done.gain:+.2f} points, noise {done.noise:.2f})"
        )

    (iterated,) = iterate(
        [library.teacher],
        do_round,
        budget,
        expect=lambda teacher: most(teacher, library, setting),
        val=rescored(setting),
        deciding=setting.task.rescore_name,
        on_round=log,
    )
    setting.log(f"no more rounds: {iterated.stop}")
    return iterated, max(rounds, key=lambda one: quality(one.found.best.val))


def rescored(setting: Setting) -> Val:
    """Return the evaluation of a teacher or a winner on the images for re-scoring, unless those chose its epoch."""
    if setting.task.held_out is None:
        return val_of
    judge = inherited_judge(setting.task, setting.device)
    return lambda trained: judge(trained.architecture, trained.weights, "rescore")


def fine_tuner(library: BlockLibrary, setting: Setting) -> FineTune:
    """Return a function that fine-tunes networks from the library's weights, as units of work."""
    inputs = cache(lambda: library_inputs(library, setting.results))  # hashing all blocks takes long

    def tune(architectures: Sequence[Architecture]) -> list[Trained]:
        results, epochs = setting.results, setting.recipe.epochs
        units = finetune_units(architectures, setting.task, setting.recipe, setting.guide, inputs())
        setting.log(f"fine-tuning {counted(len(units), 'network')} for {counted(epochs, 'epoch')} each")
        named = [(str(one), unit) for one, unit in zip(architectures, units, strict=True)]
        done = setting.run(named, results, epochs=epochs, title="fine-tuning")
        digests = [done[unit.key] for unit in units]
        return [trained_from(results.get(digest), str(results.path_of(digest))) for digest in digests]

    return tune


def distilled(teacher: Trained, like: BlockLibrary, setting: Setting, *, added_seed: int = 0) -> BlockLibrary:
    """Return the library of a teacher, distilled by the recipes of another library, `added_seed` added to their seeds."""
    former = [like.stage(place).recipe for place in range(like.config.stages)]
    recipes = {place: replace(one, seed=one.seed + added_seed) for place, one in enumerate(former)}
    units = stage_units(teacher, setting.task, recipes, setting.results)
    setting.log(f"distilling {counted(len(units), 'stage')} of {teacher.architecture}")
    named = [(f"stage {place}", unit) for place, unit in enumerate(units)]
    epochs = max(recipe.epochs for recipe in former)
    done = setting.run(named, setting.results, epochs=epochs, title="distilling")
    stages = tuple(stage_from(setting.results.get(done[unit.key])) for unit in units)
    return BlockLibrary(teacher=teacher, stages=stages)


def library_flops(teacher: Trained, like: BlockLibrary, task: Task) -> float:
    """Return the FLOPs of distilling a teacher as another library was."""
    index, images = teacher.architecture.index, len(task.train)
    made = [stage for stage in like.stages if stage is not None]
    return math.fsum(recipe_flops(like.config, index, one.stage, images, one.recipe) for one in made)


def tuning_flops(teacher: Trained, index: int, setting: Setting) -> float:
    """Return the FLOPs of fine-tuning a network under a teacher."""
    config, images = teacher.architecture.config, len(setting.task.train)
    return guided_flops(config, index, teacher.architecture.index, images, setting.recipe.epochs)


def most(teacher: Trained, like: BlockLibrary, setting: Setting) -> float:
    """Return the maximum FLOPs of a round with a teacher: those with the largest networks fine-tuned."""
    table = block_costs(like.config)
    largest_blocks = [
        max(places, key=lambda block: row[block].macs)
        for row, places in zip(table, like.config.choices, strict=True)
    ]
    largest = index_of(like.config, largest_blocks)
    tuning = (setting.plan.fine_tune + setting.fit_networks) * tuning_flops(teacher, largest, setting)
    return library_flops(teacher, like, setting.task) + tuning


def _notes(searched: Searched) -> dict[str, Any]:
    best = searched.found.best
    return {
        "library": searched.library.digest,
        "signatures": searched.signatures.digest,
        "networks_within_limits": searched.found.allowed,
        "plugged_in_val": best.candidate.inherited.top1,
        "plugged_in_test": best.inherited_test.top1,
    }


SearchLibrary = Callable[[BlockLibrary, Setting], tuple[Iterated | None, Searched]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedRun:
    """A search with one seed, `added` to the seeds of the library's recipes and of the setting; its rounds, if it had several."""

    added: int
    iterated: Iterated | None
    searched: Searched

    @property
    def answer(self) -> Student:
        """The answer of this seed's search alone."""
        return self.searched.found.best


def search_seeds(
    library: BlockLibrary, setting: Setting, seeds: int, search: SearchLibrary
) -> tuple[SeedRun, ...]:
    """Search with as many seeds, one after the other: the library itself, and the same distilled with other seeds."""
    runs = []
    for added in range(seeds):
        if seeds > 1:
            setting.log(f"seed {added + 1} of {seeds}")
        own = distilled(library.teacher, library, setting, added_seed=added) if added else library
        iterated, searched = search(own, with_seed(setting, added))
        runs.append(SeedRun(added=added, iterated=iterated, searched=searched))
    return tuple(runs)


def with_seed(setting: Setting, added: int) -> Setting:
    """Return a setting whose seeds, of the predictor and of fine-tuning, have a number added."""
    recipe = replace(setting.recipe, seed=setting.recipe.seed + added)
    return replace(setting, seed=setting.seed + added, recipe=recipe)


def incumbent(runs: Sequence[SeedRun]) -> SeedRun:
    """Return the run of the best answer by the images for re-scoring, of equal ones the first."""
    return max(runs, key=lambda run: quality(run.answer.val))


def between_seeds(runs: Sequence[SeedRun]) -> Estimate:
    """Return the mean test accuracy of the runs' answers, in percent, with its interval between seeds."""
    return seeds_interval([run.answer.test.top1 for run in runs])


def inherited_judge(task: Task, device: str = "cpu") -> Callable[[Architecture, State, str], Figures]:
    """Return a function that builds a network with given weights and evaluates it on images, "rescore" or "test"."""
    parts = {"rescore": task.rescore, "test": task.test}
    return lambda architecture, weights, part: judge(
        network_of(architecture, weights), parts[part], task, device=device
    )

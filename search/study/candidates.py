"""Methods compared by the study: runs of each, and predictions for every network of the ground truth.

A run's cost is that of its preparation, then a training for each network that it evaluates. Preparation that runs of several
seeds share, such as a library, counts in full for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.blockwise.predictors import fewest, fit
from search.distillation.recipe import DistilRecipe
from search.distillation.signatures import TRAIN_LOSS_CHANGE
from search.distillation.supernet import additive_scores
from search.study.blocks import ScoredLibrary, StudyContext, Teacher
from search.study.methods import PLAIN, ordered_search, random_first
from search.study.questions import CEILING
from search.study.runs import MethodRuns, StudyRun, run_of
from search.study.units import TEACHER, study_unit
from search.work.flops import Spent, forward_flops, stage_macs, supernet_flops, training_flops
from search.work.unit import Unit
from space.costs import all_macs, all_params, network_cost
from space.indexing import FloatArray, block_indices

SUMS = ("loss_change", "accuracy_change", "agreement", "nsr", "mse")  # signatures whose sums rank
SUPERNET, LANA, RESCORED, DONNA = "supernet", "lana", "lana-rescored", "donna"
PUBLISHED_DNA, PUBLISHED_LANA, PUBLISHED_DONNA = "dna-published", "lana-published", "donna-published"
# Predictors that are fitted on signatures: the names of their methods, and what they are.
SIGNED = {
    "linear": (f"{DONNA}-linear", "linear regression"),
    "second-order": (DONNA, "second-order regression"),
    "gcn": ("blockwise-gcn", "graph convolutional network"),
}


@dataclass(slots=True, kw_only=True, eq=False)
class Candidates:
    """Results so far: `methods` by name, and `predictions`, (runs, n) by name, higher is better.

    `left_out`: a sentence for each method that could not be run, with the reason.
    """

    methods: dict[str, MethodRuns] = field(default_factory=dict)
    predictions: dict[str, FloatArray] = field(default_factory=dict)
    blockwise: list[str] = field(default_factory=list)  # the predictions that rest on signatures
    left_out: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        meaning: str,
        runs: Sequence[StudyRun],
        *,
        random_first: int = 0,
        libraries: int | None = None,
    ) -> None:
        """Keep a method's runs, if it has any; the rest as in `MethodRuns`."""
        if runs:
            self.methods[name] = MethodRuns(
                method=name,
                meaning=meaning,
                runs=tuple(runs),
                random_first=random_first,
                libraries=libraries,
            )


def add_plain(context: StudyContext, truth_digest: str, found: Candidates) -> None:
    """Run random search, evolution and the loops with predictors; predict by these predictors, by parameters and by MACs."""
    settings, truth = context.settings, context.truth
    inputs = {"truth": truth_digest}
    space, seeds = {"space": truth.config.name}, range(settings.seeds)
    searches = {}
    for name in PLAIN:
        first = random_first(name, settings.budget)
        config = {**space, "method": name, "budget": settings.budget, "random_first": first}
        searches[name] = _units("plain_search", config, inputs, seeds)
    fits = {
        name: _units("plain_predict", {**space, "method": name, "first": settings.first}, inputs, seeds)
        for name in ("linear", "gcn")
    }
    context.unit_runner.digests([unit for units in (*searches.values(), *fits.values()) for unit in units])
    for name, ran in context.unit_runner.by_name(searches).items():
        runs = [
            run_of(truth, seed, content["order"], context.images, Spent(seconds=seconds))
            for seed, (content, seconds) in enumerate(ran)
        ]
        found.add(name, PLAIN[name], runs, random_first=random_first(name, settings.budget))
    found.predictions[CEILING] = truth.val[None]
    found.predictions["parameters"] = all_params(truth.config)[truth.indices][None].astype(np.float64)
    found.predictions["MACs"] = all_macs(truth.config)[truth.indices][None].astype(np.float64)
    for name, ran in context.unit_runner.by_name(fits).items():
        rows = [_numbers(content["predicted"]) for content, _ in ran]
        found.predictions[f"{name} on ops and wiring, {settings.first} trained"] = np.array(rows)


def add_proxies(context: StudyContext, found: Candidates) -> None:
    """Rank by zero-cost proxies of untrained networks."""
    settings, truth = context.settings, context.truth
    seeds = range(settings.proxy_seeds)
    config = {"indices": truth.indices.tolist(), "images": settings.proxy_images}
    units = {
        name: _units("proxy", {**context.base, **config, "proxy": name}, {}, seeds)
        for name in settings.proxies
    }
    macs = sum(network_cost(truth.config, int(index)).macs for index in truth.indices)
    flops = training_flops(macs, settings.proxy_images)
    for name, ran in context.unit_runner.by_name(units).items():
        scores = np.array([content["scores"] for content, _ in ran])
        found.predictions[name] = scores
        runs = [
            _ordered(context, seed, scores[seed], Spent(flops=flops, seconds=seconds))
            for seed, (_, seconds) in zip(seeds, ran, strict=True)
        ]
        found.add(name, "the order of a zero-cost proxy", runs)


def add_supernets(context: StudyContext, teachers: Sequence[Teacher], found: Candidates) -> None:
    """Rank by the sum of block errors in weight-sharing supernets, one a stage and teacher, with random and with fair paths."""
    settings, meaning = context.settings, "the sum of blocks' errors in weight-sharing supernets, one a stage"
    _add_supernets(context, teachers, found, settings.supernet, (SUPERNET, "supernet a stage", meaning))
    if settings.dna:
        fair = f"{meaning}, squared errors, paths strictly fair"
        _add_supernets(context, teachers, found, settings.dna, (PUBLISHED_DNA, "DNA as published", fair))


def _add_supernets(
    context: StudyContext,
    teachers: Sequence[Teacher],
    found: Candidates,
    recipe: Mapping[str, Any],
    names: tuple[str, str, str],
) -> None:
    """Add the method and the predictor of one recipe; `names` are the method's, the predictor's and the meaning in words."""
    truth = context.truth
    if not teachers:
        return
    config, stages = truth.config, range(truth.config.stages)
    whole = DistilRecipe.from_plain(recipe)
    units = {
        seed: [
            study_unit(
                "supernet",
                {**context.base, "stage": stage, "recipe": {**recipe, "seed": seed}},
                {TEACHER: teacher.digest},
            )
            for stage in stages
        ]
        for seed, teacher in enumerate(teachers)
    }
    choices = block_indices(config, truth.indices)
    rows, runs = [], []
    for seed, ran in context.unit_runner.by_name(units).items():
        teacher = teachers[seed]
        scores, spent = np.full((config.stages, len(config.blocks)), np.nan), teacher.spent
        for stage, (content, seconds) in enumerate(ran):
            scores[stage, list(config.choices[stage])] = content["scores"]
            flops = supernet_flops(config, teacher.index, stage, context.images, whole)
            judged = forward_flops(sum(stage_macs(config, stage)), len(context.task.profile))
            spent += Spent(flops=flops + judged, seconds=seconds)
        rows.append(additive_scores(scores, choices))
        runs.append(_ordered(context, seed, rows[-1], spent))
    method, predictor, meaning = names
    found.predictions[predictor] = np.array(rows)
    found.add(method, meaning, runs)


def add_published_lana(context: StudyContext, libraries: Sequence[ScoredLibrary], found: Candidates) -> None:
    """Rank by the sum of loss changes on training images, of libraries distilled for it."""
    if not libraries:
        return
    indices = context.truth.indices
    scores = np.array([one.sums(TRAIN_LOSS_CHANGE, indices) for one in libraries])
    found.predictions["LANA as published"] = scores
    found.blockwise.append("LANA as published")
    runs = [_ordered(context, seed, scores[seed], one.spent) for seed, one in enumerate(libraries)]
    meaning = (
        "the sum of loss changes on training images, of blocks distilled for one epoch by squared errors"
    )
    found.add(PUBLISHED_LANA, meaning, runs)


def add_signed(
    context: StudyContext, libraries: Sequence[ScoredLibrary], truth_digest: str, found: Candidates
) -> None:
    """Rank by signatures: their sums (LANA), whole networks with the library's weights, and regressions (DONNA)."""
    settings, truth = context.settings, context.truth
    if not libraries:
        return
    for column in SUMS:
        name = f"sum of {column}"
        found.predictions[name] = np.array([one.sums(column, truth.indices) for one in libraries])
        found.blockwise.append(name)
    _add_sums(context, libraries, found)
    fits = {
        predictor: [
            study_unit(
                "signed_predict",
                {
                    "space": truth.config.name,
                    "predictor": predictor,
                    "first": settings.first,
                    "budget": settings.budget,
                    "seed": seed,
                },
                {"truth": truth_digest, "signatures": libraries[seed % len(libraries)].digest},
            )
            for seed in range(settings.seeds)
        ]
        for predictor in SIGNED
    }
    for predictor, ran in context.unit_runner.by_name(fits).items():
        name = f"{predictor} on signatures, {settings.first} trained"
        found.predictions[name] = np.array([_numbers(content["predicted"]) for content, _ in ran])
        found.blockwise.append(name)
        runs = []
        for seed, (content, seconds) in enumerate(ran):
            before = libraries[seed % len(libraries)].spent + Spent(seconds=seconds)
            runs.append(run_of(truth, seed, content["order"], context.images, before))
        method, meaning = SIGNED[predictor]
        found.add(
            method,
            f"{meaning} on signatures, fitted to {settings.first} trained networks",
            runs,
            random_first=settings.first,
            libraries=min(settings.seeds, len(libraries)),
        )


def add_tuned(
    context: StudyContext, library: ScoredLibrary, tuned: Sequence[Teacher], found: Candidates
) -> None:
    """Rank by regressions on signatures, fitted to fine-tuned networks' validation accuracies: a second-order one, and DONNA's as
    published, linear in the NSR alone. A regression that needs more networks than there are is left out."""
    truth, before = context.truth, library.spent
    indices = np.array([one.index for one in tuned], dtype=np.int64)
    for one in tuned:
        before += one.spent
    for kind, method, name in (
        ("second-order", f"{DONNA}-tuned", "second-order on signatures"),
        ("donna", PUBLISHED_DONNA, "DONNA as published"),
    ):
        if len(tuned) < (least := fewest(kind, truth.config)):
            found.left_out.append(
                f"{method} is left out: in space {truth.config.name!r} it is fitted to {least} fine-tuned networks or more, "
                f"and there are {len(tuned)}; set tuned to {least} or more."
            )
            continue
        accuracies = np.array([one.trained.best.val.top1 for one in tuned])
        fitted = fit(kind, library.signatures, indices=indices, accuracies=accuracies, cross_validate=False)
        scores = fitted.predict(truth.indices)
        meaning = {"donna": "least squares on NSR alone"}.get(kind, f"{kind} regression on signatures")
        runs = [_ordered(context, 0, scores, before)]
        found.add(method, f"{meaning}, fitted to {len(tuned)} fine-tuned networks", runs)
        apart = scores.copy()
        apart[truth.places(indices)] = np.nan
        told = f"{name}, {len(tuned)} fine-tuned"
        found.predictions[told] = apart[None]
        found.blockwise.append(told)


def _add_sums(context: StudyContext, libraries: Sequence[ScoredLibrary], found: Candidates) -> None:
    truth, settings = context.truth, context.settings
    plain, rescored = [], []
    for seed, library in enumerate(libraries):
        scores = library.sums("loss_change", truth.indices)
        plain.append(_ordered(context, seed, scores, library.spent))
        finalists = np.argsort(-scores, kind="stable")[: settings.rescored]
        again = scores - np.ptp(scores) - 1  # the others come behind all finalists, in their former order
        order = np.lexsort((-library.loss[finalists], library.top1[finalists]))  # worst first
        again[finalists[order]] = scores.max() + np.arange(len(finalists))
        macs = sum(network_cost(truth.config, int(truth.indices[place])).macs for place in finalists)
        seconds = library.judging_s * len(finalists) / len(truth.indices)
        spent = Spent(flops=forward_flops(macs, len(context.task.rescore)), seconds=seconds)
        rescored.append(_ordered(context, seed, again, library.spent + spent))
    found.add(LANA, "the sum of the blocks' loss changes in the teacher", plain)
    found.add(RESCORED, f"the same, its best {settings.rescored} judged with the library's weights", rescored)
    name = "whole network with the library's weights"
    found.predictions[name] = np.array([-one.loss for one in libraries])
    found.blockwise.append(name)


def _ordered(context: StudyContext, seed: int, scores: FloatArray, before: Spent) -> StudyRun:
    order = ordered_search(scores, context.truth, context.settings.budget, seed)
    return run_of(context.truth, seed, order.tolist(), context.images, before)


def _units(
    name: str, config: Mapping[str, object], inputs: Mapping[str, str], seeds: Sequence[int]
) -> list[Unit]:
    return [study_unit(name, {**config, "seed": seed}, inputs) for seed in seeds]


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

"""The study's kinds of units, `search.study.works:NAME`: pure functions of a config and of contents (see `search.work`).

A config names the space and the task as trainings' configs do; the inputs `teacher`, `stage0`, `stage1` and so on are a trained
network and its distilled stages. The names of kinds, functions here among them, are part of the keys of stored units: they stay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.predictors import fit
from search.distillation.recipe import DistilRecipe
from search.distillation.signatures import Signatures
from search.proxies import proxy_scorer
from search.proxies.batches import Batch
from search.study.methods import fitted_scores, fitted_search, training_order, without_fitted
from search.study.truth import GroundTruth
from search.work.distillations import fine_tuned, run_distillation
from search.work.kinds import Content, Context
from search.work.trainings import task_of
from search.work.unit import Unit
from space import Architecture, SpaceConfig, find_space
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

if TYPE_CHECKING:
    from search.distillation.block_library import BlockLibrary
    from search.training.images import Task
    from search.training.trained import Trained

TEACHER = "teacher"
distil = run_distillation  # a kind as the functions below


def study_kind(name: str) -> str:
    """Return the kind of unit of a function of this module, by which `search.work.kinds` finds the module."""
    return f"search.study.works:{name}"


def study_unit(name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Unit:
    """Return a unit of a function of this module."""
    return Unit(kind=study_kind(name), config=config, inputs=inputs)


def stage_input(stage: int) -> str:
    """Return the input name of a distilled stage."""
    return f"stage{stage}"


def sign(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Score a library, `signatures` as JSON text, and evaluate networks, at `indices`, with inherited weights.

    With `part` "train" the signatures are the loss changes on training images. `top1` and `loss` are of the networks at `indices`
    on the images for re-scoring, and `judging_s` the seconds of their evaluation.
    """
    from search.blockwise.rounds import inherited_judge
    from search.distillation.block_scores import score_blocks, score_on_training

    space, task = _of(config)
    library = _library(inputs)
    score = score_on_training if config.get("part") == "train" else score_blocks
    signatures = score(library, task, device=context.device).to_json()
    judge, figures = inherited_judge(task, context.device), []
    begin = time.perf_counter()
    for index in config["indices"]:
        architecture = Architecture.from_index(index, space)
        figures.append(judge(architecture, library.assemble(architecture), "rescore"))
    return {
        "signatures": signatures,
        "top1": [one.top1 for one in figures],
        "loss": [one.loss for one in figures],
        "judging_s": time.perf_counter() - begin,
    }


def assemble(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Assemble networks, at `indices`, from a library: `starts`, each the input `start` of a fine-tuning."""
    space, _ = _of(config)
    library = _library(inputs)
    origin = f"library {library.digest}"
    networks = [Architecture.from_index(index, space) for index in config["indices"]]
    return {
        "starts": [
            {"architecture": str(one), "weights": library.assemble(one), "origin": origin} for one in networks
        ]
    }


def fine_tune(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Fine-tune as a "finetune" does, but from the input `start`, a network of `assemble`: a library takes long to read."""
    from search.training.distillation_loss import Start

    start = inputs["start"]
    if start["architecture"] != config["architecture"]:
        raise ConfigError(
            f"fine-tuning of {config['architecture']} was given the weights of {start['architecture']}"
        )
    weights = Start(weights=start["weights"], origin=start["origin"])
    return fine_tuned(config, _teacher(inputs), weights, context)


def supernet(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Train the supernet of `stage` by `recipe` and return the `scores` of all blocks, lower being better."""
    from search.distillation.supernet import train_supernet
    from search.distillation.teacher_features import StageTask

    _, task = _of(config)
    recipe = DistilRecipe.from_plain(config["recipe"])
    stage_task = StageTask(_teacher(inputs), task, config["stage"], context.device)
    scores = train_supernet(stage_task, recipe, context.on_progress)
    return {"scores": scores.tolist()}


def proxy(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Score networks, at `indices`, by the zero-cost proxy `proxy`, untrained weights of `seed`, on `images` of the task."""
    space, task = _of(config)
    rows = np.random.default_rng(config["seed"]).permutation(len(task.train))[: config["images"]]
    pixels = task.train.images[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (task.mean, task.std))
    images = ((pixels - mean) / std).astype(np.float32)
    batch = Batch(images=images, labels=task.train.labels[rows], origin=task.origin)
    scores = proxy_scorer(config["proxy"], space, batch, config["seed"])(
        np.array(config["indices"], dtype=np.int64)
    )
    return {"scores": scores.tolist()}


def plain_search(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Search by `method` with `seed` and `budget` among the input `truth`: the networks in the `order` of their training.

    `random_first`, the number of random networks trained first, is in the config to distinguish runs that differ in it.
    """
    order = training_order(config["method"], _truth(config, inputs), config["budget"], config["seed"])
    return {"order": order.tolist()}


def plain_predict(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Fit the predictor of a method to `first` random networks of the input `truth`, and predict all of them.

    `predicted` is in the truth's order, None for networks that it was fitted to.
    """
    scores = fitted_scores(config["method"], _truth(config, inputs), config["first"], config["seed"])
    return {"predicted": _numbers(scores)}


def signed_predict(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Fit `predictor` on the input `signatures` to `first` random networks of the input `truth`.

    `predicted` is in the truth's order, None for networks that it was fitted to; `order` is that of a search that trains these
    and then the best predicted ones, up to `budget`.
    """
    truth = _truth(config, inputs)
    signatures = Signatures.from_json(inputs["signatures"]["signatures"])
    fitted: list[FittedPredictor] = []

    def scores(indices: IndexArray, accuracies: FloatArray) -> FloatArray:
        given: dict[str, Any] = {"indices": indices, "accuracies": accuracies, "seed": config["seed"]}
        fitted.append(fit(config["predictor"], signatures, **given, cross_validate=False))
        return fitted[0].predict(np.arange(len(truth.config)))

    order = fitted_search(scores, truth, config["first"], config["budget"], config["seed"])
    predicted = without_fitted(fitted[0].predict(truth.indices), truth, order[: config["first"]])
    return {"predicted": _numbers(predicted), "order": order.tolist()}


def _numbers(values: FloatArray) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _of(config: Mapping[str, Any]) -> tuple[SpaceConfig, Task]:
    space = find_space(config["space"])
    return space, task_of(config, space)


def _teacher(inputs: Mapping[str, Content]) -> Trained:
    from search.training.trained_files import trained_from

    return trained_from(inputs[TEACHER], TEACHER)


def _library(inputs: Mapping[str, Content]) -> BlockLibrary:
    from search.distillation.block_library import BlockLibrary, stage_from

    teacher = _teacher(inputs)
    names = [stage_input(stage) for stage in range(teacher.architecture.config.stages)]
    return BlockLibrary(teacher=teacher, stages=tuple(stage_from(inputs[name], name) for name in names))


def _truth(config: Mapping[str, Any], inputs: Mapping[str, Content]) -> GroundTruth:
    return GroundTruth.from_content(inputs["truth"], find_space(config["space"]))

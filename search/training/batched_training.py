"""Batched training: many networks of one space as one stacked network, several times as fast for small networks of Blox's kind.

    trained = train_together(architectures, load_task("digits", TINY), Recipe(epochs=20))

Each network has the initial weights, images and steps of a training alone (`search.training.training.train`): results are the
same to rounding, which training magnifies as it does a change of seed. `train_ns` and `val_ns` of an epoch are a network's equal
share of the time of all. Networks of a user's own space, whose layers are not known, run one after the other in a step: they
share the images and their augmentation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from search.training.checkpoints import identity_of
from search.training.epochs import (
    Compute,
    Split,
    judge_all,
    judging,
    learn_epoch,
    learning,
    network_logits,
)
from search.training.history import Figures
from search.training.images import Task, check_fit
from search.training.recipe import Recipe
from search.training.stacked_modules import AnyNetworks, stack_networks
from search.training.trained import Trained, environment_of
from search.training.training import check_batches, fresh_network, laid_recipe, usable_device
from search.training.training_run import Clock, OnEpoch, TrainingRun
from space import Architecture, SpaceConfig
from space.errors import ConfigError


def train_together(
    architectures: Sequence[Architecture],
    task: Task,
    recipe: Recipe,
    folder: str | Path | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    clock_ns: Clock = time.perf_counter_ns,
) -> list[Trained]:
    """Train networks of fresh weights and test each once, with the weights of its own best epoch; results in their order.

    `folder` keeps one checkpoint of all after every epoch, from which the same call resumes; then `on_epoch` is called. Blox's
    networks run channels last whatever the recipe says.

    Raises:
        ConfigError: as `train`; or there is no network, or they are of several spaces.
        HarnessError: a loss is not finite; the message names the network, the epoch and the batch.
    """
    check_fit(task, _one_space(architectures))
    recipe = laid_recipe(architectures[0], recipe)
    check_batches(architectures, task, recipe)
    place = usable_device(device)
    laid = laid_recipe(architectures[0], replace(recipe, channels_last=True))
    names = list(map(str, architectures))

    def stacked(states: Sequence[Mapping[str, Tensor]] = ()) -> AnyNetworks:
        """Return the networks as one, with fresh weights or with these."""
        networks = [fresh_network(one, laid) for one in architectures]
        for network, state in zip(networks, states, strict=False):
            network.load_state_dict(state)
        return stack_networks(networks, place)

    with torch.inference_mode(False), torch.enable_grad():
        network = stacked()
        run = TrainingRun(
            architectures=architectures,
            task=task,
            recipe=recipe,
            network=network,
            identity=identity_of(architectures[0], task, recipe) | {"architecture": " ".join(names)},
            environment=environment_of(place) | {"together": str(len(architectures))},
            folder=None if folder is None else Path(folder),
            device=device,
        )
        train_set, val_set = Split(task.train, task, place), Split(task.val, task, place)
        learned = learning(network, _compute(network, laid, recipe.label_smoothing))
        judged = judging(_compute(network, laid))

        def test() -> list[Figures]:
            best = stacked(run.best)
            judged = judging(_compute(best, laid))
            return judge_all(best, Split(task.test, task, place), laid, "test", judged, names)

        run.train(
            lambda number: learn_epoch(network, run.optimizer, train_set, laid, number, learned, names),
            lambda number: judge_all(network, val_set, laid, f"epoch {number}, validation", judged, names),
            network.unstacked,
            clock_ns,
            on_epoch,
        )
        return run.finish(test)


def _compute(network: AnyNetworks, recipe: Recipe, smoothing: float = 0.0) -> Compute:
    def compute(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network_logits(network, images, recipe)  # (B, N, classes)
        return _losses(logits, labels, smoothing), logits

    return compute


def _losses(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of each network, (N,), of logits (B, N, classes)."""
    each = cross_entropy(
        logits.transpose(1, 2),  # (B, classes, N)
        labels[:, None].expand(-1, logits.shape[1]),
        label_smoothing=smoothing,
        reduction="none",
    )
    return each.mean(0)


def _one_space(architectures: Sequence[Architecture]) -> SpaceConfig:
    if not architectures:
        raise ConfigError("no network to train was named")
    first = architectures[0].config
    for one in architectures:
        if one.config != first:
            raise ConfigError(
                f"{architectures[0]} is of space {first.name!r} and {one} of {one.config.name!r}; train them separately"
            )
    return first

"""Train many networks of one space at once, as one stacked network: on small networks several times as fast.

    trained = train_together(architectures, load_task("digits", TINY), Recipe(epochs=20))

Each network begins with the weights, sees the images and takes the steps that `search.training.training.train` would give it
alone: results are the same to rounding, which a training then magnifies as it does any other seed's. What a step takes is shared:
`train_ns` and `val_ns` of an epoch are a network's equal share of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from search.training.augment import augment, normalise
from search.training.checkpoints import identity_of
from search.training.epochs import AUGMENTATION, ORDER, Split, generator
from search.training.history import TOP, Figures
from search.training.images import Task, check_fit
from search.training.memory import within_memory
from search.training.recipe import Recipe
from search.training.run import Clock, OnEpoch, TrainingRun
from search.training.stacked import StackedNetworks
from search.training.trained import Trained, environment_of
from search.training.training import check_batches, fresh_network, usable_device
from space import Architecture
from space.errors import ConfigError, HarnessError

_CHECK_EVERY = 32  # batches


def train_together(
    architectures: Sequence[Architecture],
    task: Task,
    recipe: Recipe,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    clock_ns: Clock = time.perf_counter_ns,
) -> list[Trained]:
    """Train networks of fresh weights and test each once, with the weights of its own best epoch; results in their order.

    `folder` keeps one checkpoint of all after every epoch, from which the same call goes on; then `on_epoch` is called. Layers
    lie channels last whatever the recipe says.

    Raises:
        ConfigError: as `train`; or there is no network, or they are of several spaces.
        HarnessError: a loss is not finite; the message names the network, the epoch and the batch.
    """
    check_fit(task, _one_space(architectures))
    for architecture in architectures:
        check_batches(architecture, task, recipe)
    place = usable_device(device)
    with torch.inference_mode(False), torch.enable_grad():
        network = StackedNetworks([fresh_network(one, recipe) for one in architectures])
        network = network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = TrainingRun(
            architectures=architectures,
            task=task,
            recipe=recipe,
            network=network,
            identity=_identity(architectures, task, recipe),
            environment=environment_of(place) | {"together": str(len(architectures))},
            folder=folder,
            device=device,
        )
        train_set, val_set = Split(task.train, task, place), Split(task.val, task, place)
        run.train(
            lambda number: _learn(network, run.optimizer, train_set, recipe, number, architectures),
            lambda number: _judge(network, val_set, recipe, f"epoch {number}, validation", architectures),
            network.unstacked,
            clock_ns,
            on_epoch,
        )
        return run.finish(lambda: _test(architectures, run.best, task, recipe, place))


def _test(
    architectures: Sequence[Architecture],
    best: Sequence[Mapping[str, Tensor]],
    task: Task,
    recipe: Recipe,
    place: torch.device,
) -> list[Figures]:
    """Class the test images with each network's best weights, stacked anew."""
    networks = []
    for architecture, state in zip(architectures, best, strict=True):
        one = fresh_network(architecture, recipe)
        one.load_state_dict(state)
        networks.append(one)
    network = StackedNetworks(networks).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _judge(network, Split(task.test, task, place), recipe, "test", architectures)


def _learn(
    network: StackedNetworks,
    optimizer: torch.optim.SGD,
    split: Split,
    recipe: Recipe,
    number: int,
    architectures: Sequence[Architecture],
) -> list[Figures]:
    """Take one step for each batch, in the epoch's order, the same for all networks."""
    network.train()
    order = torch.randperm(len(split.labels), generator=generator(recipe, ORDER, number)).to(
        split.labels.device
    )
    noise = generator(recipe, AUGMENTATION, number)
    tally = _Tallies(f"epoch {number}, training at rate {recipe.rate_at(number):g}", architectures)

    def step(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = augment(split.images[rows], recipe.augmentation, split.mean, split.std, noise)
        labels = split.labels[rows]  # (B,)
        logits = _logits(network, images, recipe)  # (B, N, classes)
        losses = _losses(logits, labels, recipe.label_smoothing)  # (N,)
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return losses, logits, labels

    def all_steps() -> list[Figures]:
        for rows in torch.split(order, recipe.batch):
            tally.add(*step(rows))
        return tally.figures()

    what = f"training {len(architectures)} networks together, epoch {number}"
    return within_memory(all_steps, lambda images: step(order[:images]), recipe.batch, what)


def _judge(
    network: StackedNetworks, split: Split, recipe: Recipe, what: str, architectures: Sequence[Architecture]
) -> list[Figures]:
    """Class all images, without augmentation."""
    network.eval()
    tally = _Tallies(what, architectures)
    with torch.no_grad():
        for begin in range(0, len(split.labels), recipe.batch):
            rows = slice(begin, begin + recipe.batch)
            logits = _logits(network, normalise(split.images[rows], split.mean, split.std), recipe)
            tally.add(_losses(logits, split.labels[rows]), logits, split.labels[rows])
    return tally.figures()


def _logits(network: StackedNetworks, images: Tensor, recipe: Recipe) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits: Tensor = network(images)
    return logits.float()


def _losses(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of each network, (N,), of logits (B, N, classes)."""
    each = cross_entropy(
        logits.transpose(1, 2),  # (B, classes, N)
        labels[:, None].expand(-1, logits.shape[1]),
        label_smoothing=smoothing,
        reduction="none",
    )
    return each.mean(0)


class _Tallies:
    """Count over the batches of an epoch for each of N networks; losses are looked at now and then."""

    def __init__(self, what: str, architectures: Sequence[Architecture]) -> None:
        self.what, self.architectures = what, architectures
        self.pending: list[Tensor] = []
        self.sizes: list[int] = []
        self.losses: list[list[float]] = []
        self.hits: Tensor | None = None  # (2, N): first, among five

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        found = logits.detach().topk(min(TOP, logits.shape[2])).indices == labels[:, None, None]  # (B, N, 5)
        hits = torch.stack([found[:, :, 0].sum(0), found.any(2).sum(0)])
        self.hits = hits if self.hits is None else self.hits + hits
        self.sizes.append(len(labels))
        self.pending.append(losses.detach())
        if len(self.pending) == _CHECK_EVERY:
            self.look()

    def look(self) -> None:
        for row in torch.stack(self.pending).tolist() if self.pending else ():
            self.losses.append(row)
            for architecture, loss in zip(self.architectures, row, strict=True):
                if not math.isfinite(loss):
                    raise HarnessError(
                        f"{architecture}, {self.what}: the loss of batch {len(self.losses)} is {loss}; the training has "
                        "diverged: give the recipe a lower learning_rate, or leave mixed_precision off"
                    )
        self.pending = []

    def figures(self) -> list[Figures]:
        self.look()
        assert self.hits is not None
        images = sum(self.sizes)
        totals = [
            math.fsum(loss * size for loss, size in zip(losses, self.sizes, strict=True))
            for losses in zip(*self.losses, strict=True)
        ]
        return [
            Figures(images=images, loss=total / images, first=first, among_five=among_five)
            for total, (first, among_five) in zip(totals, self.hits.T.tolist(), strict=True)
        ]


def _one_space(architectures: Sequence[Architecture]) -> Any:
    if not architectures:
        raise ConfigError("no network to train was named")
    first = architectures[0].config
    for one in architectures:
        if one.config != first:
            raise ConfigError(
                f"{architectures[0]} is of space {first.name!r} and {one} of {one.config.name!r}; train them apart"
            )
    return first


def _identity(architectures: Sequence[Architecture], task: Task, recipe: Recipe) -> dict[str, str]:
    """Return what the training of all is of; that of one network, with all their names."""
    return identity_of(architectures[0], task, recipe) | {"architecture": " ".join(map(str, architectures))}

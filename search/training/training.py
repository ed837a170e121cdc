"""Train one network from scratch, to be read top to bottom.

    from search.training.recipe import Recipe
from search.training.trained import Trained, plain_terms
    from search.training.tasks import load_task
    trained = train(Architecture.parse("conv/bconv", MINI), load_task("digits", MINI), Recipe(epochs=20))
    trained.best.val.top1, trained.test.top1

The recipe's defaults are those of the published accuracies. Shapes at the line ends are (images, channels, height, width).
Every random number comes from a generator seeded by the recipe's seed, a purpose and the number of the epoch: so all
networks see the images in the same order, an epoch can be repeated without those before it, and torch's own generator
stays as it was. On a CPU, with the same torch and number of threads, the same training gives the same bits; on an
accelerator torch does not promise it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from harness.errors import ConfigError, HarnessError
from search.training.augment import augment, normalise
from search.training.checkpoints import Checkpoint, identity_of, load_checkpoint, save_checkpoint
from search.training.environment import both_environments, environment_of
from search.training.history import TOP, Epoch, Figures, best_epoch
from search.training.images import Images, Task, check_fit
from search.training.recipe import Recipe
from search.training.trained import Trained, plain_terms
from space import Architecture
from space.networks import Network, build_network

__all__ = ["Trained", "train"]

_WEIGHTS, _ORDER, _AUGMENTATION = range(3)  # purposes of random numbers
_CHECK_EVERY = 32  # batches: looking at each loss at once would make an accelerator wait


def train(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Trained:
    """Train a network of fresh weights and test it once, with the weights of its best epoch.

    `folder` keeps a checkpoint after every epoch: called again with the same architecture, task and recipe, a training
    that was stopped goes on after its last whole epoch, and a finished one is read. `device` is as torch names it. `on_epoch`
    is called after every epoch, once its checkpoint stands.

    Raises:
        ConfigError: the task or the batch does not fit the space, torch has no such device, or the folder's checkpoint is
            damaged or of another training.
        HarnessError: a loss is not finite; the message names the epoch and the batch.
    """
    check_fit(task, architecture.config)
    _check_batches(architecture, task, recipe)
    place = _usable(device)
    identity, environment = identity_of(architecture, task, recipe), environment_of(place)
    terms = plain_terms(
        architecture,
        recipe,
        task=task.name,
        source=task.source,
        synthetic=task.synthetic,
        start="",
        guide={},
    )
    with torch.inference_mode(False), torch.enable_grad():  # wherever it is called from
        network = _fresh_network(architecture, recipe).to(place)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        history: list[Epoch] = []
        best: Mapping[str, Tensor] = {}
        test: Figures | None = None

        former = load_checkpoint(folder, identity, device) if folder else None
        if former:
            network.load_state_dict(former.network)
            optimizer.load_state_dict(dict(former.optimizer))
            history = [Epoch.from_plain(values) for values in former.history]
            best, test = former.best, Figures(**former.test) if former.test else None
            environment = both_environments(former.environment, environment)

        def keep() -> None:
            if folder:
                checkpoint = Checkpoint(
                    identity=identity,
                    terms=terms,
                    environment=environment,
                    network=network.state_dict(),
                    optimizer=optimizer.state_dict(),
                    best=best,
                    history=[asdict(epoch) for epoch in history],
                    test=asdict(test) if test else None,
                )
                save_checkpoint(folder, checkpoint)

        train_set, val_set = _Split(task.train, task, place), _Split(task.val, task, place)
        for number in range(len(history) + 1, recipe.epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(number)
            begin = clock_ns()
            learned = _learn(network, optimizer, train_set, recipe, number)
            middle = clock_ns()
            judged = _judge(network, val_set, recipe, f"epoch {number}, validation")
            history.append(
                Epoch(
                    number=number,
                    rate=recipe.rate_at(number),
                    train=learned,
                    val=judged,
                    train_ns=middle - begin,
                    val_ns=clock_ns() - middle,
                )
            )
            if best_epoch(history) is history[-1]:
                best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            keep()
            if on_epoch:
                on_epoch(history[-1])

        if test is None:
            network.load_state_dict(best)
            test = _judge(network, _Split(task.test, task, place), recipe, "test")
            keep()
    return Trained(
        architecture=architecture,
        task=task.name,
        synthetic=task.synthetic,
        recipe=recipe,
        history=tuple(history),
        test=test,
        weights={name: tensor.cpu() for name, tensor in best.items()},
        environment=environment,
        source=task.source,
    )


# --- an epoch -------------------------------------------------------------------------------------


class _Split:
    """The images and labels of a split on a device, as bytes: CIFAR's 60,000 need 184 MB there."""

    def __init__(self, images: Images, task: Task, device: torch.device) -> None:
        self.images = torch.tensor(images.images, device=device).permute(0, 3, 1, 2)  # uint8 (n, C, H, W)
        self.labels = torch.tensor(images.labels, device=device)  # (n,)
        self.mean, self.std = task.mean, task.std


def _learn(
    network: Network, optimizer: torch.optim.SGD, split: _Split, recipe: Recipe, number: int
) -> Figures:
    """Take one step for each batch, in the epoch's order."""
    network.train()
    device = split.labels.device
    order = torch.randperm(len(split.labels), generator=_generator(recipe, _ORDER, number)).to(device)
    noise = _generator(recipe, _AUGMENTATION, number)
    tally = _Tally(f"epoch {number}, training at rate {recipe.rate_at(number):g}")
    for rows in torch.split(order, recipe.batch):
        images = augment(split.images[rows], recipe.augmentation, split.mean, split.std, noise)
        labels = split.labels[rows]  # (B,)
        logits = _logits(network, images, recipe)  # (B, classes)
        loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        tally.add(loss, logits, labels)
    return tally.figures()


def _judge(network: Network, split: _Split, recipe: Recipe, what: str) -> Figures:
    """Class all images, without augmentation."""
    network.eval()
    tally = _Tally(what)
    with torch.no_grad():
        for begin in range(0, len(split.labels), recipe.batch):
            rows = slice(begin, begin + recipe.batch)
            labels = split.labels[rows]
            logits = _logits(network, normalise(split.images[rows], split.mean, split.std), recipe)
            tally.add(cross_entropy(logits, labels), logits, labels)
    return tally.figures()


def _logits(network: Network, images: Tensor, recipe: Recipe) -> Tensor:
    """Map normalised images (B, C, H, W) to logits (B, classes) in single precision."""
    images = images.contiguous(
        memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format
    )
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits: Tensor = network(images)
    return logits.float()


class _Tally:
    """Count over the batches of an epoch; counts stay on the device, losses are looked at now and then."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.pending: list[Tensor] = []
        self.losses: list[float] = []
        self.sizes: list[int] = []
        self.hits: Tensor | None = None  # (2,): first, among five

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        found = logits.detach().topk(min(TOP, logits.shape[1])).indices == labels[:, None]  # (B, 5)
        hits = torch.stack([found[:, 0].sum(), found.sum()])
        self.hits = hits if self.hits is None else self.hits + hits
        self.sizes.append(len(labels))
        self.pending.append(loss.detach())
        if len(self.pending) == _CHECK_EVERY:
            self.look()

    def look(self) -> None:
        for loss in torch.stack(self.pending).tolist() if self.pending else ():
            self.losses.append(loss)
            if not math.isfinite(loss):
                raise HarnessError(
                    f"{self.what}: the loss of batch {len(self.losses)} is {loss}; "
                    "the training has diverged: give the recipe a lower learning_rate, or leave mixed_precision off"
                )
        self.pending = []

    def figures(self) -> Figures:
        self.look()
        assert self.hits is not None
        first, among_five = self.hits.tolist()
        total = math.fsum(loss * size for loss, size in zip(self.losses, self.sizes, strict=True))
        images = sum(self.sizes)
        return Figures(images=images, loss=total / images, first=first, among_five=among_five)


# --- what it starts from --------------------------------------------------------------------------


def _generator(recipe: Recipe, purpose: int, number: int = 0) -> Generator:
    """Return a fresh generator for a purpose and an epoch; on the CPU, so that every device draws the same."""
    return Generator().manual_seed(_seed(recipe, purpose, number))


def _seed(recipe: Recipe, purpose: int, number: int = 0) -> int:
    return int(np.random.SeedSequence((recipe.seed, purpose, number)).generate_state(1, np.uint64)[0] >> 1)


def _fresh_network(architecture: Architecture, recipe: Recipe) -> Network:
    # Layers draw from torch's own generator: it is lent to them, seeded, and put back. Only that of the CPU is seeded.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed(recipe, _WEIGHTS))
        network = build_network(architecture)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _check_batches(architecture: Architecture, task: Task, recipe: Recipe) -> None:
    config, count = architecture.config, len(task.train)
    alone = count % recipe.batch == 1 or recipe.batch == 1
    if alone and config.image_size == 2**config.stages:
        raise ConfigError(
            f"recipe: batch = {recipe.batch} leaves a batch of one of {count} images, and the last BatchNorm of space "
            f"{config.name!r}, at 1 x 1 pixel, has no variance of one value; choose another batch"
        )


def _usable(device: str) -> torch.device:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise ConfigError(f"training: device {device!r} cannot be used: {e}") from e
    return torch.device(device)

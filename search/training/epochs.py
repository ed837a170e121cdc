"""An epoch of a training: learning from all images once, and judging a network on images, to be read top to bottom.

Shapes at the line ends are (images, channels, height, width). Every random number comes from a generator seeded by the
recipe's seed, a purpose and the number of the epoch: so all networks see the images in the same order, an epoch can be
repeated without those before it, and torch's own generator stays as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from search.training.augment import augment, normalise
from search.training.guide import guided_loss
from search.training.history import TOP, Figures
from search.training.images import Images, Task
from search.training.memory import within_memory
from search.training.recipe import Recipe
from space.errors import HarnessError

WEIGHTS, ORDER, AUGMENTATION = range(3)  # purposes of random numbers
JUDGED = 256  # images judged at once, where nobody says otherwise
_CHECK_EVERY = 32  # batches: looking at each loss at once would make an accelerator wait


class Split:
    """The images and labels of a split on a device, as bytes: CIFAR's 60,000 need 184 MB there."""

    def __init__(self, images: Images, task: Task, device: torch.device) -> None:
        self.images = torch.tensor(images.images, device=device).permute(0, 3, 1, 2)  # uint8 (n, C, H, W)
        self.labels = torch.tensor(images.labels, device=device)  # (n,)
        self.mean, self.std = task.mean, task.std

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teaching:
    """A teacher's network, ready on the device in evaluation mode, and the two knobs of a `Guide`."""

    network: nn.Module
    weight: float
    temperature: float


# --- learning -------------------------------------------------------------------------------------


def learn(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Split,
    recipe: Recipe,
    number: int,
    teaching: Teaching | None = None,
) -> Figures:
    """Take one step for each batch, in the epoch's order; the figures' loss is the one that was learned by.

    Raises:
        HarnessError: a loss is not finite, or memory runs out.
    """
    network.train()
    order = torch.randperm(len(split), generator=generator(recipe, ORDER, number)).to(split.labels.device)
    noise = generator(recipe, AUGMENTATION, number)
    what = f"epoch {number}, training at rate {recipe.rate_at(number):g}"

    def step(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = augment(split.images[rows], recipe.augmentation, split.mean, split.std, noise)
        labels = split.labels[rows]  # (B,)
        logits = _logits(network, images, recipe)  # (B, classes)
        loss = _loss(logits, images, labels, recipe, teaching)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss, logits, labels

    def all_steps() -> Figures:
        tally = Tally(what)
        for rows in torch.split(order, recipe.batch):
            tally.add(*step(rows))
        return tally.figures()

    return within_memory(all_steps, lambda images: step(order[:images]), min(recipe.batch, len(split)), what)


def _loss(
    logits: Tensor, images: Tensor, labels: Tensor, recipe: Recipe, teaching: Teaching | None
) -> Tensor:
    if teaching is None:
        return cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    with torch.no_grad():
        taught = _logits(teaching.network, images, recipe)  # (B, classes)
    return guided_loss(logits, taught, labels, teaching.weight, teaching.temperature, recipe.label_smoothing)


# --- judging --------------------------------------------------------------------------------------


def judge(
    network: nn.Module, images: Images, task: Task, batch: int = JUDGED, device: str | None = None
) -> Figures:
    """Class images as a task normalises them, without augmentation, in single precision.

    The network is moved to `device`, as torch names it; by default it is used where it is. It is used in evaluation mode,
    and left in the mode that it had. With a recipe's batch the figures are those that its training counts.

    Raises:
        HarnessError: a loss is not finite, or memory runs out.
    """
    place = torch.device(device) if device else next(network.parameters()).device
    network.to(place)
    before = network.training
    try:
        return judge_split(network, Split(images, task, place), Recipe(batch=batch), "judging")
    finally:
        network.train(before)


def judge_split(network: nn.Module, split: Split, recipe: Recipe, what: str) -> Figures:
    """Class the images of a split, in the recipe's batches and precision; the network stays in evaluation mode.

    Raises:
        HarnessError: a loss is not finite, or memory runs out; `what` names the occasion.
    """
    network.eval()

    def classed(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        labels = split.labels[rows]  # (B,)
        images = normalise(split.images[rows], split.mean, split.std)  # (B, C, H, W)
        logits = _logits(network, images, recipe)  # (B, classes)
        return cross_entropy(logits, labels), logits, labels

    def all_classed() -> Figures:
        tally = Tally(what)
        for begin in range(0, len(split), recipe.batch):
            tally.add(*classed(slice(begin, begin + recipe.batch)))
        return tally.figures()

    with torch.no_grad():
        return within_memory(
            all_classed, lambda images: classed(slice(images)), min(recipe.batch, len(split)), what
        )


def _logits(network: nn.Module, images: Tensor, recipe: Recipe) -> Tensor:
    """Map normalised images (B, C, H, W) to logits (B, classes) in single precision."""
    images = images.contiguous(
        memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format
    )
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits: Tensor = network(images)
    return logits.float()


# --- counting -------------------------------------------------------------------------------------


class Tally:
    """Count over the batches of an epoch; counts stay on the device, losses are looked at now and then."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.pending: list[Tensor] = []
        self.losses: list[float] = []
        self.sizes: list[int] = []
        self.hits: Tensor | None = None  # (2,): first, among five

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss, its logits (B, classes) and labels (B,)."""
        found = logits.detach().topk(min(TOP, logits.shape[1])).indices == labels[:, None]  # (B, 5)
        hits = torch.stack([found[:, 0].sum(), found.sum()])
        self.hits = hits if self.hits is None else self.hits + hits
        self.sizes.append(len(labels))
        self.pending.append(loss.detach())
        if len(self.pending) == _CHECK_EVERY:
            self._look()

    def figures(self) -> Figures:
        """Return the figures of all batches so far.

        Raises:
            HarnessError: a loss was not finite.
        """
        self._look()
        assert self.hits is not None
        first, among_five = self.hits.tolist()
        total = math.fsum(loss * size for loss, size in zip(self.losses, self.sizes, strict=True))
        images = sum(self.sizes)
        return Figures(images=images, loss=total / images, first=first, among_five=among_five)

    def _look(self) -> None:
        for loss in torch.stack(self.pending).tolist() if self.pending else ():
            self.losses.append(loss)
            if not math.isfinite(loss):
                raise HarnessError(
                    f"{self.what}: the loss of batch {len(self.losses)} is {loss}; "
                    "the training has diverged: give the recipe a lower learning_rate, or leave mixed_precision off"
                )
        self.pending = []


# --- random numbers -------------------------------------------------------------------------------


def generator(recipe: Recipe, purpose: int, number: int = 0) -> Generator:
    """Return a fresh generator for a purpose and an epoch; on the CPU, so that every device draws the same."""
    return Generator().manual_seed(seed_of(recipe, purpose, number))


def seed_of(recipe: Recipe, purpose: int, number: int = 0) -> int:
    """Return the seed of a purpose and an epoch, a whole number of 63 bits."""
    return int(np.random.SeedSequence((recipe.seed, purpose, number)).generate_state(1, np.uint64)[0] >> 1)

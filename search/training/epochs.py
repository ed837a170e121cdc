"""An epoch of a training, and evaluation on images.

One network learns, or N of one space at once, each by its own loss. Shapes at the line ends are (images, channels, height,
width). Every random number comes from a generator seeded by the recipe's seed, a purpose and the number of the epoch: so all
networks see the images in the same order, an epoch can be repeated without those before it, and torch's own generator stays as
it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from search.training.distillation_loss import distillation_loss
from search.training.history import TOP, Figures
from search.training.images import Images, Task
from search.training.memory import within_memory
from search.training.pixel_ops import augment_batches, batches_ahead, normalize
from search.training.recipe import Recipe
from search.training.replayed import Replayed
from search.training.stacked_modules import channels_first
from space.errors import HarnessError
from space.networks import ChainNetwork

WEIGHTS, ORDER, AUGMENTATION, LAYERS = range(4)  # purposes of random numbers
JUDGED = 256  # images judged at once by default
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
    """A teacher's network, ready on the device in evaluation mode, with weight and temperature of a `Guide`."""

    network: nn.Module
    weight: float
    temperature: float


# --- learning -------------------------------------------------------------------------------------

# Of images (B, C, H, W) and labels (B,): the mean loss of each network, (N,), and their logits (B, N, classes).
Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def computing(network: nn.Module, recipe: Recipe, teaching: Teaching | None = None) -> Compute:
    """Return a function that computes the training loss of one network."""

    def compute(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network_logits(network, images, recipe)  # (B, classes)
        return _loss(logits, images, labels, recipe, teaching)[None], logits[:, None]

    return compute


def learning(network: nn.Module, compute: Compute) -> Replayed:
    """Return a function that leaves the gradients of a batch, and returns the losses (N,) and hits (2, N)."""

    def learned(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses, logits = compute(images, labels)
        network.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach(), hits_of(logits, labels)

    return Replayed(learned, network.parameters())


def learn_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Split,
    recipe: Recipe,
    number: int,
    learned: Replayed,
    members: Sequence[str] = ("",),
) -> list[Figures]:
    """Take one step for each batch, in the epoch's order, the same for all networks; `members` names these in messages.

    `learned` is of `learning`, the same for all epochs of a training. The figures' loss is the training loss.

    Raises:
        HarnessError: a loss is not finite, or memory runs out.
    """
    network.train()
    order = torch.randperm(len(split), generator=generator(recipe, ORDER, number)).to(split.labels.device)
    noise = generator(recipe, AUGMENTATION, number)
    tally = Tally(f"epoch {number}, training at rate {recipe.rate_at(number):g}", members)
    batch = min(recipe.batch, len(split))

    def batches(rows: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        images = augment_batches(split.images[rows], batch, recipe.augmentation, split.mean, split.std, noise)
        return zip(images, torch.split(split.labels[rows], batch), strict=True)

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        found = learned(images, labels)
        optimizer.step()
        return found

    def all_steps() -> list[Figures]:
        parts = torch.split(order, batch * batches_ahead(split.images, batch))
        for images, labels in _one_ahead(chain.from_iterable(batches(rows, batch) for rows in parts)):
            losses, hits = step(images, labels)
            tally.add(losses, hits, len(labels))
        return tally.figures()

    def trial(images: int) -> None:
        learned.forget()
        for some in batches(order[:images], images):
            step(*some)

    together = f"training {len(members)} networks together, " if len(members) > 1 else ""
    with own_numbers(seed_of(recipe, LAYERS, number), split.labels.device):
        return within_memory(all_steps, trial, batch, together + tally.what)


def _one_ahead(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all batches, each once the next is begun, so that an accelerator computes while the host waits for a result."""
    now = next(batches)
    for following in batches:
        yield now
        now = following
    yield now


def _loss(
    logits: Tensor, images: Tensor, labels: Tensor, recipe: Recipe, teaching: Teaching | None
) -> Tensor:
    if teaching is None:
        return cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    with torch.no_grad():
        taught = network_logits(teaching.network, images, recipe)  # (B, classes)
    return distillation_loss(
        logits, taught, labels, teaching.weight, teaching.temperature, recipe.label_smoothing
    )


# --- judging --------------------------------------------------------------------------------------


def judge(
    network: nn.Module, images: Images, task: Task, batch: int = JUDGED, device: str | None = None
) -> Figures:
    """Evaluate a network on images, normalized as the task says, without augmentation, in single precision.

    The network is moved to `device`, as torch names it; by default it stays where it is. It runs in evaluation mode, and its mode
    is restored. With a recipe's batch the figures equal those of its training.

    Raises:
        HarnessError: a loss is not finite, or memory runs out.
    """
    place = torch.device(device) if device else next(network.parameters()).device
    network.to(place)
    before, recipe = network.training, Recipe(batch=batch)
    try:
        judged = judging(computing(network, recipe))
        return judge_split(network, Split(images, task, place), recipe, "judging", judged)
    finally:
        network.train(before)


def judging(compute: Compute) -> Replayed:
    """Return a function that returns the losses (N,) and hits (2, N) of a batch."""

    def judged(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses, logits = compute(images, labels)
        return losses, hits_of(logits, labels)

    return Replayed(judged)


def judge_split(network: nn.Module, split: Split, recipe: Recipe, what: str, judged: Replayed) -> Figures:
    """Evaluate one network on a split; see `judge_all`."""
    return judge_all(network, split, recipe, what, judged)[0]


def judge_all(
    network: nn.Module,
    split: Split,
    recipe: Recipe,
    what: str,
    judged: Replayed,
    members: Sequence[str] = ("",),
) -> list[Figures]:
    """Evaluate all networks on a split, in the recipe's batches; they stay in evaluation mode.

    `judged` is of `judging`; `members` names the networks in messages.

    Raises:
        HarnessError: a loss is not finite, or memory runs out; `what` names the occasion.
    """
    network.eval()
    tally = Tally(what, members)

    def batch(rows: slice) -> tuple[Tensor, Tensor]:
        return normalize(split.images[rows], split.mean, split.std), split.labels[rows]

    def all_judged() -> list[Figures]:
        for begin in range(0, len(split), recipe.batch):
            images, labels = batch(slice(begin, begin + recipe.batch))
            losses, hits = judged(images, labels)
            tally.add(losses, hits, len(labels))
        return tally.figures()

    def trial(images: int) -> None:
        judged.forget()
        judged(*batch(slice(images)))

    with torch.no_grad():
        return within_memory(all_judged, trial, min(recipe.batch, len(split)), what)


def network_logits(network: nn.Module, images: Tensor, recipe: Recipe) -> Tensor:
    """Map normalized images (B, C, H, W) to logits (B, classes) in single precision."""
    if isinstance(network, ChainNetwork):
        images = channels_first(images)
    else:
        images = images.contiguous(
            memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format
        )
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits: Tensor = network(images)
    return logits.float()


# --- counting -------------------------------------------------------------------------------------


class Tally:
    """Counters of N networks over the batches of an epoch; they stay on the device, losses are checked now and then."""

    def __init__(self, what: str, members: Sequence[str] = ("",)) -> None:
        self.what, self.members = what, members
        self.pending: list[Tensor] = []
        self.losses: list[list[float]] = []
        self.sizes: list[int] = []
        self.hits: Tensor | None = None  # (2, N): first, among five

    def add(self, losses: Tensor, hits: Tensor, images: int) -> None:
        """Count a batch of some images: its mean losses (N,) and hits (2, N), which may be overwritten afterwards."""
        self.hits = hits.clone() if self.hits is None else self.hits + hits
        self.sizes.append(images)
        self.pending.append(losses.clone())
        if len(self.pending) == _CHECK_EVERY:
            self._look()

    def figures(self) -> list[Figures]:
        """Return the figures of each network for all batches so far.

        Raises:
            HarnessError: a loss was not finite.
        """
        self._look()
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

    def _look(self) -> None:
        for losses in torch.stack(self.pending).tolist() if self.pending else ():
            self.losses.append(losses)
            for member, loss in zip(self.members, losses, strict=True):
                if not math.isfinite(loss):
                    raise HarnessError(
                        f"{member}{', ' if member else ''}{self.what}: the loss of batch {len(self.losses)} is {loss}; "
                        "the training has diverged: give the recipe a lower learning_rate, or leave mixed_precision off"
                    )
        self.pending = []


def hits_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for how many images the label is a network's first class, and among its first five: (2, N)."""
    found = logits.detach().topk(min(TOP, logits.shape[2])).indices == labels[:, None, None]  # (B, N, 5)
    return torch.stack([found[:, :, 0].sum(0), found.any(2).sum(0)])


# --- random numbers -------------------------------------------------------------------------------


@contextmanager
def own_numbers(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Lend torch's own generators, of the CPU and of a device, to layers that draw from them, seeded, and put them back."""
    place = torch.device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if place.type == "cuda":
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        yield


def generator(recipe: Recipe, purpose: int, number: int = 0) -> Generator:
    """Return a fresh generator for a purpose and an epoch; on the CPU, so that every device draws the same."""
    return Generator().manual_seed(seed_of(recipe, purpose, number))


def seed_of(recipe: Recipe, purpose: int, number: int = 0) -> int:
    """Return the seed of a purpose and an epoch, a whole number of 63 bits."""
    return int(np.random.SeedSequence((recipe.seed, purpose, number)).generate_state(1, np.uint64)[0] >> 1)

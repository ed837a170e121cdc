"""Distill blocks of one stage with weights of their own, all of them at once: stacked into one module of grouped convolutions.

Each block has the gradients that it would have alone (`search.training.stacked_modules`), and initial weights that depend on the
recipe's seed, the stage and the block, not on which others are trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import errors
from search.distillation.recipe import DistilRecipe
from search.distillation.teacher_features import FeatureMaps
from search.training.epochs import own_numbers
from search.training.memory import within_memory
from search.training.replayed import Replayed
from search.training.stacked_modules import repeated, stack_stages
from space import Block
from space.errors import HarnessError
from space.networks import AnyStage, build_stage
from space.stages import SpaceStage
from space.text import counted

_CHECK_EVERY = 32  # steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockGroup:
    """Blocks of a stage that are distilled by a recipe, on a device, `at_once` of them at a time."""

    stage: SpaceStage
    blocks: Sequence[Block]
    recipe: DistilRecipe
    device: str = "cpu"
    at_once: int = 1


def train_separate(
    group: BlockGroup, learned: FeatureMaps, progress: DistilProgress, on_epoch: Callable[[int], None]
) -> tuple[list[dict[str, Tensor]], list[list[float]]]:
    """Train blocks at once, each with weights of its own; return these and the history (epochs, blocks).

    `progress` keeps checkpoints after every epoch, to resume from; `on_epoch` takes each epoch's number.

    Raises:
        HarnessError: a loss is not finite, or memory ran out; the message names the block, or a batch that fits.
    """
    training, recipe, stage = _SeparateTraining(group, learned), group.recipe, group.stage.number
    history = progress.resume(training.network, training.optimizer)

    def all_epochs() -> None:
        for number in range(len(history) + 1, recipe.epochs + 1):
            with own_numbers(distil_seed(recipe, "layers", stage, group.blocks[0], number), group.device):
                history.append(training.epoch(number))
            progress.keep(training.network, training.optimizer, history)
            on_epoch(number)

    def trial(images: int) -> None:
        training.gradients.forget()
        training.step(torch.arange(images))

    what = f"distilling {counted(len(group.blocks), 'block')} of stage {stage} at once"
    within_memory(all_epochs, trial, recipe.batch, what)
    return training.network.unstacked(), history


class _SeparateTraining:
    """Stacked network and optimizer of a group of N blocks, and the feature maps that it learns from."""

    def __init__(self, group: BlockGroup, learned: FeatureMaps) -> None:
        self.group = group
        fresh = [fresh_stage(group.recipe, group.stage, block) for block in group.blocks]
        self.network = stack_stages(fresh, group.device)
        self.optimizer = optimizer_of(self.network, group.recipe)
        self.learned = learned.near(torch.device(group.device))
        self.variance = learned.variance.to(group.device)
        self.gradients = Replayed(self._take_gradients, self.network.parameters())

    def epoch(self, number: int) -> list[float]:
        """Take a step for each batch of one view of every image; return the mean loss of each block."""
        group, recipe = self.group, self.group.recipe
        self.network.train()
        count = len(self.learned) // recipe.views
        noise = Generator().manual_seed(distil_seed(recipe, "order", group.stage.number, number))
        order = torch.randperm(count, generator=noise)
        order += count * ((number - 1) % recipe.views)  # the next view of every image
        parts = torch.split(order.to(self.learned.inputs.device), recipe.batch)
        total, pending = torch.zeros(len(group.blocks), dtype=torch.float64), []
        for place, rows in enumerate(parts):
            set_rate(self.optimizer, recipe.rate_at((number - 1 + place / len(parts)) / recipe.epochs))
            pending.append(self.step(rows) * (len(rows) / count))
            if len(pending) == _CHECK_EVERY or place == len(parts) - 1:
                total += torch.stack(pending).cpu().double().sum(0)
                pending = []
                _check_finite(total, group.blocks, group.stage.number, number)
        losses: list[float] = total.tolist()
        return losses

    def step(self, rows: Tensor) -> Tensor:
        """Take a step on the feature maps of some images and return the losses, (N,)."""
        device = self.group.device
        (losses,) = self.gradients(
            self.learned.inputs[rows].to(device), self.learned.targets[rows].to(device)
        )
        self.optimizer.step()
        return losses

    def _take_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor]:
        answers = self.network(repeated(inputs, len(self.group.blocks)))
        mse, nsr = errors(answers, targets, self.variance)
        losses = nsr if self.group.recipe.loss == "nsr" else mse  # (N,)
        self.network.zero_grad()
        take_gradients(losses.sum())
        return (losses.detach(),)


def fresh_stage(recipe: DistilRecipe, stage: SpaceStage, block: Block) -> AnyStage:
    """Return a block of a stage with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(distil_seed(recipe, "weights", stage.number, str(block)))
        return build_stage(stage, block)


def optimizer_of(network: nn.Module, recipe: DistilRecipe) -> torch.optim.Adam:
    """Return the optimizer of blocks, which may have no weights at all."""
    groups = [{"params": list(network.parameters())}]
    return torch.optim.Adam(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next steps."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def take_gradients(loss: Tensor) -> None:
    """Compute the gradients of a loss; blocks without weights have none."""
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]


def distil_seed(recipe: DistilRecipe, *purpose: object) -> int:
    """Return a seed of 63 bits for a purpose, derived from the recipe's seed alone."""
    text = " ".join(map(str, (recipe.seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _check_finite(losses: Tensor, blocks: Sequence[Block], stage: int, number: int) -> None:
    for block, loss in zip(blocks, losses.tolist(), strict=True):
        if not math.isfinite(loss):
            raise HarnessError(
                f"distilling block {block} of stage {stage}: the loss of epoch {number} is {loss}; give the recipe a lower "
                "learning_rate"
            )

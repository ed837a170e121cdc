"""Distill blocks of one stage with weights of their own, all of them at once: stacked into one module of grouped convolutions.

Each block has the gradients that it would have alone (`search.training.stacked_modules`), and initial weights that depend on the
recipe's seed, the stage and the block, not on which others are trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

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


def train_separate(
    stage: SpaceStage,
    recipe: DistilRecipe,
    group: Sequence[Block],
    learned: FeatureMaps,
    device: str,
    progress: DistilProgress,
    on_epoch: Callable[[int], None],
) -> tuple[list[dict[str, Tensor]], list[list[float]]]:
    """Train blocks at once, each with weights of its own; return these and the history (epochs, blocks).

    `progress` keeps checkpoints after every epoch, to resume from; `on_epoch` takes each epoch's number.

    Raises:
        HarnessError: a loss is not finite, or memory ran out; the message names the block, or a batch that fits.
    """
    network = stack_stages([fresh_stage(recipe, stage, block) for block in group], device)
    optimizer = optimizer_of(network, recipe)
    history: list[list[float]] = []
    if former := progress.unfinished:
        network.load_state_dict(former["network"])
        optimizer.load_state_dict(former["optimizer"])
        history = former["history"]
    count = len(learned) // recipe.views
    learned = learned.near(torch.device(device))
    variance = learned.variance.to(device)

    def compute(inputs: Tensor, targets: Tensor) -> tuple[Tensor]:
        found = errors(network(repeated(inputs, len(group))), targets, variance)
        losses = found[1] if recipe.loss == "nsr" else found[0]  # (N,)
        network.zero_grad()
        take_gradients(losses.sum())
        return (losses.detach(),)

    gradients = Replayed(compute, network.parameters())

    def step(rows: Tensor) -> Tensor:
        (losses,) = gradients(learned.inputs[rows].to(device), learned.targets[rows].to(device))
        optimizer.step()
        return losses

    def epoch_of(number: int) -> list[float]:
        network.train()
        order = torch.randperm(
            count, generator=Generator().manual_seed(distil_seed(recipe, "order", stage.number, number))
        )
        order += count * ((number - 1) % recipe.views)  # the next view of every image
        order = order.to(learned.inputs.device)
        parts = torch.split(order, recipe.batch)
        total, pending = torch.zeros(len(group), dtype=torch.float64), []
        for place, rows in enumerate(parts):
            for group_ in optimizer.param_groups:
                group_["lr"] = recipe.rate_at((number - 1 + place / len(parts)) / recipe.epochs)
            pending.append(step(rows) * (len(rows) / count))
            if len(pending) == _CHECK_EVERY or place == len(parts) - 1:
                total += torch.stack(pending).cpu().double().sum(0)
                pending = []
                _check_finite(total, group, stage.number, number)
        losses: list[float] = total.tolist()
        return losses

    def all_epochs() -> None:
        for number in range(len(history) + 1, recipe.epochs + 1):
            with own_numbers(distil_seed(recipe, "layers", stage.number, group[0], number), device):
                history.append(epoch_of(number))
            progress.keep(network, optimizer, history)
            on_epoch(number)

    def trial(images: int) -> None:
        gradients.forget()
        step(torch.arange(images))

    what = f"distilling {counted(len(group), 'block')} of stage {stage.number} at once"
    within_memory(all_epochs, trial, recipe.batch, what)
    return network.unstacked(), history


def fresh_stage(recipe: DistilRecipe, stage: SpaceStage, block: Block) -> AnyStage:
    """Return a block of a stage with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(distil_seed(recipe, "weights", stage.number, str(block)))
        return build_stage(stage, block)


def optimizer_of(network: nn.Module, recipe: DistilRecipe) -> torch.optim.Adam:
    """Return the optimizer of blocks, which may have no weights at all."""
    groups = [{"params": list(network.parameters())}]
    return torch.optim.Adam(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def take_gradients(loss: Tensor) -> None:
    """Compute the gradients of a loss, none where it is of blocks without weights."""
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

"""Score the blocks of a stage by one weight-sharing supernet a stage, after DNA (Li et al. 2020, arXiv:1911.13053).

A stage's supernet holds each op once for the first place of a block and once for the last, and one reduction: all B blocks are
paths through these. It learns to turn the teacher's input of the stage into the teacher's output, each step along one random
path; then every block is judged, with the shared weights, on features that were held out. Shapes at the line ends are
(images, channels, height, width); C is the width of the stage.

From DNA it differs in that paths are drawn one a step and evenly, and that BatchNorm takes the statistics of the batch in
judging as in learning: running means would mix those of all paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from harness.errors import ConfigError, HarnessError
from space import Block, SpaceConfig
from space.networks import Reduction, build_op

if TYPE_CHECKING:
    from search.blockwise.distilling import DistilRecipe
    from search.training.images import Task
    from search.training.trained import Trained

FloatArray = NDArray[np.float64]

LOSSES = ("nsr", "mse")
_LEAST_VARIANCE = (
    1e-6  # of a channel that the teacher leaves at one value: its error is not divided by nothing
)
_CLIP = (
    1.0  # norm of a step's gradient: paths take turns, and one that is new to its neighbours may be far off
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What a teacher's stage reads and answers: `inputs` (n, C, H, W) and `targets` (n, 2C, H/2, W/2), float32."""

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or not len(self.inputs):
            raise ValueError(
                f"{len(self.inputs)} inputs and {len(self.targets)} targets; give one each, 1 or more"
            )


class Supernet(nn.Module):
    """All blocks of a stage over shared ops: `first` and `last`, an op each, and `reduction`."""

    def __init__(self, config: SpaceConfig, stage: int) -> None:
        super().__init__()
        width = config.widths[stage]
        self.first = nn.ModuleDict({op: build_op(op, width) for op in config.ops})
        self.last = nn.ModuleDict({op: build_op(op, width) for op in config.ops})
        self.reduction = Reduction(width)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """Map (B, C, H, W) to (B, 2C, H/2, W/2) along a block's path."""
        if block.op0 is None:
            cell = self.last[block.op1](x)
        else:
            node1 = self.first[block.op0](x)
            read = node1 + x if block.prev and block.inp else node1 if block.prev else x
            cell = self.last[block.op1](read)
            cell = cell + node1 if block.sc else cell
        y: Tensor = self.reduction(cell)
        return y


def train_supernet(
    teacher: Trained,
    task: Task,
    stage: int,
    recipe: DistilRecipe,
    device: str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
) -> FloatArray:
    """Train a stage's supernet on the teacher's features and return the scores of all blocks, (B,): lower is better.

    Features are those of the training images as they are, without augmentation; scores are on the validation images.

    Raises:
        ConfigError: the space has no such stage.
        HarnessError: a loss is not finite.
    """
    train, held_out = (stage_features(teacher, task, stage, part, device) for part in ("train", "val"))
    return supernet_scores(
        teacher.architecture.config,
        stage,
        train,
        held_out,
        epochs=recipe.epochs,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        loss=recipe.loss,
        seed=recipe.seed,
        on_epoch=on_epoch,
    )


def supernet_scores(
    config: SpaceConfig,
    stage: int,
    train: Features,
    held_out: Features,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    loss: str = "nsr",
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FloatArray:
    """Train a stage's supernet and return each block's loss on held-out features, (B,), in canonical order.

    The learning rate falls to 0 along half a cosine, step by step. `on_epoch` is told the number of the epoch, from 1, and its
    mean loss. On a CPU the same arguments give the same bits.

    Raises:
        ConfigError: the space has no such stage, or there is no such loss.
        HarnessError: a loss is not finite.
    """
    if not 0 <= stage < config.stages:
        raise ConfigError(
            f"supernet: space {config.name!r} has no stage {stage}; its stages are 0 to {config.stages - 1}"
        )
    if loss not in LOSSES:
        raise ConfigError(f"supernet: loss {loss!r}; choose one of {', '.join(LOSSES)}")
    device = train.inputs.device
    orders, paths = (Generator().manual_seed(2 * seed + purpose) for purpose in (0, 1))
    weights = _channel_weights(train.targets, loss)
    with torch.inference_mode(False), torch.enable_grad():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = Supernet(config, stage).to(device).train()
        optimizer = torch.optim.SGD(
            network.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        )
        count = len(train.inputs)
        steps, step = epochs * math.ceil(count / batch), 0
        for epoch in range(1, epochs + 1):
            losses = []
            for rows in torch.split(torch.randperm(count, generator=orders).to(device), batch):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
                block = config.blocks[int(torch.randint(len(config.blocks), (), generator=paths))]
                error = _error(network(train.inputs[rows], block), train.targets[rows], weights)
                optimizer.zero_grad()
                error.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
                optimizer.step()
                losses.append(error.detach())
                step += 1
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise HarnessError(
                    f"supernet of stage {stage}: the loss of epoch {epoch} is {mean}; give a lower learning_rate"
                )
            if on_epoch:
                on_epoch(epoch, mean)
    return judge_paths(network, config.blocks, held_out, weights, max(batch, 2))


@torch.no_grad()
def judge_paths(
    network: Supernet, blocks: Sequence[Block], held_out: Features, weights: Tensor, batch: int
) -> FloatArray:
    """Return each block's mean error on held-out features, (blocks,), with BatchNorm on the batch's statistics."""
    network.train()
    scores = []
    parts = _even(len(held_out.inputs), batch)
    for block in blocks:
        total = 0.0
        for rows in parts:
            inputs, targets = held_out.inputs[rows], held_out.targets[rows]
            total += float(_error(network(inputs, block), targets, weights)) * len(inputs)
        scores.append(total / len(held_out.inputs))
    return np.array(scores)


@torch.no_grad()
def stage_features(teacher: Trained, task: Task, stage: int, part: str, device: str = "cpu") -> Features:
    """Return what the teacher's stage reads and answers on the `train`, `val` or `test` images, without augmentation."""
    from search.training.augment import normalise
    from space.networks import build_network

    config = teacher.architecture.config
    if not 0 <= stage < config.stages:
        raise ConfigError(
            f"supernet: space {config.name!r} has no stage {stage}; its stages are 0 to {config.stages - 1}"
        )
    with torch.random.fork_rng(devices=[]):
        network = build_network(teacher.architecture)
    network.load_state_dict(dict(teacher.weights))
    network.to(device).eval()
    images = torch.tensor(getattr(task, part).images, device=device).permute(0, 3, 1, 2)
    inputs, targets = [], []
    for rows in torch.split(torch.arange(len(images)), 500):
        x = network.stem(normalise(images[rows], task.mean, task.std))
        for before in network.stages[:stage]:
            x = before(x)
        inputs.append(x)
        targets.append(network.stages[stage](x))
    return Features(inputs=torch.cat(inputs), targets=torch.cat(targets))


def additive_scores(scores: Mapping[int, FloatArray], digits: NDArray[np.int64]) -> FloatArray:
    """Return networks' scores, (n,), higher promising more: minus the sum of their blocks' errors, from digits (n, stages)."""
    total: FloatArray = np.sum([scores[stage][digits[:, stage]] for stage in range(digits.shape[1])], axis=0)
    return -total


def _channel_weights(targets: Tensor, loss: str) -> Tensor:
    """Return what each channel's squared error is multiplied by, (2C, 1, 1)."""
    if loss == "mse":
        return torch.ones(targets.shape[1], 1, 1, device=targets.device)
    variance = targets.var(dim=(0, 2, 3), correction=0)
    least = max(_LEAST_VARIANCE * float(variance.mean()), torch.finfo(variance.dtype).tiny)
    return (1 / variance.clamp(min=least))[:, None, None]


def _error(answers: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return ((answers - targets).square() * weights).mean()


def _even(count: int, batch: int) -> list[slice]:
    """Return slices of nearly equal length: BatchNorm's statistics of a short last batch would be another's."""
    parts = max(1, round(count / batch))
    ends = [count * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in pairwise(ends)]

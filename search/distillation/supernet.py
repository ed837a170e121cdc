"""Distill or score the blocks of a stage by one weight-sharing supernet, after DNA (Li et al. 2020, arXiv:1911.13053).

A stage's supernet holds each op once for the first place of a block and once for the last, and one reduction: all B blocks are
paths through these. In a chain it holds each candidate of each site. It learns to turn the teacher's input of the stage into the
teacher's output, each step along the paths that the recipe draws (`search.distillation.paths`): one random path, or one for each
op: a step costs 1/B of a step of all blocks, or ops/B. Shapes at the line ends are (images, channels, height, width); C is the
width of the stage.

To score blocks, every one is judged, with the shared weights, on features that were held out. From DNA it differs in that
BatchNorm takes the statistics of the batch in judging as in learning: running means would mix those of all paths. To distill
them, each takes the weights of its path, and the statistics of BatchNorm are recomputed along that path alone, as
single-path supernets do (Guo et al. 2020, arXiv:1904.00420, section 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import loaded_stages
from search.distillation.paths import path_sampler
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import (
    BlockGroup,
    distil_seed,
    optimizer_of,
    set_rate,
    take_gradients,
)
from search.distillation.teacher_features import FeatureMaps, StageTask, Views, teacher_features
from search.training.epochs import own_numbers
from search.training.history import EpochDone
from search.training.memory import within_memory
from search.training.stacked_modules import channels_first, repeated
from space import Block
from space.errors import HarnessError
from space.indexing import FloatArray
from space.layers import build_op
from space.networks import ChainStage, Reduction, Stage, build_chain_module
from space.stages import SpaceStage

CALIBRATION_IMAGES = 512  # of the first view, at most: BatchNorm's statistics of a block are of these


class CellSupernet(nn.Module):
    """All blocks of a stage over shared ops: `first` and `last`, an op each, and `reduction`."""

    def __init__(self, stage: SpaceStage) -> None:
        super().__init__()
        config, self.width = stage.config, stage.config.widths[stage.number]
        width = self.width
        self.first = nn.ModuleDict({op: build_op(op, width) for op in config.ops})
        self.last = nn.ModuleDict({op: build_op(op, width) for op in config.ops})
        self.reduction = Reduction(width)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """Map (B, C, H, W) to (B, 2C, H/2, W/2) along a block's path."""
        y: Tensor = self.path(block)(x)
        return y

    def path(self, block: Block) -> Stage:
        """Return a block's path as a stage, which shares its weights."""
        stage = Stage(block, self.width, lambda op, _: self.last[op], lambda _: self.reduction)
        if block.op0 is not None:
            stage.cell.op0 = self.first[block.op0]
        return stage


class SiteSupernet(nn.Module):
    """All candidates at the sites of a chain's stage: `sites[i][k]` is candidate k of the stage's i-th site."""

    def __init__(self, stage: SpaceStage) -> None:
        super().__init__()
        chain = stage.config.chain
        assert chain is not None
        self.stage, self.chosen = stage, [chain.sites[place] for place in stage.sites]
        self.sites = nn.ModuleList(
            nn.ModuleList(build_chain_module(module, chain) for module in site.candidates)
            for site in self.chosen
        )

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """Map the first site's input to the last site's output along a block's path."""
        y: Tensor = self.path(block)(channels_first(x))
        return y

    def path(self, block: Block) -> ChainStage:
        """Return a block's path as a stage, which shares its weights."""
        places = zip(self.stage.sites, self.chosen, self.sites, strict=True)
        return ChainStage(
            {place: modules[site.candidates.index(site.runs(block))] for place, site, modules in places}  # type: ignore[index]
        )


Supernet: TypeAlias = CellSupernet | SiteSupernet


def build_supernet(stage: SpaceStage) -> Supernet:
    """Build the supernet of a stage with fresh weights."""
    return CellSupernet(stage) if stage.config.chain is None else SiteSupernet(stage)


def train_supernet(
    stage_task: StageTask, recipe: DistilRecipe, on_epoch: Callable[[EpochDone], None] | None = None
) -> FloatArray:
    """Train a stage's supernet on the teacher's features and return the scores of all blocks, (B,): lower is better.

    The scores are the recipe's loss on the images for profiling; its `keep_own` has no meaning here.

    Raises:
        ConfigError: the space has no such stage, or the task does not fit it.
        HarnessError: a loss is not finite.
    """
    stage = stage_task.place
    group = BlockGroup(stage=stage, blocks=stage.blocks, recipe=recipe, device=stage_task.device)
    views = Views(count=recipe.views, augmentation=recipe.augmentation, seed=recipe.seed)
    with (
        teacher_features(stage_task, views=views) as train,
        teacher_features(stage_task, "profile") as held_out,
    ):
        return supernet_scores(group, train, held_out, on_epoch)


def supernet_scores(
    group: BlockGroup,
    train: FeatureMaps,
    held_out: FeatureMaps,
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> FloatArray:
    """Train the supernet of some blocks and return the loss of each of them on held-out features, (blocks,).

    The features of the recipe's `views` lie one after another, and an epoch sees one of them. On a CPU the same arguments
    give the same bits.

    Raises:
        HarnessError: a loss is not finite.
    """
    network, _ = learned_supernet(group, train, on_epoch=on_epoch)
    scale = _channel_scale(train, group)
    return judge_paths(network, group.blocks, held_out, scale, max(group.recipe.batch, 2))


def learned_supernet(
    group: BlockGroup,
    train: FeatureMaps,
    *,
    progress: DistilProgress | None = None,
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> tuple[Supernet, list[float]]:
    """Train a stage's supernet, each step along paths of some of the group's blocks; return it and each epoch's mean loss.

    `progress` keeps checkpoints after every epoch, to resume from.

    Raises:
        ConfigError: the recipe's paths cannot be drawn from these blocks.
        HarnessError: a loss is not finite, or memory ran out; the message names a batch that fits.
    """
    recipe, progress = group.recipe, progress or DistilProgress(None, {})
    with torch.inference_mode(False), torch.enable_grad():
        training = _SupernetTraining(group, train)
        history = progress.resume(training.network, training.optimizer)

        def all_epochs() -> None:
            for number in range(1, recipe.epochs + 1):
                steps = training.drawn(number)
                if number <= len(history):
                    continue  # finished before; its random numbers had to be drawn
                mean = training.epoch(number, steps)
                history.append([mean])
                progress.keep(training.network, training.optimizer, history)
                if on_epoch:
                    on_epoch(EpochDone(number=number, epochs=recipe.epochs, loss=mean))

        what = f"training the supernet of stage {group.stage.number}"
        within_memory(
            all_epochs, lambda images: training.step(torch.arange(images), [-1]), recipe.batch, what
        )
    return training.network, [mean for (mean,) in history]


class _SupernetTraining:
    """Supernet and optimizer of a group of blocks, the feature maps that it learns from, and its random numbers."""

    def __init__(self, group: BlockGroup, train: FeatureMaps) -> None:
        recipe = group.recipe
        self.group, self.sampler = group, path_sampler(recipe.paths, group.stage.ops, group.blocks)
        self.orders, self.paths = (Generator().manual_seed(2 * recipe.seed + purpose) for purpose in (0, 1))
        self.scale = _channel_scale(train, group)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)
            self.network = build_supernet(group.stage).to(group.device).train()
        self.optimizer = optimizer_of(self.network, recipe)
        self.train = train.near(torch.device(group.device))

    def drawn(self, number: int) -> list[tuple[Tensor, list[int]]]:
        """Draw the steps of an epoch: the rows of each batch, and the indices of the blocks that it trains."""
        recipe, count = self.group.recipe, len(self.train) // self.group.recipe.views
        order = torch.randperm(count, generator=self.orders) + (number - 1) % recipe.views * count
        parts = torch.split(order.to(self.train.inputs.device), recipe.batch)
        return [(rows, self.sampler.draw(self._below)) for rows in parts]

    def epoch(self, number: int, steps: Sequence[tuple[Tensor, list[int]]]) -> float:
        """Take the steps of an epoch and return the mean loss of its images."""
        recipe, stage = self.group.recipe, self.group.stage.number
        losses = []
        for place, (rows, drawn) in enumerate(steps):
            done = ((number - 1) * len(steps) + place) / (recipe.epochs * len(steps))
            set_rate(self.optimizer, recipe.rate_at(done))
            with own_numbers(distil_seed(recipe, "layers", stage, number, place), self.group.device):
                losses.append(self.step(rows, drawn) * len(rows))
        mean = float(torch.stack(losses).sum()) / sum(len(rows) for rows, _ in steps)
        if not math.isfinite(mean):
            raise HarnessError(
                f"supernet of stage {stage}: the loss of epoch {number} is {mean}; give a lower learning_rate"
            )
        return mean

    def step(self, rows: Tensor, drawn: Sequence[int]) -> Tensor:
        """Take a step on the feature maps of some images along the paths of the drawn blocks; return the mean loss."""
        device = self.group.device
        inputs, targets = self.train.inputs[rows].to(device), self.train.targets[rows].to(device)
        self.optimizer.zero_grad()
        losses = []
        for place in drawn:  # one path at a time: gradients add up, and only one path's activations are held
            loss = _error(self.network(inputs, self.group.blocks[place]), targets, self.scale)
            take_gradients(loss)
            losses.append(loss.detach())
        self.optimizer.step()
        return torch.stack(losses).mean()

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.paths))


def train_shared(
    group: BlockGroup, learned: FeatureMaps, progress: DistilProgress, on_epoch: Callable[[int], None]
) -> tuple[list[dict[str, Tensor]], list[list[float]]]:
    """Train the supernet of a stage; return each block's weights, and the history (epochs, blocks).

    In an epoch's history all blocks have the mean loss of the paths taken. BatchNorm's statistics are taken of the group's
    `at_once` blocks at a time. `on_epoch` takes each epoch's number.

    Raises:
        HarnessError: as `learned_supernet`.
    """
    network, losses = learned_supernet(
        group, learned, progress=progress, on_epoch=lambda epoch: on_epoch(epoch.number)
    )
    weights: list[dict[str, Tensor]] = []
    for first in range(0, len(group.blocks), group.at_once):
        some = replace(group, blocks=group.blocks[first : first + group.at_once])
        shared = [network.path(block).state_dict() for block in some.blocks]
        weights += calibrated(shared, some, learned)
    return weights, [[mean] * len(group.blocks) for mean in losses]


@torch.no_grad()
def calibrated(
    weights: Sequence[Mapping[str, Tensor]], group: BlockGroup, learned: FeatureMaps
) -> list[dict[str, Tensor]]:
    """Return blocks' weights with BatchNorm's statistics taken along each block alone: means over batches of one view."""
    network = loaded_stages(weights, group.blocks, group.stage, group.device)
    for norm in take_batch_statistics(network):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    count = min(len(learned) // group.recipe.views, CALIBRATION_IMAGES)
    # None of a single image.
    for rows in torch.arange(count).tensor_split(max(1, count // group.recipe.batch)):
        network(repeated(learned.inputs[rows].to(group.device), len(group.blocks)))
    return network.unstacked()


@torch.no_grad()
def judge_paths(
    network: Supernet, blocks: Sequence[Block], held_out: FeatureMaps, scale: Tensor, batch: int
) -> FloatArray:
    """Return each block's mean error on held-out features, (blocks,), with BatchNorm on the batch's statistics."""
    take_batch_statistics(network)
    scores = []
    parts = _even(len(held_out.inputs), batch)
    for block in blocks:
        total = 0.0
        for rows in parts:
            inputs, targets = (part[rows].to(scale.device) for part in (held_out.inputs, held_out.targets))
            total += float(_error(network(inputs, block), targets, scale)) * len(inputs)
        scores.append(total / len(held_out.inputs))
    return np.array(scores)


def take_batch_statistics(network: nn.Module) -> list[_BatchNorm]:
    """Put a network in evaluation mode, except BatchNorm, which takes the batch's statistics; return all of BatchNorm."""
    norms = [part for part in network.eval().modules() if isinstance(part, _BatchNorm)]
    for norm in norms:
        norm.train()
    return norms


def additive_scores(scores: FloatArray, choices: NDArray[np.int64]) -> FloatArray:
    """Return networks' scores, (n,), higher being better: minus the sum of block errors (stages, B) at `choices` (n, stages)."""
    total: FloatArray = scores[np.arange(len(scores)), choices].sum(axis=1)
    return -total


def _channel_scale(train: FeatureMaps, group: BlockGroup) -> Tensor:
    """Return the factor of each channel's squared error in the recipe's loss, (C', 1, 1)."""
    scale = 1 / train.variance if group.recipe.loss == "nsr" else torch.ones_like(train.variance)
    return scale[:, None, None].to(group.device)


def _error(answers: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    return ((answers - targets).square() * scale).mean()


def _even(count: int, batch: int) -> list[slice]:
    """Return slices of nearly equal length, for BatchNorm's statistics of a short last batch would differ from the others'."""
    parts = max(1, round(count / batch))
    ends = [count * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in pairwise(ends)]

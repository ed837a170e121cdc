"""Score the blocks of a stage by one weight-sharing supernet a stage, after DNA (Li et al. 2020, arXiv:1911.13053).

A stage's supernet holds each op once for the first place of a block and once for the last, and one reduction: all B blocks are
paths through these. In a chain it holds each candidate of each site. It learns to turn the teacher's input of the stage into the
teacher's output, each step along the paths that the recipe draws (`search.distillation.paths`): one random one, or one an op,
each op equally often; then every block is judged, with the shared weights, on features that were held out. Shapes at the line
ends are (images, channels, height, width); C is the width of the stage.

From DNA it differs in that BatchNorm takes the statistics of the batch in judging as in learning: running means would mix those
of all paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search.distillation.checkpoints import DistilProgress
from search.distillation.paths import path_sampler
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import distil_seed, optimizer_of, take_gradients
from search.distillation.teacher_features import FeatureMaps, stage_of, teacher_features
from search.training.epochs import own_numbers
from search.training.history import EpochDone
from search.training.memory import within_memory
from search.training.stacked_modules import channels_first
from space import Block
from space.errors import HarnessError
from space.indexing import FloatArray
from space.networks import ChainStage, Reduction, Stage, build_chain_module, build_op
from space.stages import SpaceStage

if TYPE_CHECKING:
    from search.training.images import Task
    from search.training.trained import Trained


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
        if block.op0 is None:
            cell = self.last[block.op1](x)
        else:
            node1 = self.first[block.op0](x)
            read = node1 + x if block.prev and block.inp else node1 if block.prev else x
            cell = self.last[block.op1](read)
            cell = cell + node1 if block.sc else cell
        y: Tensor = self.reduction(cell)
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
        """Map what the first site reads to what the last one gives along a block's path."""
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
    teacher: Trained,
    task: Task,
    stage: int,
    recipe: DistilRecipe,
    device: str = "cpu",
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> FloatArray:
    """Train a stage's supernet on the teacher's features and return the scores of all blocks, (B,): lower is better.

    The scores are the recipe's loss on the images for profiling; its `keep_own` has no meaning here.

    Raises:
        ConfigError: the space has no such stage, or the task does not fit it.
        HarnessError: a loss is not finite.
    """
    place = stage_of(teacher, task, stage)
    with (
        teacher_features(
            teacher,
            task,
            stage,
            views=recipe.views,
            augmentation=recipe.augmentation,
            seed=recipe.seed,
            device=device,
        ) as train,
        teacher_features(teacher, task, stage, "profile", device=device) as held_out,
    ):
        return supernet_scores(place, train, held_out, recipe, device, on_epoch)


def supernet_scores(
    stage: SpaceStage,
    train: FeatureMaps,
    held_out: FeatureMaps,
    recipe: DistilRecipe,
    device: str = "cpu",
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> FloatArray:
    """Train a stage's supernet and return the loss of each of its blocks on held-out features, (B,), in canonical order.

    The features of the recipe's `views` lie one after another, and an epoch sees one of them. On a CPU the same arguments
    give the same bits.

    Raises:
        HarnessError: a loss is not finite.
    """
    network, _ = learned_supernet(stage, stage.blocks, train, recipe, device, on_epoch=on_epoch)
    scale = _channel_scale(train, recipe.loss, device)
    return judge_paths(network, stage.blocks, held_out, scale, max(recipe.batch, 2))


def learned_supernet(
    stage: SpaceStage,
    blocks: Sequence[Block],
    train: FeatureMaps,
    recipe: DistilRecipe,
    device: str = "cpu",
    *,
    progress: DistilProgress | None = None,
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> tuple[Supernet, list[float]]:
    """Train a stage's supernet, each step along paths of some of `blocks`; return it and the mean loss of each epoch.

    `progress` keeps what is reached after every epoch, and what it holds is gone on from.

    Raises:
        ConfigError: the recipe's paths cannot be drawn from these blocks.
        HarnessError: a loss is not finite, or memory ran out; the message names a batch that fits.
    """
    sampler = path_sampler(recipe.paths, stage.ops, blocks)
    orders, paths = (Generator().manual_seed(2 * recipe.seed + purpose) for purpose in (0, 1))
    scale = _channel_scale(train, recipe.loss, device)
    with torch.inference_mode(False), torch.enable_grad():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)
            network = build_supernet(stage).to(device).train()
        optimizer = optimizer_of(network, recipe)
        history: list[float] = []
        if progress and (former := progress.unfinished):
            network.load_state_dict(former["network"])
            optimizer.load_state_dict(former["optimizer"])
            history = [mean for (mean,) in former["history"]]
        train = train.near(torch.device(device))
        count = len(train) // recipe.views
        parts = math.ceil(count / recipe.batch)

        def below(count: int) -> int:
            return int(torch.randint(count, (), generator=paths))

        def step(rows: Tensor, drawn: Sequence[int]) -> Tensor:
            inputs, targets = train.inputs[rows].to(device), train.targets[rows].to(device)
            optimizer.zero_grad()
            errors = []
            for (
                place
            ) in drawn:  # one after another: gradients add up, and a path's activations are all that is held
                error = _error(network(inputs, blocks[place]), targets, scale)
                take_gradients(error)
                errors.append(error.detach())
            optimizer.step()
            return torch.stack(errors).mean()

        def all_epochs() -> None:
            for epoch in range(1, recipe.epochs + 1):
                order = torch.randperm(count, generator=orders) + (epoch - 1) % recipe.views * count
                drawn = [sampler.draw(below) for _ in range(parts)]
                if epoch <= len(history):
                    continue  # done before; the numbers drawn for it are out of the way
                losses = []
                order = order.to(train.inputs.device)
                for place, rows in enumerate(torch.split(order, recipe.batch)):
                    for group in optimizer.param_groups:
                        group["lr"] = recipe.rate_at(((epoch - 1) * parts + place) / (recipe.epochs * parts))
                    with own_numbers(distil_seed(recipe, "layers", stage.number, epoch, place), device):
                        losses.append(step(rows, drawn[place]))
                mean = float(torch.stack(losses).mean())
                if not math.isfinite(mean):
                    raise HarnessError(
                        f"supernet of stage {stage.number}: the loss of epoch {epoch} is {mean}; give a lower learning_rate"
                    )
                history.append(mean)
                if progress:
                    progress.keep(network, optimizer, [[one] for one in history])
                if on_epoch:
                    on_epoch(EpochDone(number=epoch, epochs=recipe.epochs, loss=mean))

        what = f"training the supernet of stage {stage.number}"
        within_memory(all_epochs, lambda images: step(torch.arange(images), [-1]), recipe.batch, what)
    return network, history


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
    total: FloatArray = np.sum(
        [scores[stage][choices[:, stage]] for stage in range(choices.shape[1])], axis=0
    )
    return -total


def _channel_scale(train: FeatureMaps, loss: str, device: str) -> Tensor:
    """Return the factor of each channel's squared error, (C', 1, 1)."""
    scale = 1 / train.variance if loss == "nsr" else torch.ones_like(train.variance)
    return scale[:, None, None].to(device)


def _error(answers: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    return ((answers - targets).square() * scale).mean()


def _even(count: int, batch: int) -> list[slice]:
    """Return slices of nearly equal length: BatchNorm's statistics of a short last batch would be another's."""
    parts = max(1, round(count / batch))
    ends = [count * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in pairwise(ends)]

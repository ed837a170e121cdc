"""Distill the blocks of one stage with shared weights: a supernet a stage, after DNA (Li et al. 2020, arXiv:1911.13053), cut up.

In place of B blocks one supernet learns (module `supernet`), each step along the path of one random block, or of one an op
(`search.distillation.paths`): a step costs a B-th of what a step of all blocks costs, or as many B-ths as there are ops. Then
each block takes the weights of its path. What it cannot share are the statistics of BatchNorm, which would be those of all paths
mixed: they are recomputed along its own path, as single-path supernets do (Guo et al. 2020, arXiv:1904.00420, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import loaded_stages
from search.distillation.recipe import DistilRecipe
from search.distillation.supernet import Supernet, learned_supernet, take_batch_statistics
from search.distillation.teacher_features import FeatureMaps
from search.training.stacked_modules import repeated
from space import Block
from space.stages import SpaceStage

CALIBRATION_IMAGES = 512  # at most, of the first view: of how many BatchNorm takes a block's statistics

State = Mapping[str, Tensor]


def train_shared(
    stage: SpaceStage,
    recipe: DistilRecipe,
    blocks: Sequence[Block],
    at_once: int,
    learned: FeatureMaps,
    device: str,
    progress: DistilProgress,
    on_epoch: Callable[[int], None],
) -> tuple[list[dict[str, Tensor]], list[list[float]]]:
    """Train a stage's supernet and return each block's weights, and the history (epochs, blocks).

    Of an epoch all blocks have the mean loss of the paths taken. Statistics are taken of `at_once` blocks at a time. `on_epoch`
    is given the number of each epoch.

    Raises:
        HarnessError: as `learned_supernet`.
    """
    network, losses = learned_supernet(
        stage,
        blocks,
        learned,
        recipe,
        device,
        progress=progress,
        on_epoch=lambda epoch: on_epoch(epoch.number),
    )
    weights: list[dict[str, Tensor]] = []
    for first in range(0, len(blocks), at_once):
        group = blocks[first : first + at_once]
        states = [path_weights(network, block) for block in group]
        weights += calibrated(states, group, stage, learned, recipe, device)
    return weights, [[mean] * len(blocks) for mean in losses]


def path_weights(network: Supernet, block: Block) -> State:
    """Return the state dict of `space.networks.build_stage` that a block's path through a supernet is, sharing its tensors."""
    return {name: tensor.detach() for name, tensor in network.path(block).state_dict().items()}


@torch.no_grad()
def calibrated(
    weights: Sequence[State],
    blocks: Sequence[Block],
    stage: SpaceStage,
    learned: FeatureMaps,
    recipe: DistilRecipe,
    device: str,
) -> list[dict[str, Tensor]]:
    """Return blocks' weights with BatchNorm's statistics taken along each block alone: means over batches of one view."""
    network = loaded_stages(weights, blocks, stage, device)
    for norm in take_batch_statistics(network):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    count = min(len(learned) // recipe.views, CALIBRATION_IMAGES)
    for rows in torch.arange(count).tensor_split(max(1, count // recipe.batch)):  # none of a single image
        network(repeated(learned.inputs[rows].to(device), len(blocks)))
    return network.unstacked()

"""Distill the blocks of one stage with shared weights: a supernet a stage, after DNA (Li et al. 2020, arXiv:1911.13053), cut up.

In place of B blocks one supernet learns (module `supernet`), each step along the path of one random block, or of one block an op
(`search.distillation.paths`): a step costs 1/B of a step of all blocks, or ops/B. Then each block takes the weights of its path.
The statistics of BatchNorm cannot be shared, for they mix all paths: they are recomputed along each block's own path, as
single-path supernets do (Guo et al. 2020, arXiv:1904.00420, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import loaded_stages
from search.distillation.separate_weights import BlockGroup
from search.distillation.supernet import Supernet, learned_supernet, take_batch_statistics
from search.distillation.teacher_features import FeatureMaps
from search.training.stacked_modules import repeated
from space import Block

CALIBRATION_IMAGES = 512  # of the first view, at most: BatchNorm's statistics of a block are of these

State = Mapping[str, Tensor]


def train_shared(
    group: BlockGroup,
    at_once: int,
    learned: FeatureMaps,
    progress: DistilProgress,
    on_epoch: Callable[[int], None],
) -> tuple[list[dict[str, Tensor]], list[list[float]]]:
    """Train the supernet of a stage; return each block's weights, and the history (epochs, blocks).

    In an epoch's history all blocks have the mean loss of the paths taken. BatchNorm's statistics are taken of `at_once` blocks
    at a time. `on_epoch` takes each epoch's number.

    Raises:
        HarnessError: as `learned_supernet`.
    """
    network, losses = learned_supernet(
        group, learned, progress=progress, on_epoch=lambda epoch: on_epoch(epoch.number)
    )
    weights: list[dict[str, Tensor]] = []
    for first in range(0, len(group.blocks), at_once):
        some = replace(group, blocks=group.blocks[first : first + at_once])
        weights += calibrated([path_weights(network, block) for block in some.blocks], some, learned)
    return weights, [[mean] * len(group.blocks) for mean in losses]


def path_weights(network: Supernet, block: Block) -> State:
    """Return the state dict of a block's path through a supernet, as of `space.networks.build_stage`, sharing its tensors."""
    return {name: tensor.detach() for name, tensor in network.path(block).state_dict().items()}


@torch.no_grad()
def calibrated(weights: Sequence[State], group: BlockGroup, learned: FeatureMaps) -> list[dict[str, Tensor]]:
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

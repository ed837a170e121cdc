"""Losses of stacked blocks against a teacher's stage. Shapes are (batch, channels, height, width); N blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search.distillation.block_library import StageLibrary
from search.distillation.teacher_features import FeatureMaps
from search.training.stacked_modules import AnyStages, repeated, stack_stages
from space import Block
from space.indexing import FloatArray
from space.networks import stage_shapes
from space.stages import SpaceStage


def errors(answers: Tensor, targets: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the MSE and the NSR of N blocks, (N,) each, of answers (B, N*C, H, W) to targets (B, C, H, W).

    The NSR is the mean over channels of the channel's MSE over its `variance` (C,), DONNA's equation 1.
    """
    wanted = targets.permute(0, 2, 3, 1)  # (B, H, W, C)
    wrong = (
        answers.permute(0, 2, 3, 1).reshape(*wanted.shape[:3], -1, wanted.shape[3]) - wanted[:, :, :, None]
    )
    each = wrong.square().mean((0, 1, 2))  # (N, C)
    return each.mean(1), (each / variance).mean(1)


@torch.no_grad()
def judge_stages(
    network: AnyStages, features: FeatureMaps, batch: int, device: str
) -> tuple[FloatArray, FloatArray]:
    """Return MSE and NSR of stacked stages on features, float64 (N,) each, with the running means of BatchNorm."""
    network.eval()
    totals = torch.zeros(2, network.members, dtype=torch.float64)
    variance = features.variance.to(device)
    for begin in range(0, len(features), batch):
        rows = slice(begin, begin + batch)
        inputs, targets = features.inputs[rows].to(device), features.targets[rows].to(device)
        answers = network(repeated(inputs, network.members))
        totals += len(inputs) * torch.stack(errors(answers, targets, variance)).cpu().double()
    mse, nsr = (totals / len(features)).numpy()
    return mse, nsr


def stacked_stages(library: StageLibrary, device: str = "cpu") -> AnyStages:
    """Return all blocks of a distilled stage with their weights, stacked, in evaluation mode."""
    return loaded_stages(library.weights, library.blocks, library.place, device).eval()


def loaded_stages(
    weights: Sequence[Mapping[str, Tensor]], blocks: Sequence[Block], stage: SpaceStage, device: str
) -> AnyStages:
    """Return blocks of one stage with their weights, stacked."""
    return stack_stages([stage_shapes(stage, block) for block in blocks], device, weights)

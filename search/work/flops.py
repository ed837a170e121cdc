"""Costs of training and distillation: floating-point operations (FLOPs) by one rule, and wall time.

The rule: 2 operations a multiply-accumulate (MAC); a step of training is 3 passes, forward once and backward twice (once for
weights, once for activations). So training costs 3 x 2 x MACs x images x epochs. Training images and a teacher's passes over them
count; evaluation on validation images after an epoch does not, for any method. MACs are those of `space.costs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.distillation.paths import path_sampler
from space import SpaceConfig
from space.costs import network_cost, stage_costs, stem_cost
from space.indexing import blocks_of
from space.stages import SpaceStage

if TYPE_CHECKING:
    from search.distillation.recipe import DistilRecipe

OPERATIONS = 2  # of a MAC: a product and a sum
PASSES = 3  # of a training step, in forward passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Cost of work: FLOPs, networks trained or fine-tuned, and seconds on the machine that did it."""

    flops: float = 0.0
    networks: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            flops=self.flops + other.flops,
            networks=self.networks + other.networks,
            seconds=self.seconds + other.seconds,
        )


def training_flops(macs: float, images: int, epochs: int = 1) -> float:
    """Return training FLOPs for a network of `macs` MACs an image."""
    return float(PASSES * OPERATIONS * macs * images * epochs)


def forward_flops(macs: float, images: int) -> float:
    """Return the FLOPs of passing images through a network of `macs` MACs an image."""
    return float(OPERATIONS * macs * images)


def network_flops(config: SpaceConfig, index: int, images: int, epochs: int) -> float:
    """Return the FLOPs of training the network of a canonical index from scratch."""
    return training_flops(network_cost(config, index).macs, images, epochs)


def guided_flops(config: SpaceConfig, index: int, teacher: int, images: int, epochs: int) -> float:
    """Return the FLOPs of training a network while a teacher, both by canonical index, classifies the same images."""
    passes = forward_flops(network_cost(config, teacher).macs, images * epochs)
    return network_flops(config, index, images, epochs) + passes


def stage_macs(config: SpaceConfig, stage: int) -> list[int]:
    """Return the MACs of one image in each block of a stage and the rest of the stage, (B,); 0 for blocks of other stages."""
    return [cost.macs for cost in stage_costs(config)[stage]]


def teacher_macs(config: SpaceConfig, teacher: int, stages: int) -> int:
    """Return the MACs of one image in a network's stem and its first `stages` stages."""
    blocks = enumerate(blocks_of(config, teacher)[:stages])
    return stem_cost(config).macs + sum(stage_costs(config)[stage][block].macs for stage, block in blocks)


def supernet_flops(config: SpaceConfig, teacher: int, stage: int, images: int, recipe: DistilRecipe) -> float:
    """Return the expected FLOPs of training a stage's supernet, a step of which runs the blocks that the recipe's paths draw."""
    place = SpaceStage(config, stage)
    visits, macs = path_sampler(recipe.paths, place.ops, place.blocks).visits, stage_macs(config, stage)
    each = [macs[block] for block in config.choices[stage]]
    learned = training_flops(float(visits @ each), images, recipe.epochs)
    return learned + _teacher_flops(config, teacher, stage, images, recipe)


def recipe_flops(config: SpaceConfig, teacher: int, stage: int, images: int, recipe: DistilRecipe) -> float:
    """Return the FLOPs of distilling a stage by a recipe: of all blocks, or of a supernet and BatchNorm's statistics."""
    from search.distillation.supernet import CALIBRATION_IMAGES  # imports torch

    every = sum(stage_macs(config, stage))
    if recipe.shared:
        calibration = forward_flops(every, min(images, CALIBRATION_IMAGES))
        return supernet_flops(config, teacher, stage, images, recipe) + calibration
    learned = training_flops(every, images, recipe.epochs)
    return learned + _teacher_flops(config, teacher, stage, images, recipe)


def _teacher_flops(config: SpaceConfig, teacher: int, stage: int, images: int, recipe: DistilRecipe) -> float:
    """Return the FLOPs of a teacher that sees each view of the images once, whatever the number of epochs and blocks."""
    return forward_flops(teacher_macs(config, teacher, stage + 1), images * recipe.views)


def plugging_flops(config: SpaceConfig, teacher: int, images: int) -> float:
    """Return the FLOPs of evaluating the teacher with each block of each stage in place of its own: a forward pass for each.

    The stages before the replaced one count once, those from it on for each block.
    """
    whole, passes = network_cost(config, teacher).macs, 0.0
    for stage, own in enumerate(blocks_of(config, teacher)):
        before = teacher_macs(config, teacher, stage)
        after = whole - before - stage_macs(config, stage)[own]
        passes += before + sum(stage_macs(config, stage)[block] + after for block in config.choices[stage])
    return forward_flops(passes, images)


def mean_training_flops(config: SpaceConfig, indices: Iterable[int], images: int, epochs: int) -> float:
    """Return the mean FLOPs of training one of these networks: the unit of costs in reports."""
    each = [network_flops(config, index, images, epochs) for index in indices]
    return sum(each) / len(each)

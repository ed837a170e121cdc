"""Synthetic accuracies, to try and to test a search without trained networks.

They are no estimate of any real accuracy. All lie between 40 and 60 %, where no published accuracy of Blox lies. By the rule
`mixed`, of a network whose stages hold blocks of ops, these are added:

    depth       gain 1 - exp(-D / 30), D the units on the longest path through all blocks: it saturates over the whole network
    trouble     loss (max(0, S - 7) / 5) ** 2, S the units that no skip bridges on the shortest path: plain depth is hard
                to train, and harder the more of it other stages have
    capacity    gain log of the sum over the stages of what their ops weigh, a stage's share growing with its width
    attention   gain 1 - exp(-A), A a weighted count of mbconv, whose gates help most where few others have one
    mixture     gain for a block that adds the outputs of two different ops

By the rule `weakest` a network is as good as its weakest stage lets it be: the soft minimum over the stages, as
-log(mean(exp(-4 q))) / 4, of q = log(weight of the ops on the heaviest path through the block) + 0.3 log(number of paths).

Each op's traits and each term's weight vary with the seed by some 15 %, so that each seed is another landscape of the same kind.
The result is brought to mean 0 and deviation 1 over the space, x, and an accuracy is 50 + 8 tanh(0.3 x), and noise with a
deviation of 0.2 for each training, as seeds have.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator

from space import BLOX, Block, SpaceConfig, check_enumerable
from space.accuracies import Accuracies
from space.accuracies.accuracies import SYNTHETIC
from space.indexing import FloatArray, block_indices

Rule = Literal["mixed", "weakest"]

SEED_SD = 0.2  # points between two trainings of one network
_MIDDLE, _REACH = 50.0, 8.0  # percent
# Units on the longest and on the shortest path through an op, and its weight; others than Blox's ops are like the middle one.
_TRAITS = {"conv": (4.0, 4.0, 1.0), "mbconv": (4.0, 0.5, 1.5), "bconv": (6.0, 0.5, 0.6)}
_OTHER = (4.0, 2.0, 1.0)
_SIZES = np.array([2.2, 0.15, 1.0, 0.9, 0.15])  # of the five terms, in the order above


def synthetic_accuracies(
    config: SpaceConfig = BLOX,
    seed: int = 0,
    trainings: int = 1,
    missing: float = 0.0,
    rule: Rule = "mixed",
) -> Accuracies:
    """Return synthetic accuracies of all networks of a space, in percent; equal for equal arguments.

    `rule` is one of those above. `trainings` seeds are averaged for each network, and `missing`, a share from 0 to 1, says of
    how many networks, taken at random, there is none at all (NaN).

    Raises:
        ValueError: fewer than 1 training, or a share outside 0 to 1.
    """
    if trainings < 1 or not 0 <= missing <= 1:
        raise ValueError(
            f"{trainings} trainings and a missing share of {missing}; give at least 1, and 0 to 1"
        )
    check_enumerable(config, "synthetic accuracies", "take a space of fewer stages")
    landscape = (_mixed if rule == "mixed" else _weakest)(config, np.random.default_rng((seed, 0)))
    spread = float(landscape.std())
    scaled = (landscape - landscape.mean()) / (spread if spread > 0 else 1.0)
    truth = _MIDDLE + _REACH * np.tanh(0.3 * scaled)  # (networks,)
    noise = np.random.default_rng((seed, 1)).normal(0, SEED_SD, (trainings, len(config)))
    values = truth + noise.mean(axis=0)
    counts = np.full(len(config), trainings, dtype=np.int64)
    absent = np.random.default_rng((seed, 2)).random(len(config)) < missing
    values[absent], counts[absent] = np.nan, 0
    seed_sd = None
    if trainings > 1 and not absent.all():
        seed_sd = float(np.sqrt(noise[:, ~absent].var(axis=0, ddof=1).mean()))
    return Accuracies(
        metric=f"{SYNTHETIC}_top1",
        epoch="",
        seeds=tuple(range(trainings)),
        values=values,
        seed_counts=counts,
        seed_sd=seed_sd,
        origin=(f"{SYNTHETIC}:{seed}" if rule == "mixed" else f"{SYNTHETIC}:{rule}:{seed}",),
        synthetic=True,
        notes=("synthetic: made by a rule; no network was trained",),
        config=config,
    )


def _mixed(config: SpaceConfig, rng: Generator) -> FloatArray:
    """Return the rule's sum for each network, (len(config),)."""
    longest, shortest, weight = _traits(config, rng)
    rows = [
        (
            max(sum(longest[op] for op in path) for path in _paths(block)),
            min(sum(shortest[op] for op in path) for path in _paths(block)),
            sum(weight[op] for op in block.ops),
            block.ops.count("mbconv"),
            block.sc and block.op0 != block.op1,
        )
        for block in config.blocks
    ]
    deep, plain, capacity, attention, mixture = np.array(rows, dtype=np.float64).T  # (blocks,) each
    digits = block_indices(config, np.arange(len(config)))  # (networks, stages)
    share = np.linspace(0.6, 1.4, config.stages) * _jitter(rng, config.stages)
    terms = [
        1 - np.exp(-deep[digits].sum(axis=1) / 30),
        -((np.maximum(0, plain[digits].sum(axis=1) - 7) / 5) ** 2),
        np.log((capacity[digits] * share).sum(axis=1)),
        1 - np.exp(-(attention[digits] * share).sum(axis=1)),
        (mixture[digits] * share).sum(axis=1),
    ]
    sizes = _SIZES * _jitter(rng, len(_SIZES))
    total: FloatArray = sizes @ np.array(terms)  # (networks,)
    return total


def _weakest(config: SpaceConfig, rng: Generator) -> FloatArray:
    """Return the soft minimum over the stages of each network, (len(config),)."""
    _, _, weight = _traits(config, rng)
    heaviest = [max(sum(weight[op] for op in path) for path in _paths(block)) for block in config.blocks]
    paths = [len(_paths(block)) for block in config.blocks]
    quality = np.log(heaviest) + 0.3 * np.log(paths)  # (blocks,)
    shift = np.log(_jitter(rng, config.stages))  # stages differ in how much is enough
    reached = quality[block_indices(config, np.arange(len(config)))] + shift  # (networks, stages)
    weakest: FloatArray = -np.log(np.exp(-4 * reached).mean(axis=1)) / 4
    return weakest


def _traits(config: SpaceConfig, rng: Generator) -> list[dict[str, float]]:
    """Return the three traits, each by op."""
    traits = np.array([_TRAITS.get(op, _OTHER) for op in config.ops])
    return [
        dict(zip(config.ops, column.tolist(), strict=True))
        for column in (traits * _jitter(rng, traits.shape)).T
    ]


def _paths(block: Block) -> list[tuple[str, ...]]:
    """Return the ops on each path from a block's input to its output."""
    if block.op0 is None:
        return [(block.op1,)]
    every = ((block.prev, block.ops), (block.inp, (block.op1,)), (block.sc, (block.op0,)))
    return [path for is_there, path in every if is_there]


def _jitter(rng: Generator, shape: int | tuple[int, ...]) -> FloatArray:
    return np.exp(rng.normal(0, 0.15, shape))

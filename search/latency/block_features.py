"""Features of a network's blocks for latency prediction: numbers for each stage.

A space is the product of its stages, and each stage holds any of the B blocks. So a feature is a column of a table with a row
for each block, a network's features are the rows of its blocks side by side, and a linear predictor over the whole
space is `stages` columns of B contributions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from space import SpaceConfig
from space.indexing import FloatArray, IndexArray


@lru_cache(maxsize=64)
def block_features(config: SpaceConfig) -> FloatArray:
    """Return a row for each block in canonical order, shape (B, 2 * ops + 3), or (B, ops) where no block has two ops.

    Then, as in a user's own space, the columns count the one op, which is in the last place.

    Else the columns are: a count of each op before the last one (slot 0), a count of each op in the last place (slot 1), whether
    a sum enters the last op, whether a sum leaves the block, and whether the block's input enters the last op or that sum:
    9 columns for the 3 ops of Blox, 27 over its stages. The array is read-only, as those of other features are.
    """
    if all(block.op0 is None for block in config.blocks):
        return read_only([[float(op == block.op1) for op in config.ops] for block in config.blocks])
    rows = []
    for block in config.blocks:
        first = [float(op == block.op0) for op in config.ops]
        last = [float(op == block.op1) for op in config.ops]
        rows.append([*first, *last, float(block.prev and block.inp), float(block.sc), float(block.inp)])
    return read_only(rows)


def read_only(values: ArrayLike) -> FloatArray:
    """Return the array read-only, for a function that returns it again and again."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def last_op(config: SpaceConfig) -> slice:
    """Return the places of the columns that count the last op."""
    ops = len(config.ops)
    return slice(0, ops) if block_features(config).shape[1] == ops else slice(ops, 2 * ops)


@lru_cache(maxsize=64)
def pair_features(config: SpaceConfig) -> FloatArray:
    """Return the products of a block's features that can differ from 0, shape (B, ops**2 + 6 * ops), or (B, 0) of single ops.

    The ops of slots 0 and 1 together, then each op with each of the three flags of the wiring: an op may be fused
    with the one after it, or with the sum that it feeds.
    """
    rows, ops = block_features(config), len(config.ops)
    if rows.shape[1] == ops:
        return read_only(rows[:, :0])
    first, last, flags = rows[:, :ops], rows[:, ops : 2 * ops], rows[:, 2 * ops :]
    pairs = first[:, :, None] * last[:, None, :]  # (B, ops, ops)
    wired = rows[:, : 2 * ops, None] * flags[:, None, :]  # (B, 2 * ops, 3)
    return read_only(np.hstack([pairs.reshape(len(rows), -1), wired.reshape(len(rows), -1)]))


@lru_cache(maxsize=64)
def border_features(config: SpaceConfig) -> FloatArray:
    """Return joint features of two blocks on either side of a reduction, shape (B, B, ops**2), the earlier block first.

    The products of the earlier one's last op and of the later one's first: both ops of a parallel block are its first. Of mean 0
    and deviation 1 over all pairs.
    """
    ops, blocks = config.ops, config.blocks
    ends = np.array([[float(op == block.op1) for op in ops] for block in blocks])
    begins = np.array(
        [[float(op in (block.ops if not block.prev else block.ops[:1])) for op in ops] for block in blocks]
    )
    products = (ends[:, None, :, None] * begins[None, :, None, :]).reshape(len(blocks) ** 2, -1)
    return read_only(standardized(products).reshape(len(blocks), len(blocks), -1))


def standardized(table: FloatArray) -> FloatArray:
    """Return a table of blocks with columns of mean 0 and deviation 1, or 0 where a column is constant.

    Every block is equally frequent in every stage of the space, so mean and deviation are those over the whole space and do not
    depend on the networks measured.
    """
    spread = table.std(axis=0)
    scaled: FloatArray = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def rows_of(table: FloatArray, choices: IndexArray) -> FloatArray:
    """Return networks' features, (n, stages * columns), from a table of blocks and the networks' blocks."""
    return table[choices].reshape(len(choices), -1)


def stage_effects(config: SpaceConfig, values: FloatArray) -> FloatArray:
    """Return the effect of each block in each stage on the mean of `values` over the space, shape (stages, B).

    `values` has shape (len(config),). Since the space is a full product, these are the least-squares additive effects. A block
    that a stage does not have has the effect 0 there.
    """
    cube = values.reshape(config.radices[::-1])  # the last stage changes most slowly: it is axis 0
    effects = np.zeros((config.stages, len(config.blocks)))
    for stage, places in enumerate(config.choices):
        others = tuple(axis for axis in range(config.stages) if axis != config.stages - 1 - stage)
        effects[stage, list(places)] = cube.mean(axis=others) - values.mean()
    return effects


def stage_means(config: SpaceConfig, table: FloatArray) -> FloatArray:
    """Return the mean over the space of the features of each stage's block, (stages, F), from a table of blocks (B, F)."""
    return np.stack([table[list(places)].mean(axis=0) for places in config.choices])

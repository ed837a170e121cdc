"""Signatures as features: a row for each stage and block; unknown ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.distillation.signatures import LATENCY, Signatures
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray, block_indices

HIGHER_IS_BETTER = ("accuracy_change", "agreement")
POSITIVE = ("mse", "nsr", "params", "macs")  # and latencies: their ratios count, not their differences
FLOOR = 0.01  # of a stage's median: below it two blocks are held to be equally good, and a logarithm exists
_CONSTANT = 1e-12  # of a column's largest value: less variation is rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignatureFeatures:
    """The chosen `columns` of signatures: `table`, (stages, B, columns), NaN where unknown."""

    config: SpaceConfig
    columns: tuple[str, ...]
    table: FloatArray

    @property
    def known(self) -> NDArray[np.bool_]:
        """Mask of the blocks with all columns known, (stages, B)."""
        return np.asarray(np.isfinite(self.table).all(axis=2))

    def check(self, indices: IndexArray) -> None:
        """Refuse networks (n,) outside the space, and networks with a block that lacks a column.

        Raises:
            ConfigError: names the network, or the stage, the block and the column.
        """
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self.config)):
            worst = indices.min() if indices.min() < 0 else indices.max()
            raise ConfigError(
                f"network {worst} is not in space {self.config.name!r} of {len(self.config)} networks"
            )
        if self.known.all():
            return
        choices = block_indices(self.config, indices)
        unknown = ~self.known[np.arange(self.config.stages), choices]  # (n, stages)
        if unknown.any():
            row, stage = np.argwhere(unknown)[0].tolist()
            block = choices[row, stage]
            column = self.columns[int(np.argmin(np.isfinite(self.table[stage, block])))]
            remedy = (
                "measure networks with it" if column.startswith(LATENCY) else "distill and score that block"
            )
            raise ConfigError(
                f"signatures: {column} of block {self.config.blocks[block]} in stage {stage} is unknown, and "
                f"network {indices[row]} has it; {remedy}, or leave out networks with it"
            )

    def scaled(self, *, logarithms: bool, by_stage: bool = True) -> FloatArray:
        """Return the table with columns of mean 0 and deviation 1 over the known blocks, 0 where unknown or constant.

        `logarithms`: of columns that are positive by nature. `by_stage`: scale each stage by itself, else all together. Mean and
        deviation are of all blocks, so that they do not depend on the few networks of known accuracy.
        """
        table = self.table.copy()
        for place, name in enumerate(self.columns):
            if logarithms and is_positive(name):
                table[:, :, place] = [_logarithms(row) for row in table[:, :, place]]
        groups = [[stage] for stage in range(len(table))] if by_stage else [list(range(len(table)))]
        for stages in groups:
            for place in range(table.shape[2]):
                table[stages, :, place] = _scaled(table[stages, :, place])
        return table


def features_of(signatures: Signatures, columns: Sequence[str]) -> SignatureFeatures:
    """Take columns of signatures as features.

    Raises:
        ConfigError: no column is named, one twice, or one that the signatures lack.
    """
    names = tuple(columns)
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"columns {', '.join(names) or 'none'}: name at least one column of the signatures, each once"
        )
    table = np.stack([signatures.column(name) for name in names], axis=2)
    return SignatureFeatures(config=signatures.config, columns=names, table=table)


def is_positive(name: str) -> bool:
    """Return whether a column is positive, so that its logarithm makes sense."""
    return name in POSITIVE or name.startswith(LATENCY)


def _logarithms(row: FloatArray) -> FloatArray:
    """Return a stage's logarithms, (B,), of values of at least `FLOOR` of the median; the values themselves if that is 0."""
    known = row[np.isfinite(row)]
    floor = FLOOR * float(np.median(known)) if len(known) else 0.0
    return np.log(np.maximum(row, floor)) if floor > 0 else row


def _scaled(values: FloatArray) -> FloatArray:
    known = values[np.isfinite(values)]
    if not len(known) or np.ptp(known) <= _CONSTANT * np.abs(known).max():
        return np.zeros_like(values)
    scaled: FloatArray = np.nan_to_num((values - known.mean()) / known.std(), nan=0.0)
    return scaled

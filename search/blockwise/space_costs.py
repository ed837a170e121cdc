"""Costs of a space's networks, and latencies of its blocks, as a blockwise search takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.table import Cost
from search.table.costs import AdditiveCosts, TabulatedCosts
from space.indexing import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceCosts:
    """Costs of networks by name, all `TabulatedCosts` where `is_listed`, else all `AdditiveCosts`, for integer programs.

    `blocks`: latencies of single blocks as columns of signatures, "latency:NAME" -> (stages, B) in ms, NaN where unknown;
    `sources`: where each column is from. `unseen`, (stages, B): blocks whose sums are not known, so that they are not chosen.
    """

    costs: Mapping[str, TabulatedCosts | AdditiveCosts]
    blocks: Mapping[str, FloatArray]
    sources: Mapping[str, str]
    is_listed: bool
    unseen: BoolArray | None = None

    def known(self, scores: FloatArray) -> FloatArray:
        """Return scores of blocks, (stages, B), with NaN for those that are not to be chosen."""
        return scores if self.unseen is None else np.where(self.unseen, np.nan, scores)

    @property
    def listed(self) -> dict[str, Cost]:
        """The costs as columns of a table of all networks."""
        return {name: one.cost for name, one in self.costs.items() if isinstance(one, TabulatedCosts)}

    @property
    def summed(self) -> dict[str, AdditiveCosts]:
        """The costs as sums over blocks."""
        return {name: one for name, one in self.costs.items() if isinstance(one, AdditiveCosts)}

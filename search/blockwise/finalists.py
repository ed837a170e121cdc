"""Finalists: the K best predicted networks within the limits, kept diverse.

Networks next to each other in a ranking often differ in one block only, and what a predictor gets wrong of the one it
gets wrong of the other. So finalists are chosen by one greedy rule, with a distance D: each is the best network whose blocks
differ in at least D stages from every finalist before it. Where no such network is left and finalists are still
wanted, D is lowered by one and the rule continues, down to 1, at which any other network will do. LANA (Molchanov et al. 2021,
arXiv:2107.10624) collects about 100 solutions of its integer program in this way, each limited in what it has in common with
those before.

`from_scores` looks at every network of a space that can be enumerated, `from_list` at those it is given, and
`search.blockwise.by_integer_program` at those that come first in a space of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.blockwise.defaults import DISTANCE
from space import SpaceConfig
from space.hash_table import network_key
from space.indexing import BoolArray, FloatArray, IndexArray, block_indices, index_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finalists:
    """Networks in the order in which they were chosen.

    `choices`, int64 (K, stages), are their block indices; `scores`, float64 (K,), what they were chosen by, higher is better;
    `distances`, int64 (K,), the distance that held when each was chosen, so that they never rise.
    """

    choices: IndexArray
    scores: FloatArray
    distances: IndexArray

    def __len__(self) -> int:
        return len(self.choices)

    def indices(self, config: SpaceConfig) -> list[int]:
        """Return the networks' canonical indices as whole numbers of any size."""
        return [index_of(config, row) for row in self.choices.tolist()]

    def each_once(self, config: SpaceConfig) -> Finalists:
        """Return each network once, by the first of its names."""
        first: dict[int | bytes, int] = {}
        for place, index in enumerate(self.indices(config)):
            first.setdefault(network_key(config, index), place)
        return self.at(list(first.values()))

    def at(self, places: Sequence[int]) -> Finalists:
        """Return those at some places."""
        return Finalists(
            choices=self.choices[places], scores=self.scores[places], distances=self.distances[places]
        )


def from_scores(
    config: SpaceConfig, scores: FloatArray, allowed: BoolArray, count: int, *, distance: int = DISTANCE
) -> Finalists:
    """Choose up to `count` networks by their scores (len(config),), higher first, among those allowed (len(config),).

    Networks whose score is NaN are not chosen. Of equal scores the earlier network in canonical order comes first.
    Fewer come back only where fewer are allowed. A distance beyond the number of stages is taken as that number.

    Raises:
        ValueError: the arrays are not of the space, or count or distance is below 1.
    """
    if scores.shape != (len(config),) or allowed.shape != scores.shape:
        raise ValueError(f"scores {scores.shape}, allowed {allowed.shape}: give one a network, {len(config)}")
    left = np.flatnonzero(allowed & ~np.isnan(scores))
    return from_list(block_indices(config, left), scores[left], count, distance=distance)


def from_list(
    choices: IndexArray, scores: FloatArray, count: int, *, distance: int = DISTANCE, least: int = 1
) -> Finalists:
    """Choose up to `count` networks, by block indices `choices` (n, stages), by their scores (n,), higher first.

    Of equal scores the earlier in the list comes first. The distance is lowered to `least` at most.

    Raises:
        ValueError: count or distance is below 1.
    """
    stages = choices.shape[1]
    if count < 1 or distance < 1:
        raise ValueError(f"{count} finalists at distance {distance}: give at least 1 of each")
    reach = min(distance, stages)
    order = np.argsort(-scores, kind="stable")
    choices, scores = choices[order], scores[order]
    chosen: list[int] = []
    distances: list[int] = []
    nearest = np.full(len(choices), stages, dtype=np.int64)  # stages, to the nearest finalist so far
    while len(chosen) < count and reach >= least:
        free = np.flatnonzero(nearest >= reach)
        if not len(free):
            reach -= 1
            continue
        best = int(free[0])
        chosen.append(best)
        distances.append(reach)
        nearest = np.minimum(nearest, (choices != choices[best]).sum(axis=1))
    return Finalists(
        choices=choices[chosen], scores=scores[chosen], distances=np.array(distances, dtype=np.int64)
    )

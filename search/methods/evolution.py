"""Regularized evolution (Real et al. 2019, arXiv:1802.01548): the pool forgets its oldest network, not its worst."""

from __future__ import annotations

from collections import deque

import numpy as np

from search.methods.method import Problem
from space.indexing import FloatArray, IndexArray, available, block_indices, indices_of

POOL = 64  # networks that may become parents
TOURNAMENT = 10  # drawn from the pool, with replacement as in the paper; the best of them becomes the parent


class Evolution:
    """Regularized evolution; a mutation replaces one stage's block by another.

    It begins with `pool` networks, random ones or those that the warm-up's proxy prefers, but at most half of the budget, so that
    the other half evolves. A child is drawn uniformly from the parent's mutants that are allowed and not yet evaluated; a parent
    without any is replaced by a random allowed network, so that a search in a corner of the space does not get stuck.
    """

    def __init__(self, problem: Problem, *, pool: int = POOL) -> None:
        self._problem = problem
        self._rng = problem.rng()
        self._size = min(pool, max(1, problem.budget // 2))
        self._pool: deque[tuple[int, float]] = deque(maxlen=self._size)  # the oldest falls out first
        self._open = problem.allowed.copy()

    def ask(self) -> IndexArray:
        """Return the first pool, then one child at a time."""
        wanted = self._child() if self._pool else self._problem.first(self._size, self._rng)
        self._open[wanted] = False
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Add the networks to the pool as its youngest; of the first ones, those that a proxy prefers stay longest."""
        entrants = list(zip(indices.tolist(), scores.tolist(), strict=True))
        self._pool.extend(reversed(entrants))

    def _child(self) -> IndexArray:
        entrants = self._rng.integers(len(self._pool), size=TOURNAMENT)
        parent, _ = max((self._pool[i] for i in entrants), key=lambda entrant: entrant[1])
        mutants = self._mutants(parent)
        mutants = mutants[self._open[mutants]]
        if len(mutants):
            return self._rng.choice(mutants, size=1)
        return self._rng.permutation(np.flatnonzero(self._open))[:1]

    def _mutants(self, parent: int) -> IndexArray:
        """Return all networks that differ from the parent in one stage, in Blox (stages * (B - 1),)."""
        config = self._problem.config
        count, stages = len(config.blocks), np.arange(config.stages)
        blocks = np.tile(block_indices(config, [parent]), (config.stages, count, 1))
        blocks[stages, :, stages] = np.arange(count)  # stage by stage, each block there
        mutants = indices_of(config, blocks[available(config)])
        others: IndexArray = mutants[mutants != parent]
        return others

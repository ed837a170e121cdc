"""Methods that do not learn: random search (the baseline), exhaustive search, and the ranking of a zero-cost proxy.

Ranking by proxies: Abdelfattah et al. 2021, arXiv:2101.08134.
"""

from __future__ import annotations

import numpy as np

from search.methods.method import Problem
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

BATCH = 1000  # networks asked for at once; a search's progress moves so often


class RandomSearch:
    """Random search: allowed networks in uniformly random order."""

    def __init__(self, problem: Problem) -> None:
        self._left = problem.draw(problem.budget, problem.rng())

    def ask(self) -> IndexArray:
        """Return the next networks of the random order."""
        wanted, self._left = self._left[:BATCH], self._left[BATCH:]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""


class Exhaustive:
    """Exhaustive search: all allowed networks in canonical order, as far as the budget goes."""

    def __init__(self, problem: Problem) -> None:
        self._left = np.flatnonzero(problem.allowed)

    def ask(self) -> IndexArray:
        """Return the next networks of the canonical order."""
        wanted, self._left = self._left[:BATCH], self._left[BATCH:]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""


class Ranked:
    """Random allowed networks in the order of a proxy's scores: `pool` of them, or as many as the budget if that is more.

    With a budget as large as the pool the proxy decides only the order, and the best network found is that of random search.

    Raises:
        ConfigError: the problem has no proxy.
    """

    def __init__(self, problem: Problem) -> None:
        if problem.warm_up is None:
            raise ConfigError(
                "method 'ranked' asks in the order of a proxy; name the proxy, such as 'synflow'"
            )
        self._wanted = problem.first(problem.budget, problem.rng())

    def ask(self) -> IndexArray:
        """Return all networks in the proxy's order, once."""
        wanted, self._wanted = self._wanted, self._wanted[:0]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""

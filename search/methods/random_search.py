"""Methods that do not learn: random search (the baseline), exhaustive search, and the ranking of a zero-cost proxy.

Ranking by proxies: Abdelfattah et al. 2021, arXiv:2101.08134.
"""

from __future__ import annotations

from search.methods.method import Problem
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

BATCH = 1000  # networks asked for at once; a search's progress moves so often


class InOrder:
    """Search in a given order of networks (n,)."""

    def __init__(self, networks: IndexArray) -> None:
        self._left = networks

    def ask(self) -> IndexArray:
        """Return the next networks of the order."""
        wanted, self._left = self._left[:BATCH], self._left[BATCH:]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""


def random_search(problem: Problem) -> InOrder:
    """Return the search of allowed networks in uniformly random order."""
    return InOrder(problem.draw(problem.budget, problem.rng()))


def ranked(problem: Problem) -> InOrder:
    """Return the search in the order of a proxy's scores of random allowed networks: of `pool`, or of the budget if that is more.

    With a budget as large as the pool the proxy decides only the order, and the best network found is that of random search.

    Raises:
        ConfigError: the problem has no proxy.
    """
    if problem.warm_up is None:
        raise ConfigError("method 'ranked' asks in the order of a proxy; name the proxy, such as 'synflow'")
    return InOrder(problem.first(problem.budget, problem.rng()))

"""Look at the networks that a zero-cost proxy prefers, best first (Abdelfattah et al. 2021, arXiv:2101.08134)."""

from __future__ import annotations

from search.methods.contract import Problem
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray


class Ranked:
    """Ask in the order of a proxy's scores for random allowed networks: `pool` of them, or the budget where that is more.

    So a budget as large as the pool leaves the proxy only the order, and the best network found is that of random search.

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

"""Look at random allowed networks: what a method has to beat."""

from __future__ import annotations

from search.methods.contract import Problem
from space.indexing import FloatArray, IndexArray

BATCH = 1000  # networks asked for at once; a search's progress moves so often


class RandomSearch:
    """Ask for allowed networks in random order, each as probable as any other."""

    def __init__(self, problem: Problem) -> None:
        self._left = problem.draw(problem.budget, problem.rng())

    def ask(self) -> IndexArray:
        """Return the next networks of the random order."""
        wanted, self._left = self._left[:BATCH], self._left[BATCH:]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""

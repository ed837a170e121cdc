"""Look at every allowed network in canonical order: what other methods are judged by, where a table holds every accuracy."""

from __future__ import annotations

import numpy as np

from search.methods.contract import Problem
from space.indexing import FloatArray, IndexArray

BATCH = 10_000  # networks asked for at once; a search's progress moves so often


class Exhaustive:
    """Ask for all allowed networks, the first ones first; a budget below their number sees only those."""

    def __init__(self, problem: Problem) -> None:
        self._left = np.flatnonzero(problem.allowed)

    def ask(self) -> IndexArray:
        """Return the next networks of the canonical order."""
        wanted, self._left = self._left[:BATCH], self._left[BATCH:]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""

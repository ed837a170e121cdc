"""Search in rounds with a predictor of accuracy, after BRP-NAS (Dudziak et al. 2020, arXiv:2007.08668).

The first round asks for random networks (or those that a warm-up's proxy prefers). Before every later round the predictor is
fitted to all evaluations and ranks all allowed networks. Half of a round are the best predicted ones; the other half are drawn
from the top of the ranking, first its better half, then half of that in each round, down to `TOP_ROUNDS` rounds' worth (this
module's choice). The second half keeps a predictor that is wrong in one corner of the space from searching only there.

`gcn` learns accuracies, `gcn-binary` which of two networks is better. Their predictor is smaller than BRP-NAS's and trained for
fewer epochs at a higher rate: a tenth of the time for some 0.01 of Kendall's tau (`benchmarks/predictors.py`). A search
of 100 evaluations fits it four times and ranks all allowed networks each time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.methods.method import Method, Problem
from space.indexing import FloatArray, IndexArray

ROUND = 20  # evaluations a round, as in Blox's use of the method: 5 rounds of 20
TOP_ROUNDS = 5  # rounds that the top to draw from holds at least
GCN_CONFIG = GcnConfig(width=200, epochs=100, learning_rate=2e-3)
GCN_PAIRS_CONFIG = GcnConfig(width=200, epochs=100, learning_rate=2e-3, pairs=True)


class Predictor(Protocol):
    """A predictor that ranks networks; one object a search, with its own source of randomness."""

    def fit(self, indices: IndexArray, scores: FloatArray) -> None:
        """Refit on all networks evaluated (n,), n of 1 or more, and their accuracies (n,) in percent."""
        ...

    def predict(self, indices: IndexArray) -> FloatArray:
        """Return a score for each network, (n,): higher promises more; no other scale is assumed. n may be the whole space."""
        ...


class PredictorLoop:
    """Search in rounds for the networks that a predictor prefers; the method behind `linear` and `gcn`."""

    def __init__(self, problem: Problem, predictor: Predictor, *, size: int = ROUND) -> None:
        """Take a problem and a predictor; `size` is the number of evaluations a round.

        The first round takes at most half of the budget, so that a fitted predictor is used.
        """
        self._problem = problem
        self._predictor = predictor
        self._size = size
        self._rng = problem.rng()
        self._asked = np.zeros(len(problem.config), dtype=np.bool_)
        self._known: list[tuple[IndexArray, FloatArray]] = []

    def ask(self) -> IndexArray:
        """Return the networks of the next round, at most `size`."""
        if not self._known:
            wanted = self._problem.first(min(self._size, max(1, self._problem.budget // 2)), self._rng)
        else:
            wanted = self._next()
        self._asked[wanted] = True
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Keep the accuracies; the predictor is fitted when the next round is asked for."""
        self._known.append((indices, scores))

    def _next(self) -> IndexArray:
        open_ = np.flatnonzero(self._problem.allowed & ~self._asked)
        if len(open_) <= self._size:
            return open_
        self._predictor.fit(
            np.concatenate([indices for indices, _ in self._known]),
            np.concatenate([scores for _, scores in self._known]),
        )
        predicted = self._predictor.predict(open_)
        if not np.isfinite(predicted).all():
            raise ValueError(f"{type(self._predictor).__name__} predicted scores that are not finite")
        # Equal predictions are ordered by chance: canonical order would prefer some blocks of the last stage.
        ranked = open_[np.lexsort((self._rng.random(len(open_)), -predicted))]
        best = (self._size + 1) // 2
        narrowed = len(ranked) >> min(len(self._known), 62)
        top = ranked[best : max(narrowed, TOP_ROUNDS * self._size)]
        drawn = self._rng.choice(top, size=min(self._size - best, len(top)), replace=False)
        return np.concatenate([ranked[:best], drawn])


def gcn(problem: Problem, config: GcnConfig = GCN_CONFIG) -> Method:
    """Return the method with a predictor of accuracies, or with `pairs` of the better of two networks."""
    return PredictorLoop(problem, GcnPredictor(problem.config, config, problem.seed))

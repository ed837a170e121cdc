"""Search by an integer program over the accuracy that a fit attributes to each block of each stage.

As LANA (Molchanov et al. 2021, arXiv:2107.10624) with a fit in place of distilled blocks: half of the budget goes to random
networks (or those that a warm-up's proxy prefers), a ridge attributes their accuracies to blocks, and the program chooses the
networks with the best sums, which are evaluated in rounds, each with a new fit.
"""

from __future__ import annotations

import numpy as np

from search.integer_program.solve import Limit, additive_part, choice_limits, in_order
from search.latency.block_features import block_features, pair_features, rows_of, standardized
from search.methods.method import Problem
from search.methods.predictor_loop import ROUND
from search.methods.ridge import fit_ridge_cv
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, block_indices, index_of

TRIES = 250 * ROUND  # choices of the program that are looked through for a round's networks
LOOSER = 3.0  # deviations: networks that cost less than their blocks do are often the best within a limit
JITTER = 1e-6  # of the widest stage's scores: orders equal fits at random
_PAIR_SCALE = 0.3  # products are shrunk more, as in `search.methods.ridge`


class IntegerProgramSearch:
    """Search with random networks first, then with the best allowed choices of an integer program.

    A limited cost enters the program by its additive part. For the rest, the program's limit is `LOOSER` deviations looser, and
    choices that are not allowed are skipped. Where it finds too few allowed networks, random ones fill the round.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rng = problem.rng()
        self._asked = np.zeros(len(problem.config), dtype=np.bool_)
        self._known: list[tuple[IndexArray, FloatArray]] = []
        self._tables = _tables(problem.config)
        self._limits = choice_limits(problem.config) + [_limit(problem, name) for name in problem.limits]

    def ask(self) -> IndexArray:
        """Return half of the budget at first, then a round of planned networks."""
        if self._known:
            wanted = self._planned()
            if len(wanted) < ROUND:
                without = self._asked.copy()
                without[wanted] = True
                wanted = np.append(wanted, self._problem.draw(ROUND - len(wanted), self._rng, without))
        else:
            wanted = self._problem.first(max(1, self._problem.budget // 2), self._rng)
        self._asked[wanted] = True
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Keep the accuracies for the next fit."""
        self._known.append((indices, scores))

    def _planned(self) -> IndexArray:
        """Return up to a round of networks from the program's best, best first."""
        config, found = self._problem.config, []
        if (self._problem.allowed & ~self._asked).any():
            for tried, choice in enumerate(in_order(self._scores(), self._limits), start=1):
                index = index_of(config, choice.blocks)
                if self._problem.allowed[index] and not self._asked[index]:
                    found.append(index)
                if len(found) == ROUND or tried == TRIES:
                    break
        return np.array(found, dtype=np.int64)

    def _scores(self) -> FloatArray:
        """Return the accuracy that each block adds in each stage, (stages, B)."""
        config = self._problem.config
        indices = np.concatenate([indices for indices, _ in self._known])
        told = np.concatenate([scores for _, scores in self._known])
        digits = block_indices(config, indices)
        fit = fit_ridge_cv([rows_of(table, digits) for table in self._tables], told)
        slopes = fit.slopes.reshape(config.stages, -1)  # (stages, columns)
        scores = slopes @ self._tables[fit.chosen].T
        spread = float(np.ptp(scores, axis=1).max())
        return scores + self._rng.normal(0, JITTER * spread if spread > 0 else 1.0, scores.shape)


def _tables(config: SpaceConfig) -> list[FloatArray]:
    """Return features of each block (B, columns), plainest first: its ops and wiring, with their products, itself."""
    cells = standardized(block_features(config))
    pairs = _PAIR_SCALE * standardized(pair_features(config))
    return [cells, np.hstack([cells, pairs]), np.eye(len(config.blocks))]


def _limit(problem: Problem, name: str) -> Limit:
    config, values = problem.config, problem.costs[name]
    effects, constant = additive_part(config, values)
    digits = block_indices(config, np.arange(len(config)))
    additive = constant + effects[np.arange(config.stages), digits].sum(axis=1)
    # Where an interval's end has to meet the limit, no allowed network's own cost comes near it.
    upper = min(problem.limits[name], float(np.nanmax(values[problem.allowed])))
    return Limit(
        name=name,
        costs=effects,
        constant=constant,
        upper=upper + LOOSER * float((values - additive)[np.isfinite(values)].std()),
    )

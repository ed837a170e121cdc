"""Searches of the study over the networks of the ground truth; each accuracy costs a training.

Four need no preparation: random, evolution, and the loops with a linear and a graph convolutional predictor, which are the
product's own methods with smaller rounds for the smaller budget. The others prepare a score for each network (by a zero-cost
proxy, a supernet a stage, or the signatures of distilled blocks), and train networks in its order. DONNA trains some random
networks first, fits a second-order regression on signatures to them, and continues in the order of its predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.methods.evolution import Evolution
from search.methods.method import Method, Problem, search
from search.methods.predictor_loop import Predictor, PredictorLoop
from search.methods.random_search import random_search
from search.methods.ridge import SecondOrder
from search.study.truth import GroundTruth
from space.indexing import FloatArray, IndexArray

# Networks a round of the loops with a predictor, and those that evolution begins with: five rounds in a budget of 40, and less
# than the cost at which it is said who beats random search, for until then each of them is random search.
ROUND = 8
# For fits to some ten networks, many times.
GCN: Mapping[str, Any] = {"width": 64, "epochs": 100, "learning_rate": 4e-3}
Fit = Callable[[IndexArray, FloatArray], FloatArray]  # networks (n,), accuracies (n,) -> scores of the space

# Searches that need no preparation, with their descriptions.
PLAIN = {
    "random": "random order",
    "evolution": f"regularized evolution from a pool of {ROUND}, one block mutates",
    "linear": f"rounds of {ROUND} by a second-order ridge on op counts and wiring",
    "gcn": f"rounds of {ROUND} by a graph convolutional network",
}


def problem_of(truth: GroundTruth, budget: int, seed: int) -> Problem:
    """Return the problem of searching the ground truth by training `budget` networks."""
    return Problem(
        config=truth.config, allowed=truth.allowed, budget=min(budget, len(truth.indices)), seed=seed
    )


def training_order(name: str, truth: GroundTruth, budget: int, seed: int) -> IndexArray:
    """Return the networks that a method of `PLAIN` trained, in order."""
    problem = problem_of(truth, budget, seed)
    trace = search(name, _plain(name, problem), problem, lambda indices: truth.val[truth.places(indices)])
    return trace.indices


def random_first(name: str, budget: int) -> int:
    """Return the number of random networks that a method of `PLAIN` trains first; 0 for random search."""
    return 0 if name == "random" else min(ROUND, max(1, budget // 2))


def ordered_search(scores: FloatArray, truth: GroundTruth, budget: int, seed: int) -> IndexArray:
    """Return the first networks by their scores (n,), those of the ground truth in its order, higher first; ties by chance.

    Raises: ValueError where a score is not finite.
    """
    if scores.shape != truth.indices.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores {scores.shape} of {len(truth.indices)} networks, or some not finite")
    chance = np.random.default_rng(seed).random(len(scores))
    return truth.indices[np.lexsort((chance, -scores))][:budget]


def fitted_search(fit: Fit, truth: GroundTruth, first: int, budget: int, seed: int) -> IndexArray:
    """Return `first` random networks, then the best ones by a fit to these, in order."""
    problem = problem_of(truth, budget, seed)
    rng = problem.rng()
    known = problem.first(min(first, problem.budget), rng)
    rest = np.setdiff1d(truth.indices, known)
    scores = fit(known, truth.val[truth.places(known)])[rest]
    if not np.isfinite(scores).all():
        raise ValueError("the fit predicts scores that are not finite")
    ranked = rest[np.lexsort((rng.random(len(rest)), -scores))]
    return np.append(known, ranked)[: problem.budget]


def fitted_scores(name: str, truth: GroundTruth, first: int, seed: int) -> FloatArray:
    """Fit the predictor of `linear` or `gcn` to `first` random networks and predict all of the truth, (n,); NaN for the
    fitted."""
    problem = problem_of(truth, max(first, 2), seed)
    known = problem.first(first, problem.rng())
    predictor = _predictor(name, problem)
    predictor.fit(known, truth.val[truth.places(known)])
    return without_fitted(predictor.predict(truth.indices), truth, known)


def without_fitted(predicted: FloatArray, truth: GroundTruth, known: IndexArray) -> FloatArray:
    """Return predictions of the truth's networks (n,) with NaN for those `known` to the predictor."""
    found = predicted.astype(np.float64, copy=True)
    found[truth.places(known)] = np.nan
    return found


def _plain(name: str, problem: Problem) -> Method:
    if name == "random":
        return random_search(problem)
    if name == "evolution":
        return Evolution(problem, pool=ROUND)
    return PredictorLoop(problem, _predictor(name, problem), size=ROUND)


def _predictor(name: str, problem: Problem) -> Predictor:
    if name == "linear":
        return SecondOrder(problem.config)
    if name == "gcn":
        return GcnPredictor(problem.config, GcnConfig(**GCN), problem.seed)
    raise ValueError(f"{name!r} is no search of {', '.join(PLAIN)}, or has no predictor")

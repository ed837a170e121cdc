"""The contract of search methods: the problem, the ask-and-tell protocol, and the loop that enforces budget and constraints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Protocol

import numpy as np
from numpy.random import Generator

from space import SpaceConfig
from space.errors import ConfigError, HarnessError, shown
from space.indexing import BoolArray, FloatArray, IndexArray

Proxy = Callable[[IndexArray], FloatArray]  # networks (n,) -> scores (n,): higher promises more
Evaluate = Callable[[IndexArray], FloatArray]  # networks (n,) -> accuracies (n,), in percent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A search problem, as a method knows it before its first evaluation.

    `allowed`, bool (len(config),): networks that meet every constraint and have an accuracy; a method may ask for these alone.
    `budget`: evaluations. `costs` and `limits` are the same constraints as numbers, for methods that plan with them: costs
    (len(config),) by name, and the upper limit of each. `warm_up`: a zero-cost proxy by which a method picks its first
    networks from `pool` random allowed ones, in place of taking random ones.
    """

    config: SpaceConfig
    allowed: BoolArray
    budget: int
    seed: int
    costs: Mapping[str, FloatArray] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    warm_up: Proxy | None = None
    pool: int = 100

    def __post_init__(self) -> None:
        if self.allowed.shape != (len(self.config),):
            raise ValueError(f"allowed has shape {self.allowed.shape}, not ({len(self.config)},)")
        for name, value in (("budget", self.budget), ("seed", self.seed)):
            if not isinstance(value, Integral):
                raise ConfigError(f"{name} = {shown(value)}: give a whole number")
        if self.budget < 1:
            raise ConfigError(f"a budget of {self.budget} evaluations finds nothing; give 1 or more")
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}: give 0 or more")
        if not self.allowed.any():
            raise ConfigError("no network meets the constraints; loosen one")

    def rng(self) -> Generator:
        """Return a fresh generator; equal for equal seeds."""
        return np.random.default_rng(self.seed)

    def draw(self, count: int, rng: Generator, without: BoolArray | None = None) -> IndexArray:
        """Return `count` random allowed networks, or as many as there are, none of those marked in `without`.

        With a smaller count they are the first ones of a larger count: methods that begin with different counts begin alike.
        """
        open_ = np.flatnonzero(self.allowed if without is None else self.allowed & ~without)
        return rng.permutation(open_)[:count]

    def first(self, count: int, rng: Generator) -> IndexArray:
        """Return the networks to begin with: random ones, or the best of `pool` by the warm-up's proxy."""
        if self.warm_up is None:
            return self.draw(count, rng)
        pool = self.draw(max(count, self.pool), rng)
        return pool[np.argsort(-self.warm_up(pool), kind="stable")[:count]]


class Method(Protocol):
    """A search method: asks for networks, receives their accuracies; one object a search, reproducible by the problem's seed."""

    def ask(self) -> IndexArray:
        """Return the networks to evaluate next, (n,): allowed, none of them asked for before; empty when there are no more."""
        ...

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Take the accuracies (n,) of the networks asked for last, fewer where the budget ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Evaluations of a search in order: networks (n,) and their accuracies (n,); `seconds` are the method's own."""

    method: str
    seed: int
    indices: IndexArray
    scores: FloatArray
    seconds: float

    @property
    def best_so_far(self) -> FloatArray:
        """Highest accuracy after each evaluation, (n,)."""
        return np.maximum.accumulate(self.scores)

    @property
    def best(self) -> int:
        """Network with the highest accuracy; of equal ones the first evaluated."""
        return int(self.indices[np.argmax(self.scores)])


def search(
    name: str,
    method: Method,
    problem: Problem,
    evaluate: Evaluate,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Trace:
    """Run a method until its budget is spent or it asks for no more networks.

    `on_progress` takes the number of evaluations so far. Their time does not count into `seconds`.

    Raises:
        HarnessError: the method asked for a network that is not allowed, for one twice, or for none: it is broken.
    """
    asked: list[IndexArray] = []
    told: list[FloatArray] = []
    seen = np.zeros(len(problem.config), dtype=np.bool_)
    left, seconds = problem.budget, 0.0
    while left:
        begin = time.perf_counter()
        wanted = np.asarray(method.ask(), dtype=np.int64)[:left]
        seconds += time.perf_counter() - begin
        if not len(wanted):
            break
        inside = wanted.min() >= 0 and wanted.max() < len(seen)
        if not inside or len(np.unique(wanted)) < len(wanted) or (seen | ~problem.allowed)[wanted].any():
            raise HarnessError(
                f"method {name!r} asked for networks that are not allowed, or for one twice: {shown(wanted.tolist())}; "
                "this is a defect of the method, report it"
            )
        seen[wanted] = True
        scores = evaluate(wanted)
        asked.append(wanted)
        told.append(scores)
        left -= len(wanted)
        on_progress(problem.budget - left)
        begin = time.perf_counter()
        method.tell(wanted, scores)
        seconds += time.perf_counter() - begin
    if not asked:
        raise HarnessError(f"method {name!r} asked for no network; this is a defect of the method, report it")
    return Trace(
        method=name,
        seed=problem.seed,
        indices=np.concatenate(asked),
        scores=np.concatenate(told),
        seconds=seconds,
    )

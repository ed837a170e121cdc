"""Compare search methods: each with the same seeds, the same constraints and the same budget of evaluations.

The measure is the regret after each evaluation: the accuracy of the best allowed network of the whole table (the exhaustive
answer) minus that of the best one found so far, in points. It is in the table's own accuracies: where these are noisy, the best
of the table is partly lucky, and a regret below the noise means nothing.

Not compared: the cost of an evaluation (some networks take longer to train), the cost of measuring latencies, and
hyperparameters, which are those of each method's module. A method's own time is reported next to its regret. Scoring by a
zero-cost proxy evaluates no accuracy and counts as time of the method that uses it: in full for each method, also where another
one has scored the network before.

Seeds are paired: with one seed every method has the same problem and the same generator, so methods that draw equally many first
networks begin with the same ones. Seeds are the outer loop, so that a method that fails does so early, and progress is even.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from search.methods.method import Problem, Proxy, Trace
from search.methods.registry import parse_method, run
from search.methods.regret import MethodRegret, RegretRun, regret, summarize_runs
from search.table import NetworkTable
from search.table.constraints import Constraint, allowed, bound
from search.table.costs import meets
from space.errors import ConfigError, HarnessError
from space.indexing import FloatArray, IndexArray

POOL = 100  # random networks that a proxy chooses from
RANDOM = "random"

# Takes method, seed, and the total number of evaluations; a run that is done counts in full.
Progress = Callable[[str, int, int], None]
ProxyOf = Callable[[str, int], Proxy]  # of a proxy's name and the seed of the untrained weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodComparison:
    """Runs of all methods, and the table that they searched.

    `label` describes the accuracies and `limits` the constraints, both with the word synthetic where values are made up.
    `allowed` of `networks` meet the limits and have an accuracy. `best` is the first of the most accurate of these.
    `tested_label` describes the test accuracies of the networks found; empty without any.
    """

    label: str
    limits: tuple[str, ...]
    networks: int
    allowed: int
    best: int
    best_accuracy: float
    budget: int
    seeds: tuple[int, ...]
    methods: tuple[MethodRegret, ...]
    tested_label: str = ""

    @property
    def random_evaluations(self) -> dict[str, int]:
        """Number of first evaluations, by method, that are those of random search in every run.

        Methods that share none are left out, and all are where random search was not run.
        """
        random = next((one.runs for one in self.methods if one.method == RANDOM), ())
        shared = {
            one.method: min(map(_in_common, one.runs, random))
            for one in self.methods
            if random and one.method != RANDOM
        }
        return {method: count for method, count in shared.items() if count}


def _in_common(run: RegretRun, other: RegretRun) -> int:
    """Return the number of first evaluations that two runs have in common."""
    count = min(len(run.trace.indices), len(other.trace.indices))
    same = run.trace.indices[:count] == other.trace.indices[:count]
    return count if same.all() else int(np.argmin(same))


def run_comparison(
    table: NetworkTable,
    constraints: Sequence[Constraint],
    methods: Sequence[str],
    seeds: Sequence[int],
    budget: int,
    *,
    confident: bool = False,
    pool: int = POOL,
    proxy_of: ProxyOf | None = None,
    on_progress: Progress = lambda method, seed, done: None,
) -> MethodComparison:
    """Search with every method and every seed; accuracies are read from the table.

    `methods` are texts as `search.methods.registry.parse_method` reads them; `proxy_of` makes the proxies that they name.
    Raises: ConfigError for an unknown method, or when no network meets the constraints, or one limits what the table lacks;
    HarnessError naming method and seed when a method fails: a comparison has no gaps.
    """
    named = {text: parse_method(text)[1] for text in methods}
    if not named or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"methods {list(methods)} and seeds {list(seeds)}: give one or more, each seed once")
    if any(named.values()) and proxy_of is None:
        raise ConfigError(
            f"{', '.join(text for text in named if named[text])}: there is nothing to score with"
        )
    problem = make_problem(table, constraints, budget=budget, seed=seeds[0], confident=confident, pool=pool)
    open_ = np.flatnonzero(problem.allowed)
    scores = table.accuracy.values
    best = int(open_[np.argmax(scores[open_])])
    runs: dict[str, list[RegretRun]] = {text: [] for text in named}
    done = 0
    for seed in seeds:
        scorers = {name: _Scorer(proxy_of(name, seed)) for name in set(named.values()) if name and proxy_of}
        for text, proxy in named.items():
            posed = replace(problem, seed=seed, warm_up=scorers[proxy] if proxy else None)
            trace = _searched(text, posed, scores, _counting(on_progress, text, seed, done))
            if proxy:
                trace = replace(trace, seconds=trace.seconds + scorers[proxy].settle())
            is_within = all(
                meets(table.cost(one.subject).at(trace.best), one, confident=confident) for one in constraints
            )
            tested = float(table.shown[0].values[trace.best]) if table.shown else math.nan
            runs[text].append(
                RegretRun(
                    trace=trace,
                    regret=regret(trace, float(scores[best]), budget),
                    meets=is_within,
                    tested=tested,
                )
            )
            done += budget
            on_progress(text, seed, done)
    return MethodComparison(
        label=table.accuracy.label,
        limits=tuple(_in_words(table, constraint, confident) for constraint in constraints),
        networks=len(table.config),
        allowed=len(open_),
        best=best,
        best_accuracy=float(scores[best]),
        budget=budget,
        seeds=tuple(seeds),
        methods=tuple(summarize_runs(text, found) for text, found in runs.items()),
        tested_label=table.shown[0].label if table.shown else "",
    )


def make_problem(
    table: NetworkTable,
    constraints: Sequence[Constraint],
    *,
    budget: int,
    seed: int,
    confident: bool = False,
    pool: int = POOL,
) -> Problem:
    """Return the problem of searching the table within the constraints.

    Raises: ConfigError when no network meets them, or one limits what the table lacks.
    """
    costs: dict[str, FloatArray] = {}
    limits: dict[str, float] = {}
    for constraint in (c for c in constraints if c.is_upper):
        name = constraint.subject
        costs[name] = bound(constraint, table.cost(name), confident)
        limits[name] = min(constraint.limit, limits.get(name, constraint.limit))
    return Problem(
        config=table.config,
        allowed=allowed(table, constraints, confident=confident),
        budget=budget,
        seed=seed,
        costs=costs,
        limits=limits,
        pool=pool,
    )


@dataclass(slots=True, eq=False)
class _Scorer:
    """A proxy that scores a network once and keeps the seconds, which count for each method that asks for the score."""

    proxy: Proxy
    known: dict[int, tuple[float, float]] = field(default_factory=dict)  # network: score, seconds
    owed: float = 0.0

    def __call__(self, indices: IndexArray) -> FloatArray:
        for index in indices.tolist():
            if index in self.known:
                self.owed += self.known[index][1]
                continue
            begin = time.perf_counter()
            score = float(self.proxy(np.array([index]))[0])
            self.known[index] = (score, time.perf_counter() - begin)
        return np.array([self.known[index][0] for index in indices.tolist()])

    def settle(self) -> float:
        """Return the seconds owed for scores that were known already, since the last call."""
        owed, self.owed = self.owed, 0.0
        return owed


def _searched(text: str, problem: Problem, scores: FloatArray, on_progress: Callable[[int], None]) -> Trace:
    """Run a method; an exception of its own becomes an error that names it and the seed."""
    try:
        return run(text, problem, lambda indices: scores[indices], on_progress)
    except HarnessError as error:
        kind = ConfigError if isinstance(error, ConfigError) else HarnessError
        raise kind(f"method {text!r} with seed {problem.seed}: {error}") from error
    except Exception as error:
        raise HarnessError(
            f"method {text!r} with seed {problem.seed} failed: {type(error).__name__}: {error}; see where with --debug, or "
            "compare the others without it"
        ) from error


def _counting(on_progress: Progress, text: str, seed: int, before: int) -> Callable[[int], None]:
    return lambda count: on_progress(text, seed, before + count)


def _in_words(table: NetworkTable, constraint: Constraint, confident: bool) -> str:
    cost = table.cost(constraint.subject)
    manner = f" (with {cost.coverage:.0%} confidence)" if confident and cost.coverage is not None else ""
    return f"{'synthetic ' if cost.synthetic else ''}{constraint}{manner}"

"""Run a search, or a comparison of search methods, on a store: join, search, and measure the best where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.measurement.campaign import Outcome
from harness.models.exported import ExportObserver
from harness.query.answer import ParetoFront, SearchAnswer
from harness.query.by_objective import ObjectiveAnswer, ObjectiveFront, search_by_objective
from harness.query.join import SearchTable
from harness.query.query import Query
from harness.query.search import EXHAUSTIVE, answer_in, batch_for, proxies_on, search
from harness.query.verify import (
    AnyAnswer,
    searched_configurations,
    searched_devices,
    verify_finalists,
)
from harness.store import Store
from search.blockwise.sum_front import FRONT_POINTS
from search.methods.comparison import POOL, MethodComparison, run_comparison
from search.methods.registry import parse_method
from space.errors import HarnessError
from space.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """Request of a search: a query, and how `harness.search` is to answer it.

    `pareto`: the costs of a front over accuracy and these. `verify`: how many of the best networks to measure, on the devices of
    the query's file; `wait_s`: for how long one in use is waited for. Raises: ConfigError for an unknown method.
    """

    query: Query
    method: str = EXHAUSTIVE
    budget: int = 100
    seed: int = 0
    proxy_pool: int = POOL
    proxy_batch: Path | None = None
    pareto: tuple[str, ...] = ()
    verify: int | None = None
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        parse_method(self.method)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Searched:
    """Result of any search: the outcomes of the campaigns that measured finalists."""

    outcomes: tuple[Outcome, ...] = ()

    @property
    def exit_status(self) -> int:
        """The command's exit status, the worst of the campaigns'."""
        return max((outcome.exit_status for outcome in self.outcomes), default=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchResult(_Searched):
    """The answer, a Pareto front where one was asked for, and the outcomes of the campaigns that measured finalists."""

    answer: SearchAnswer
    front: ParetoFront | None


def run_search(
    request: SearchRequest,
    store: Store,
    *,
    observe: Callable[[], AbstractContextManager[ExportObserver]],
    log: Callable[[str], None],
) -> SearchResult:
    """Search what a store holds, and measure the best networks where that is asked for; `observe` follows their campaigns.

    Raises: ConfigError as `Query.build_table` and `harness.search`, and when a device to measure on is not in devices.toml.
    """
    query = replace(request.query.with_devices(store), with_far=request.verify is not None)

    trace = None

    def search_now(log_joining: Callable[[str], None]) -> SearchAnswer:
        nonlocal trace
        table = query.build_table(store, log_joining)
        if trace is not None:  # a method would draw other networks by now
            return answer_in(table, query.constraints, confident=query.confident, trace=trace)
        found = search(
            table,
            query.constraints,
            method=request.method,
            budget=request.budget,
            seed=request.seed,
            confident=query.confident,
            proxy_pool=request.proxy_pool,
            proxy_batch=request.proxy_batch,
            log=log,
        )
        trace = found.trace
        return found

    answer, outcomes = _verified(search_now, request, store, observe, log)
    costs = _meant(request.pareto, query, store)
    return SearchResult(answer=answer, front=answer.front(costs) if costs else None, outcomes=outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveRequest:
    """Request of a search by an objective that is a sum, see `load_objective`: of the `top` networks.

    `pareto`: the costs of a front each. `verify` and `wait_s`: as for `SearchRequest`.
    """

    query: Query
    objective: str | Mapping[str, float]
    top: int = 10
    pareto: tuple[str, ...] = ()
    verify: int | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObjectiveResult(_Searched):
    """The answer, fronts where they were asked for, and the outcomes of the campaigns that measured finalists."""

    answer: ObjectiveAnswer
    fronts: tuple[ObjectiveFront, ...] = ()


def search_sums(
    request: ObjectiveRequest,
    store: Store,
    *,
    observe: Callable[[], AbstractContextManager[ExportObserver]],
    log: Callable[[str], None],
) -> ObjectiveResult:
    """Search a space of any size by sums over blocks, and measure the best networks where that is asked for.

    Raises: ConfigError as `search_by_objective`, and when a device to measure on is not in devices.toml.
    """
    query = replace(request.query.with_devices(store), with_far=request.verify is not None)
    count = max(request.top, request.verify or 1)

    def search_now(log_joining: Callable[[str], None]) -> ObjectiveAnswer:
        return search_by_objective(store, query, request.objective, count, log_joining)

    answer, outcomes = _verified(search_now, request, store, observe, log)
    fronts = []
    for name in _meant(request.pareto, query, store):
        log(f"front of {answer.objective.name} and {name}: up to {FRONT_POINTS} integer programs")
        fronts.append(answer.front(name))
    return ObjectiveResult(answer=answer, fronts=tuple(fronts), outcomes=outcomes)


def _meant(costs: Sequence[str], query: Query, store: Store) -> tuple[str, ...]:
    """Return the costs that a front's names mean, each once, see `Query.meant`."""
    return tuple(dict.fromkeys(one for name in costs for one in query.meant(store, name)))


def _verified(
    search_now: Callable[[Callable[[str], None]], AnyAnswer],
    request: SearchRequest | ObjectiveRequest,
    store: Store,
    observe: Callable[[], AbstractContextManager[ExportObserver]],
    log: Callable[[str], None],
) -> tuple[AnyAnswer, tuple[Outcome, ...]]:
    """Search, and measure the best on the devices of the answer's latencies where that is asked for. Raises: ConfigError."""
    answer = search_now(log)
    if request.verify is None:
        return answer, ()
    configurations = searched_configurations(answer.provenance).values()
    devices = searched_devices(configurations, request.query.latencies.choice.devices_file)
    with observe() as observer:
        return verify_finalists(
            answer,
            lambda: search_now(lambda text: None),
            store,
            devices,
            observer,
            count=request.verify,
            wait_s=request.wait_s,
            log=log,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Request of a comparison: each of the `methods` searches once with each of `seeds` seeds, from `seed` on.

    `pool` random networks are what proxies choose from, by the images of the file `batch`, or by digits.
    """

    query: Query
    methods: tuple[str, ...]
    budget: int = 100
    seeds: int = 10
    seed: int = 0
    pool: int = POOL
    batch: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Inputs of zero-cost proxies: the number and origin of images, and the number of random networks scored."""

    origin: str
    images: int
    pool: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchComparison:
    """Methods compared, the query and the table that they searched, and the proxies' inputs where one was named."""

    query: Query
    table: SearchTable
    methods: MethodComparison
    scored: Scoring | None

    @property
    def error(self) -> HarnessError | None:
        """Fault of the answers, None where they meet the limits."""
        found = self.methods.methods
        broken = [f"{one.method}, seed {r.trace.seed}" for one in found for r in one.runs if not r.meets]
        if not broken:
            return None
        return HarnessError(
            f"answers beyond the limits: {'; '.join(broken)}; this is a defect of the method, report it"
        )


def compare_on_store(
    request: CompareRequest,
    store: Store,
    *,
    on_progress: Callable[[int, int, str], None],
    log: Callable[[str], None],
) -> SearchComparison:
    """Compare search methods on what a store holds, with regret against the exhaustive answer.

    `on_progress` is told of the accuracies evaluated, of how many, and of the method or proxy at work.
    Raises: ConfigError as `Query.build_table`, for an unknown method, or when no network meets the constraints, with the nearest
    one and what it would take.
    """
    query, methods = request.query.with_devices(store), request.methods
    joined = query.build_table(store, log)
    table = joined.table
    answer_in(joined, query.constraints, confident=query.confident)  # refuses what no network meets
    images = batch_for(methods, request.batch, table.config)
    budget = min(request.budget, len(table))  # more evaluates every network all the same
    done, total = 0, len(methods) * request.seeds * budget

    def evaluated(method: str, seed: int, count: int) -> None:
        nonlocal done
        done = count
        on_progress(done, total, f"{method}, seed {seed}")

    def scored(proxy: str, seed: int, count: int) -> None:
        on_progress(done, total, f"{proxy}, seed {seed}: {counted(count, 'network')} scored")

    on_progress(done, total, "")
    found = run_comparison(
        table,
        query.constraints,
        methods,
        range(request.seed, request.seed + request.seeds),
        budget,
        confident=query.confident,
        pool=request.pool,
        proxy_of=None if images is None else proxies_on(table.config, images, scored),
        on_progress=evaluated,
    )
    scoring = None
    if images is not None:
        scoring = Scoring(origin=images.origin, images=len(images.labels), pool=request.pool)
    return SearchComparison(query=query, table=joined, methods=found, scored=scoring)

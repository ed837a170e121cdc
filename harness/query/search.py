"""Search a table exhaustively or by a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.query.answer import SearchAnswer
from harness.query.join import SearchTable, check_have_intervals
from search.methods.comparison import ProxyOf, make_problem
from search.methods.method import Proxy, Trace
from search.methods.registry import SearchMethod, parse_method, run
from search.proxies import Batch, load_batch, proxy_scorer
from search.table import NetworkTable
from search.table.answers import Answer, answer, nearest
from search.table.constraints import (
    PROPERTIES,
    Constraint,
    check_contradictions,
    parse_constraint,
    split_subject,
    unit_of,
)
from space import Architecture, SpaceConfig
from space.errors import ConfigError
from space.hash_table import is_first
from space.indexing import FloatArray, IndexArray
from space.text import agreeing, counted

EXHAUSTIVE = "exhaustive"

# Told of a proxy's name, the seed, and the networks scored so far.
OnScore = Callable[[str, int, int], None]


def search(
    table: SearchTable,
    limits: str | Constraint | Iterable[str | Constraint] = (),
    *,
    method: str | SearchMethod = EXHAUSTIVE,
    budget: int = 100,
    seed: int = 0,
    confident: bool = False,
    proxy_pool: int = 100,
    proxy_batch: str | Path | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> SearchAnswer:
    """Return the networks within the limits, most accurate first: of all networks, or of those that a method evaluates.

    - `table`: what `join` returned.
    - `limits` on the table's costs, one or several, such as "pixel<8ms" or "params<=3M"; `confident`: the far end of a
      latency's interval must meet them.
    - `method`: "exhaustive"; or one that evaluates `budget` accuracies, by a name of `harness search compare` or a
      `SearchMethod` of your own, from a `seed`. One with a zero-cost proxy chooses from `proxy_pool` random networks, by the
      images of a file, `proxy_batch`, by default of digits.
    - `log` is given a line of progress at a time.

    Raises: ConfigError when no network meets the limits, with the nearest one and what it would take; or for `confident`
    limits on latencies without intervals.

    >>> from harness.query.join import join
    >>> table = join("synthetic")
    >>> answer = search(table, ["params<=3M"])
    >>> answer[0]["params"] <= 3e6, len(answer)
    (True, 56565)
    """
    if not isinstance(table, SearchTable):
        raise ConfigError(
            f"table = {type(table).__name__}: no table of accuracies and costs; give that of harness.join"
        )
    constraints = as_constraints(limits)
    for name in (one.subject for one in constraints):
        if name not in table.table.costs and (name in PROPERTIES or split_subject(name)[1]):
            raise ConfigError(f"the table has no {name!r}; take it in: harness.join(..., costs=[{name!r}])")
    names = [method] if isinstance(method, str) else []  # a method of the caller's own has no proxy
    proxy_name = "".join(parse_method(name)[1] for name in names)
    columns = table.table
    if confident:
        check_have_intervals(constraints, columns.costs, table.provenance)
    batch = batch_for(names, None if proxy_batch is None else Path(proxy_batch), columns.config)
    found = answer_in(table, constraints, confident=confident)
    if method == EXHAUSTIVE:
        return found
    problem = make_problem(
        columns, constraints, budget=budget, seed=seed, confident=confident, pool=proxy_pool
    )
    if batch is not None:
        count = min(proxy_pool, int(problem.allowed.sum()))
        log(f"{proxy_name}: scoring {counted(count, 'untrained network')} on {batch.origin}")
        make = proxies_on(columns.config, batch, lambda name, seed, count: None)
        problem = replace(problem, warm_up=make(proxy_name, seed))
    trace = run(method, problem, lambda indices: columns.accuracy.values[indices])
    return answer_in(table, constraints, confident=confident, trace=trace)


def answer_in(
    table: SearchTable, constraints: Sequence[Constraint], *, confident: bool, trace: Trace | None = None
) -> SearchAnswer:
    """Return the networks within the limits, of a `trace` those that were evaluated. Raises: ConfigError without any."""
    found = answer(table.table, constraints, confident=confident)
    if not len(found.ranked):
        raise ConfigError(none_found(table.table, found))
    if trace is not None:
        found = replace(found, ranked=found.ranked[np.isin(found.ranked, trace.indices)])
    if not len(found.ranked):
        raise ConfigError(
            "none of the networks that the method evaluated is within the limits any more; search again"
        )
    return SearchAnswer(table=table, answer=found, trace=trace)


def as_constraints(limits: str | Constraint | Iterable[str | Constraint]) -> tuple[Constraint, ...]:
    """Return one or several limits, texts or not, as constraints. Raises: ConfigError where they contradict each other."""
    several = limits if isinstance(limits, Iterable) and not isinstance(limits, str) else [limits]
    constraints = tuple(one if isinstance(one, Constraint) else parse_constraint(one) for one in several)
    for one in constraints:
        if one.unit != (unit := unit_of(one.subject)):
            raise ConfigError(
                f"limit on {one.subject!r}: is in {one.unit or 'no unit'!r}; give it in {unit or 'no unit'!r}, or as a text"
            )
        if one.limit <= 0:
            raise ConfigError(
                f"limit on {one.subject!r}: {one.limit:g} is not above 0; no network takes less"
            )
    check_contradictions(constraints)
    return constraints


def batch_for(methods: Sequence[str], path: Path | None, config: SpaceConfig) -> Batch | None:
    """Return the images that proxies score on; None when no method names a proxy.

    Raises: ConfigError when a file was named that no method needs; HarnessError as `load_batch`.
    """
    if any(parse_method(text)[1] for text in methods):
        return load_batch(path or "", config)
    if path is not None:
        raise ConfigError(f"--proxy-batch {path}: no method names a proxy; write e.g. evolution+synflow")
    return None


def proxies_on(config: SpaceConfig, batch: Batch, on_score: OnScore) -> ProxyOf:
    """Return a maker of proxies by name and seed that score on a batch."""

    def proxy_of(name: str, seed: int) -> Proxy:
        score, count = proxy_scorer(name, config, batch, seed), 0

        def scored(indices: IndexArray) -> FloatArray:
            nonlocal count
            scores = score(indices)
            count += len(indices)
            on_score(name, seed, count)
            return scores

        return scored

    return proxy_of


def none_found(table: NetworkTable, found: Answer) -> str:
    """Return why no network meets the constraints: the nearest one and its violations."""
    if found.without_accuracy == len(table.config):
        return f"no network has an accuracy ({table.accuracy.label}); give other --accuracies"
    limits = ", ".join(map(str, found.constraints))
    what = f"no network meets {limits}{_confidence(table, found)}" if limits else "no network is found"
    with_far = replace(table, with_far=True).supported
    far = int((with_far & ~table.supported & is_first(table.config)).sum())
    left_out = (
        f"; {counted(far, 'network')} unlike any measured one {agreeing(far, 'is', 'are')} left out: --verify takes "
        f"{agreeing(far, 'it', 'them')} in"
        if far
        else ""
    )
    closest = nearest(table, found.constraints, confident=found.confident)
    if closest is None:
        apart = np.flatnonzero(~np.isnan(table.accuracy.values) & with_far & ~table.supported).tolist()
        if apart:  # the caller's own few, mostly
            return (
                f"{what}: {counted(len(apart), 'network with an accuracy is', 'networks with an accuracy are')} unlike any "
                f"measured one and left out, such as {Architecture.from_index(apart[0], table.config)}: measure more of the "
                "space, or --verify takes them in"
            )
        unknown = "all of it is known" if limits else "what is asked for is known well enough"
        return f"{what}: of no network with an accuracy {unknown}; measure more{left_out}"
    about = f" ({table.accuracy.label} {table.accuracy.values[closest.index]:.2f} %)"
    single = [f"{s.constraint} alone is met by {s.met:,}" for s in found.standings]
    alone = f" ({'; '.join(single)})" if len(single) > 1 else ""
    return f"{what}; {closest.text(table.config, about)}{left_out}{alone}"


def _confidence(table: NetworkTable, found: Answer) -> str:
    """Return with which confidence limits had to be met; empty where their costs have no intervals."""
    coverages = [table.costs[one.subject].coverage for one in found.constraints]
    told = [coverage for coverage in coverages if coverage is not None]
    return f" with {min(told):.0%} confidence" if found.confident and told else ""

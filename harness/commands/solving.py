"""A search's answer over a joined table: of every network, or of those that a method looks up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.commands.proxies import proxies_on
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.joining import Joined
    from harness.commands.selection import Selection
    from search.answers import Answer
    from search.methods.contract import Trace
    from search.proxies import Batch

EXHAUSTIVE = "exhaustive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to search: a method's text, its look-ups and seed, and what a proxy in the text chooses from and scores on."""

    method: str
    budget: int
    seed: int
    pool: int
    batch: Batch | None


def solve(
    selection: Selection, joined: Joined, how: Manner, say: Callable[[str], None]
) -> tuple[Answer, Trace | None]:
    """Return the answer, of all networks or of those that a method looked up, and the method's trace.

    Raises: ConfigError when no network meets the constraints, with the nearest one and what it would take.
    """
    import numpy as np

    from harness.commands.found_text import none_found
    from search.answers import answer

    table = joined.table
    found = answer(table, selection.constraints, confident=selection.confident)
    if not len(found.ranked):
        raise ConfigError(none_found(table, found))
    if how.method == EXHAUSTIVE:
        return found, None
    from search.comparing import problem_of
    from search.methods.table import parse_method, run

    _, proxy = parse_method(how.method)
    problem = problem_of(
        table,
        selection.constraints,
        budget=how.budget,
        seed=how.seed,
        confident=selection.confident,
        pool=how.pool,
    )
    if how.batch is not None:
        say(
            f"{proxy}: scoring {min(how.pool, int(problem.allowed.sum()))} untrained networks on {how.batch.origin}"
        )
        make = proxies_on(table.config, how.batch, lambda name, seed, count: None)
        problem = replace(problem, warm_up=make(proxy, how.seed))
    trace = run(how.method, problem, lambda indices: table.accuracy.values[indices])
    seen = found.ranked[np.isin(found.ranked, trace.indices)]
    return replace(found, ranked=seen), trace

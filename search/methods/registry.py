"""The search methods by name; to add one, add a file and its line in `METHODS`, or an entry point in another package.

A method's text is its name, with a zero-cost proxy as warm-up `evolution+synflow`, or a proxy alone, `synflow`, which asks for
the networks that the proxy prefers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.methods.evolution import Evolution
from search.methods.integer_program import IntegerProgramSearch
from search.methods.method import Evaluate, Method, Problem, Trace, search
from search.methods.predictor_loop import GCN_PAIRS_CONFIG, PredictorLoop, gcn
from search.methods.random_search import InOrder, random_search, ranked
from search.methods.ridge import SecondOrder
from space.errors import ConfigError, did_you_mean, shown
from space.plugins import SEARCH_METHODS, bad_plugin, load_plugin, plugins

# arXiv:2101.08134; they are computed elsewhere and handed over as the problem's warm-up.
PROXIES = ("grad_norm", "snip", "grasp", "fisher", "jacob_cov", "synflow")
RANKED = "ranked"  # the method behind a proxy alone
DEFAULT_METHODS = ("random", "evolution", "linear", "ilp")  # of a comparison: seconds a search, and no torch
FORMER_NAMES = {"programme": "ilp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMethod:
    """A registered method: its constructor, and whether it can begin with networks that a proxy prefers."""

    make: Callable[[Problem], Method]
    meaning: str
    warms_up: bool = True


METHODS: dict[str, SearchMethod] = {
    "exhaustive": SearchMethod(
        make=lambda problem: InOrder(np.flatnonzero(problem.allowed)),
        meaning="all allowed networks in canonical order",
        warms_up=False,
    ),
    "random": SearchMethod(make=random_search, meaning="random allowed networks", warms_up=False),
    "evolution": SearchMethod(
        make=Evolution, meaning="regularized evolution, pool 64, tournament 10, one block mutates"
    ),
    "linear": SearchMethod(
        make=lambda problem: PredictorLoop(problem, SecondOrder(problem.config)),
        meaning="rounds of 20 by a second-order ridge on op counts and wiring of each stage",
    ),
    "gcn": SearchMethod(
        make=gcn, meaning="rounds of 20 by a graph convolutional network that predicts accuracies"
    ),
    "gcn-binary": SearchMethod(
        make=lambda problem: gcn(problem, GCN_PAIRS_CONFIG),
        meaning="rounds of 20 by a graph convolutional network that predicts which of two is better",
    ),
    "ilp": SearchMethod(
        make=IntegerProgramSearch,
        meaning="an integer program over block effects fitted to random networks",
    ),
    "ranked": SearchMethod(
        make=ranked, meaning="the order of a zero-cost proxy; written as the proxy's name"
    ),
}


def find_method(name: str) -> SearchMethod:
    """Return the method of a name: one of `METHODS`, or an entry point of the group `harness.search_methods`.

    Raises: ConfigError when another package's cannot be loaded; KeyError when there is none.
    """
    name = FORMER_NAMES.get(name, name)
    if name in METHODS:
        return METHODS[name]
    found = load_plugin(SEARCH_METHODS, name)
    if not isinstance(found, SearchMethod):
        raise bad_plugin(SEARCH_METHODS, name, "is no search.methods.registry.SearchMethod")
    return found


def parse_method(text: str) -> tuple[str, str]:
    """Return a text's method and proxy, `evolution+synflow` as ("evolution", "synflow"), without a proxy ("evolution", "").

    A proxy alone is ("ranked", proxy); a former name is the present one.

    Raises:
        ConfigError: there is no such method or proxy, or the method takes no warm-up, or `ranked` was given no proxy.
    """
    if not isinstance(text, str):
        raise ConfigError(f"method {shown(text)}: give a name, or a search.methods.registry.SearchMethod")
    name, plus, proxy = text.strip().partition("+")
    name = FORMER_NAMES.get(name, name)
    if name in PROXIES and not plus:
        return RANKED, name
    if name not in METHODS and name not in plugins(SEARCH_METHODS):
        names = [known for known in (*METHODS, *plugins(SEARCH_METHODS)) if known != RANKED]
        raise ConfigError(
            f"no search method {name!r}{did_you_mean(name, [*names, *PROXIES])} (methods: {', '.join(names)}; "
            f"a proxy alone or after METHOD+: {', '.join(PROXIES)})"
        )
    if plus and proxy not in PROXIES:
        raise ConfigError(
            f"{text!r}: no proxy {proxy!r}{did_you_mean(proxy, PROXIES)} (there are: {', '.join(PROXIES)})"
        )
    if name == RANKED and not plus:
        raise ConfigError(f"{text!r} names no proxy to rank by; write one of {', '.join(PROXIES)}")
    if plus and not find_method(name).warms_up:
        able = ", ".join(known for known, method in METHODS.items() if method.warms_up and known != RANKED)
        raise ConfigError(f"{text!r}: method {name!r} has no use for a warm-up; methods that have: {able}")
    return name, proxy


def parse_methods(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the methods that texts name, one or several by commas, each once; without texts the default ones.

    Raises: ConfigError as `parse_method`.
    """
    named = [word.strip() for text in texts or DEFAULT_METHODS for word in text.split(",")]
    for text in named:
        parse_method(text)
    return tuple(dict.fromkeys(named))


def method(text: str | SearchMethod, problem: Problem) -> Method:
    """Make a method from its text; a proxy in the text is the problem's warm-up, which is ignored where the text names none.

    One that is not registered is given itself, and has no warm-up.

    Raises:
        ConfigError: there is no such method, or the text names a proxy and the problem has no warm-up.
    """
    if isinstance(text, SearchMethod):
        return text.make(replace(problem, warm_up=None))
    name, proxy = parse_method(text)
    if proxy and problem.warm_up is None:
        raise ConfigError(f"{text!r} names the proxy {proxy!r} and the problem holds none; set its warm_up")
    return find_method(name).make(problem if proxy else replace(problem, warm_up=None))


def run(
    text: str | SearchMethod,
    problem: Problem,
    evaluate: Evaluate,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Trace:
    """Make a method from its text and run it; see `search.methods.method.search`.

    The trace's `seconds` include the constructor's, in which a proxy may score its pool.

    Raises:
        ConfigError: as `method`.
    """
    begin = time.perf_counter()
    made = method(text, problem)
    seconds = time.perf_counter() - begin
    trace = search(text if isinstance(text, str) else text.meaning, made, problem, evaluate, on_progress)
    return replace(trace, seconds=seconds + trace.seconds)

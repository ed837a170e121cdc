"""The search methods by name; adding one is adding a file and its line in `METHODS`, or an entry point of another package.

A method's text is its name, with a zero-cost proxy as warm-up `evolution+synflow`, or a proxy alone, `synflow`, which asks for
the networks that the proxy prefers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from search.methods.contract import LookUp, Method, Problem, Trace, search
from space.errors import ConfigError, did_you_mean
from space.plugins import SEARCH_METHODS, bad_plugin, load_plugin, plugins

# arXiv:2101.08134; they are computed elsewhere and handed over as the problem's warm-up.
PROXIES = ("grad_norm", "snip", "grasp", "fisher", "jacob_cov", "synflow")
RANKED = "ranked"  # the method behind a proxy alone


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMethod:
    """One method: how a fresh one is made, and whether it can begin with networks that a proxy prefers."""

    make: Callable[[Problem], Method]
    meaning: str
    warms_up: bool = True


def _exhaustive(problem: Problem) -> Method:
    from search.methods.exhaustive import Exhaustive

    return Exhaustive(problem)


def _random(problem: Problem) -> Method:
    from search.methods.random_search import RandomSearch

    return RandomSearch(problem)


def _evolution(problem: Problem) -> Method:
    from search.methods.evolution import Evolution

    return Evolution(problem)


def _ranked(problem: Problem) -> Method:
    from search.methods.ranked import Ranked

    return Ranked(problem)


def _linear(problem: Problem) -> Method:
    from search.methods.linear import SecondOrder
    from search.methods.loop import PredictorLoop

    return PredictorLoop(problem, SecondOrder(problem.config))


def _gcn(problem: Problem) -> Method:
    from search.methods.gcn import gcn

    return gcn(problem)


def _gcn_binary(problem: Problem) -> Method:
    from search.methods.gcn import gcn_binary

    return gcn_binary(problem)


def _programme(problem: Problem) -> Method:
    from search.methods.programme_search import ProgrammeSearch

    return ProgrammeSearch(problem)


METHODS: dict[str, SearchMethod] = {
    "exhaustive": SearchMethod(
        make=_exhaustive, meaning="all allowed networks in canonical order", warms_up=False
    ),
    "random": SearchMethod(make=_random, meaning="random allowed networks", warms_up=False),
    "evolution": SearchMethod(
        make=_evolution, meaning="regularised evolution, pool 64, tournament 10, one block mutates"
    ),
    "linear": SearchMethod(
        make=_linear, meaning="rounds of 20 by a second-order ridge on op counts and wiring of each stage"
    ),
    "gcn": SearchMethod(
        make=_gcn, meaning="rounds of 20 by a graph convolutional network that predicts accuracies"
    ),
    "gcn-binary": SearchMethod(
        make=_gcn_binary,
        meaning="rounds of 20 by a graph convolutional network that tells which of two is better",
    ),
    "programme": SearchMethod(
        make=_programme, meaning="an integer programme over what blocks add by a fit to random networks"
    ),
    "ranked": SearchMethod(
        make=_ranked, meaning="the order of a zero-cost proxy; written as the proxy's name"
    ),
}


def find_method(name: str) -> SearchMethod:
    """Return the method of a name: one of `METHODS`, or an entry point of the group `harness.search_methods`.

    Raises: ConfigError when another package's cannot be loaded; KeyError when there is none.
    """
    if name in METHODS:
        return METHODS[name]
    found = load_plugin(SEARCH_METHODS, name)
    if not isinstance(found, SearchMethod):
        raise bad_plugin(SEARCH_METHODS, name, "is no search.methods.table.SearchMethod")
    return found


def parse_method(text: str) -> tuple[str, str]:
    """Return a text's method and proxy, `evolution+synflow` as ("evolution", "synflow"), without a proxy ("evolution", "").

    A proxy alone is ("ranked", proxy).

    Raises:
        ConfigError: there is no such method or proxy, or the method takes no warm-up, or `ranked` was given no proxy.
    """
    name, plus, proxy = text.strip().partition("+")
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


def method(text: str, problem: Problem) -> Method:
    """Make a fresh method by its text; a proxy in the text is the problem's warm-up, which is set aside where it names none.

    Raises:
        ConfigError: there is no such method, or the text names a proxy and the problem has no warm-up.
    """
    name, proxy = parse_method(text)
    if proxy and problem.warm_up is None:
        raise ConfigError(f"{text!r} names the proxy {proxy!r} and the problem holds none; set its warm_up")
    return find_method(name).make(problem if proxy else replace(problem, warm_up=None))


def run(
    text: str,
    problem: Problem,
    look_up: LookUp,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Trace:
    """Make a method by its text and let it search; see `search.methods.contract.search`.

    Making the method counts into the trace's `seconds`: a proxy may score its pool there.

    Raises:
        ConfigError: as `method`.
    """
    begin = time.perf_counter()
    made = method(text, problem)
    seconds = time.perf_counter() - begin
    trace = search(text, made, problem, look_up, on_progress)
    return replace(trace, seconds=seconds + trace.seconds)

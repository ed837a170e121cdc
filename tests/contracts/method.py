"""What every search method promises, as tests: a subclass hands over the method's text by its fixture `text`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from factories.accuracies import coupled, noisy, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.methods.method import Problem
from search.methods.registry import method, run
from space import MINI
from space.indexing import FloatArray

TRUTH = coupled(3)
PROXY = noisy(TRUTH)
MOST_ASKS = 2 * len(MINI)
BLIND = ("exhaustive",)  # the seed is nothing to these


def asked(text: str, given: Problem, truth: FloatArray = TRUTH) -> list[list[int]]:
    """Let a method ask until it has no more or the budget is spent, without the loop that would refuse what it asks."""
    made, batches, left = method(text, given), [], given.budget
    for _ in range(MOST_ASKS):
        wanted = made.ask()[:left]
        if not len(wanted):
            break
        batches.append(wanted.tolist())
        left -= len(wanted)
        if not left:
            break
        made.tell(wanted, truth[wanted])
    else:
        raise AssertionError(f"{text} never stops asking")
    return batches


def with_proxy(budget: int, seed: int = 0, **rest: Any) -> Problem:
    """Return a problem that holds the proxy."""
    return problem(budget, seed, warm_up=PROXY, **rest)


class MethodContract:
    """The tests; `text` is the subclass's to define."""

    @pytest.fixture
    def text(self) -> str:
        raise NotImplementedError

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        share=st.floats(0.001, 1),
        draw=st.integers(0, 10**6),
        budget=st.integers(1, 70),
        seed=st.integers(0, 99),
    )
    def test_it_asks_for_allowed_networks_only_and_for_none_twice(
        self, text: str, share: float, draw: int, budget: int, seed: int
    ) -> None:
        rng = np.random.default_rng(draw)
        allowed = rng.random(len(MINI)) < share
        allowed[rng.integers(len(MINI))] = True
        batches = asked(text, with_proxy(budget, seed, allowed=allowed))
        every = [index for batch in batches for index in batch]
        assert allowed[every].all()
        assert len(set(every)) == len(every)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_it_asks_for_all_of_a_few_allowed_networks_and_then_for_none(self, text: str, count: int) -> None:
        # They share no block in any stage: no mutation leads from one to another.
        few = [block * (len(MINI.blocks) + 1) for block in range(count)]
        allowed = np.zeros(len(MINI), dtype=np.bool_)
        allowed[few] = True
        for budget in (50, count + 1, count):  # a small one leaves some for after the first networks
            batches = asked(text, with_proxy(budget, allowed=allowed))
            assert sorted(index for batch in batches for index in batch) == few

    def test_it_spends_the_whole_budget_where_enough_is_allowed(self, text: str) -> None:
        for budget in (1, 2, 3, 41):
            given = with_proxy(budget)
            trace = run(text, given, lambda indices: TRUTH[indices])
            assert len(trace.indices) == budget
            assert trace.scores.tolist() == TRUTH[trace.indices].tolist()

    def test_equal_seeds_search_alike_and_others_differently(self, text: str) -> None:
        first, again, other = (asked(text, with_proxy(45, seed)) for seed in (1, 1, 2))
        assert first == again
        assert (first == other) == (text in BLIND)

    def test_equal_accuracies_stop_no_search(self, text: str) -> None:
        batches = asked(text, with_proxy(45), truth=np.full(len(MINI), 70.0))
        assert sum(map(len, batches)) == 45

    def test_what_it_asks_first_does_not_hang_on_accuracies(self, text: str) -> None:
        assert asked(text, with_proxy(45), truth=-TRUTH)[0] == asked(text, with_proxy(45))[0]

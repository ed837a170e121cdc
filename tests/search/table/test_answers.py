"""Answers: ranked as a plain sort ranks them, ties by overlapping intervals, and the nearest network where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from factories.tables import made_accuracies, made_cost, made_table
from hypothesis import given
from hypothesis import strategies as st

from search.table.answers import accuracy_reach, answer, by_estimate_alone, nearest, ties
from search.table.constraints import parse_constraint
from space import MINI


@given(
    st.lists(st.tuples(st.integers(40, 45) | st.just(math.nan), st.integers(1, 6)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_the_answer_is_what_a_plain_sort_gives(rows: list[tuple[float, int]], limit: int) -> None:
    table = made_table([a for a, _ in rows], made_cost("pixel", [float(c) for _, c in rows]))
    found = answer(table, [parse_constraint(f"pixel<={limit}ms")])
    expected = sorted((-a, c, index) for index, (a, c) in enumerate(rows) if not math.isnan(a) and c <= limit)
    assert found.ranked.tolist() == [index for _, _, index in expected]
    assert found.without_accuracy == len(table.config) - sum(not math.isnan(a) for a, _ in rows)


def test_networks_unlike_any_that_was_measured_are_neither_found_nor_named_as_the_nearest() -> None:
    supported = np.ones(len(MINI), dtype=np.bool_)
    supported[1] = False
    table = made_table([60.0, 70.0, 65.0], replace(made_cost("pixel", [1.0, 0.04, 2.0]), supported=supported))
    assert answer(table, [parse_constraint("pixel<9ms")]).ranked.tolist() == [2, 0]
    closest = nearest(table, [parse_constraint("pixel<0.03ms")])
    assert closest is not None and closest.index == 0
    trusting = replace(table, with_far=True)
    assert answer(trusting, [parse_constraint("pixel<9ms")]).ranked.tolist() == [1, 2, 0]


def test_networks_tie_where_their_intervals_over_trainings_overlap() -> None:
    # +- 1.96 * 0.5 = 0.98 each: they overlap while the accuracies differ by no more than 1.96
    accuracies = made_accuracies([70.0, 68.05, 68.03, 69.0], seed_sd=0.5)
    assert ties(accuracies, np.array([0, 3, 1, 2])).tolist() == [True, True, True, False]


def test_more_trainings_make_the_interval_narrower_and_fewer_networks_tie() -> None:
    accuracies = made_accuracies([70.0, 68.8], seed_sd=0.5)
    assert ties(accuracies, np.array([0, 1])).tolist() == [True, True]
    accuracies.seed_counts[:2] = 4  # +- 0.49 each
    assert ties(accuracies, np.array([0, 1])).tolist() == [True, False]


def test_without_a_known_scatter_only_equal_accuracies_tie() -> None:
    assert ties(made_accuracies([70.0, 70.0, 69.999]), np.array([0, 1, 2])).tolist() == [True, True, False]


@pytest.mark.parametrize(("confident", "met", "doubtful"), [(False, 2, 2), (True, 1, 2)])
def test_networks_with_the_limit_within_their_interval_are_counted_as_doubtful(
    confident: bool, met: int, doubtful: int
) -> None:
    table = made_table([50.0] * 4, made_cost("pixel", [7.0, 7.9, 8.1, 9.0], 0.05))
    standing = answer(table, [parse_constraint("pixel<8ms")], confident=confident).standings[0]
    assert (standing.met, standing.broken, standing.doubtful) == (met, 4 - met, doubtful)
    assert standing.unknown == len(table.config) - 4


def test_the_nearest_network_needs_the_least_loosening_of_its_worst_limit() -> None:
    table = made_table(
        [50.0, 60.0, 70.0],
        made_cost("pixel", [9.0, 8.4, 8.0]),  # 12.5, 5 and 0 % beyond
        made_cost("params", [3e6, 3.1e6, 4.5e6], unit=""),  # 0, 3.3 and 50 % beyond
    )
    found = nearest(table, [parse_constraint("pixel<=8ms"), parse_constraint("params<=3M")])
    assert found is not None
    assert found.index == 1
    assert [(str(s.constraint), s.value, round(s.excess, 3)) for s in found.violations] == [
        ("pixel<=8ms", 8.4, 0.05),
        ("params<=3M", 3.1e6, 0.033),
    ]


def test_a_limit_that_is_missed_by_next_to_nothing_is_told_with_the_digits_that_show_it() -> None:
    table = made_table([50.0], made_cost("pixel", [3.0004]), made_cost("params", [1_234_567.0], unit=""))
    found = nearest(table, [parse_constraint("pixel<3ms"), parse_constraint("params<1234567")])
    assert found is not None
    assert [str(one) for one in found.violations] == [
        "pixel 3.0004ms, 0.0% beyond pixel<3ms",
        "params 1.234567M, 0.0% beyond params<1.234567M",
    ]


def test_the_nearest_network_may_lack_from_below_and_counts_the_intervals_far_end() -> None:
    table = made_table([50.0, 60.0], made_cost("pixel", [7.0, 7.5], 0.1))
    found = nearest(table, [parse_constraint("pixel>8ms")], confident=True)
    assert found is not None
    assert (found.index, found.violations[0].value) == (1, 7.5 * 0.9)
    assert found.violations[0].excess == pytest.approx(1 - 6.75 / 8)


def test_there_is_no_nearest_network_where_nothing_is_known() -> None:
    assert nearest(made_table([50.0], made_cost("pixel", [])), [parse_constraint("pixel<8ms")]) is None


def test_few_trainings_tell_poorly_how_trainings_scatter_and_the_interval_is_wider() -> None:
    accuracies = made_accuracies([60.0, 61.0], seed_sd=0.5)
    assert accuracy_reach(accuracies)[0] == pytest.approx(0.98, abs=1e-3)
    assert accuracy_reach(replace(accuracies, seed_freedom=2))[0] == pytest.approx(0.5 * 4.3027, abs=1e-3)
    assert accuracy_reach(replace(accuracies, seed_freedom=1000))[0] == pytest.approx(0.98, abs=2e-3)


def test_limits_that_a_network_meets_by_its_estimate_alone_are_told() -> None:
    table = made_table([60.0, 70.0], made_cost("pixel", [1.0, 2.0], 0.1), made_cost("pi", [5.0, 5.0]))
    found = answer(table, [parse_constraint(text) for text in ("pixel<2.1ms", "pixel>0.5ms", "pi<=5ms")])
    assert [str(one) for one in by_estimate_alone(table, found, 1)] == ["pixel<2.1ms"]
    assert by_estimate_alone(table, found, 0) == []


def test_without_a_limit_nothing_is_near_where_all_with_an_accuracy_are_unlike_what_was_measured() -> None:
    far = replace(made_cost("pixel", [1.0, 2.0]), supported=np.zeros(len(MINI), dtype=np.bool_))
    table = made_table([60.0, 70.0], far)
    assert not len(answer(table, []).ranked)
    assert nearest(table, []) is None

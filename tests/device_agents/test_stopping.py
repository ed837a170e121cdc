"""The stop rule and its interval, against cases worked by hand and by coverage."""

from __future__ import annotations

import random
import timeit
from math import comb

import pytest

from device_agents.pacing import Plan
from device_agents.stopping import StopRule, median, median_interval_rank, relative_half_width


@pytest.mark.parametrize(
    ("count", "rank"),
    # David & Nagaraja, Order Statistics, table of distribution-free intervals of the median at 95 %
    [
        (1, None),
        (5, None),
        (6, 1),
        (8, 1),
        (9, 2),
        (11, 2),
        (12, 3),
        (15, 4),
        (20, 6),
        (30, 10),
        (50, 18),
        (100, 40),
    ],
)
def test_the_ranks_of_the_medians_interval_are_those_of_the_tables(count, rank):
    assert median_interval_rank(count) == rank


def test_the_approximation_for_many_values_is_within_one_rank_of_the_exact():
    for count in (201, 333, 1000, 2500):
        exact = cumulated = 0
        while 40 * (cumulated + comb(count, exact)) <= 2**count:
            cumulated += comb(count, exact)
            exact += 1
        assert 0 <= exact - median_interval_rank(count) <= 1


def test_half_width_by_hand():
    # 12 values: the third from either end, 3 and 10, about the median 6.5
    assert relative_half_width([float(value) for value in range(1, 13)]) == (10 - 3) / 2 / 6.5
    assert relative_half_width([1.0] * 5) is None


@pytest.mark.parametrize(("values", "expected"), [([1.0], 1.0), ([1.0, 2.0], 1.5), ([1.0, 2.0, 9.0], 2.0)])
def test_median_by_hand(values, expected):
    assert median(values) == expected


def test_the_interval_covers_the_median_of_skewed_values_19_times_in_20():
    chosen = random.Random(5)
    covered = 0
    for _ in range(2000):
        values = sorted(chosen.expovariate(1) for _ in range(25))
        rank = median_interval_rank(25)
        covered += values[rank - 1] <= 0.6931471805599453 <= values[-rank]
    assert 0.945 <= covered / 2000 <= 0.985


def test_equal_ratios_stop_at_the_least_count_for_precision():
    rule = StopRule(Plan(min_slices=12))
    assert [rule.add(1.5, 0.0) for _ in range(12)] == [None] * 11 + ["precision"]


def test_precision_needs_the_interval_within_the_half_width():
    ratios = [1.0 + 0.001 * step for step in (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)]
    # the third from either end: 0.996 and 1.004, half-width 0.4 %
    assert [StopRule(Plan(half_width=0.0041)).add(1, 0), last_of(ratios, 0.0041)] == [None, "precision"]
    assert last_of(ratios, 0.0039) is None


def last_of(ratios, half_width):
    rule = StopRule(Plan(half_width=half_width))
    return [rule.add(ratio, 0.0) for ratio in ratios][-1]


@pytest.mark.parametrize(("least", "slices"), [(12, 8), (8, 8), (3, 3), (1, 1)])
def test_the_cap_stops_once_there_are_slices_for_an_interval(least, slices):
    rule = StopRule(Plan(max_s=15, min_slices=least, half_width=0))
    seen = [rule.is_over(15.0), *(rule.add(1.0 + ratio, 15.0) == "cap" for ratio in range(slices - 1))]
    assert seen == [False] * (slices - 1) + [True]
    assert not StopRule(Plan(max_s=15, min_slices=least)).is_over(14.9)


def test_a_session_of_a_slow_model_ends_before_a_slice_that_would_make_it_longer_than_the_longest():
    assert [StopRule(Plan(max_s=15)).is_over(elapsed_s) for elapsed_s in (75.0, 75.1)] == [False, True]


def test_slices_that_drift_apart_stop_on_a_plateau():
    # two states of the machine, the second for the second half: twice the slices, no narrower interval
    rule = StopRule(Plan(half_width=0.001))
    chosen = random.Random(1)
    stops = [rule.add((1.0 if n < 24 else 1.1) + chosen.gauss(0, 0.01), 0.0) for n in range(48)]
    assert stops == [None] * 47 + ["plateau"]


def test_independent_slices_rarely_stop_on_a_plateau():
    stops = []
    for seed in range(200):
        chosen = random.Random(seed)
        rule, stop = StopRule(Plan()), None
        while stop is None:
            stop = rule.add(chosen.gauss(1.7, 0.015 * 1.7), 0.0)
        stops.append(stop)
    assert stops.count("plateau") <= 16


def test_the_interval_is_quick_enough_to_stand_between_slices():
    # less than 86 binomial coefficients take, each from nothing
    assert median_interval_rank(200) == 86
    quickest_s = min(timeit.repeat(lambda: median_interval_rank(200), number=10, repeat=20))
    each_anew_s = min(timeit.repeat(lambda: [comb(200, k) for k in range(86)], number=10, repeat=20))
    assert quickest_s < each_anew_s / 1.5


def test_slices_without_a_clean_run_count_for_nothing_but_contention():
    rule = StopRule(Plan(min_slices=12))
    ratios = [1.5, None, None, None] * 11 + [1.5]  # a quarter is clean: just enough to go on
    assert [rule.add(ratio, 0.0) for ratio in ratios] == [None] * 44 + ["precision"]


@pytest.mark.parametrize(("clean", "stop"), [(0, "contended"), (2, "contended"), (3, None)])
def test_a_core_that_others_hold_ends_a_session_after_its_least_slices(clean, stop):
    rule = StopRule(Plan(min_slices=12))
    ratios = [1.5] * clean + [None] * (12 - clean)
    assert [rule.add(ratio, 0.0) for ratio in ratios] == [None] * 11 + [stop]


def test_a_core_that_others_take_later_ends_a_session_too():
    rule = StopRule(Plan(min_slices=4, half_width=0))
    for step in range(10):
        assert rule.add(1.0 + 0.01 * step, 0.0) is None
    stops = [rule.add(None, 0.0) for _ in range(31)]
    assert stops == [None] * 30 + ["contended"]


def test_the_cap_ends_what_has_no_clean_slice_before_its_least():
    rule = StopRule(Plan(min_slices=12, max_s=15))
    assert [rule.add(None, 15.0) for _ in range(7)] == [None] * 6 + ["cap"]

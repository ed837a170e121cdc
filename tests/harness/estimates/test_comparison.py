"""The rule of ties, and the ratio that goes with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories.records import CONFIGURATION, make_session, make_slice
from hypothesis import given
from hypothesis import strategies as st

from harness.estimates.comparison import are_hours_apart, compare, doubted
from harness.estimates.estimate import RatioEstimate, estimate, scatter_of
from harness.estimates.findings import Finding, Grade, Kind
from harness.estimates.latency import latency_of
from harness.records import ReferenceLatency

MIRROR = {"faster": "slower", "slower": "faster", "tie": "tie"}


def estimate_of(
    ratio: float, low: float | None = None, high: float | None = None, **changes: Any
) -> RatioEstimate:
    """Return an estimate of three processes with this interval."""
    interval = None if low is None or high is None else (low, high)
    known = {"sessions": 3, "processes": 3, "slices": 40, "apart": interval} | changes
    return RatioEstimate(ratio=ratio, interval=interval, **known)


@st.composite
def estimates(draw: st.DrawFn) -> RatioEstimate:
    """Estimates with an interval or none, within a few percent of each other."""
    ratio = draw(st.floats(0.9, 1.1))
    if draw(st.booleans()) and draw(st.booleans()):
        return estimate_of(ratio)
    below, above = draw(st.floats(0, 0.1)), draw(st.floats(0, 0.1))
    return estimate_of(ratio, ratio * (1 - below), ratio * (1 + above))


def test_two_networks_are_ordered_where_the_interval_of_their_ratio_leaves_out_1() -> None:
    fast, slow = estimate_of(1.0, 0.99, 1.01), estimate_of(1.1, 1.02, 1.12)
    assert compare(fast, slow).verdict == "faster"
    assert compare(slow, fast).verdict == "slower"
    assert compare(fast, slow).ratio == pytest.approx(1 / 1.1)
    assert compare(fast, slow).reason == ""


def test_intervals_that_overlap_a_little_do_not_tie() -> None:
    a, b = estimate_of(1.0, 0.98, 1.02), estimate_of(1.035, 1.015, 1.055)
    assert compare(a, b).verdict == "faster"
    c = estimate_of(1.025, 1.005, 1.045)
    assert compare(a, c).verdict == "tie"
    assert "holds 1" in compare(a, c).reason
    assert compare(a, a).verdict == "tie"


def test_what_the_same_processes_share_is_not_in_the_interval_of_a_ratio() -> None:
    wide = {"apart": (0.995, 1.005)}
    a = estimate_of(1.0, 0.97, 1.03, named=frozenset({"one"}), **wide)
    b = estimate_of(1.02, 0.99, 1.05, named=frozenset({"one"}), apart=(1.015, 1.025))
    assert compare(a, b).verdict == "faster"
    elsewhere = replace(b, named=frozenset({"two"}))
    assert compare(a, elsewhere).verdict == "tie"
    assert compare(replace(a, named=frozenset()), replace(b, named=frozenset())).verdict == "tie"


def test_one_process_each_leaves_the_doubt_of_what_differs_between_processes() -> None:
    usual = scatter_of([])

    def measured(ratio: float) -> RatioEstimate:
        slices = [
            make_slice([round(ratio * step)], [10**9], [])
            for step in range(999_000_000, 1_001_000_001, 100_000)
        ]
        return estimate([make_session(slices)], usual)

    a, b, far = (measured(ratio) for ratio in (1.0, 1.03, 1.1))
    assert compare(a, b).verdict == "tie"
    assert compare(a, far).verdict == "faster"


def test_networks_that_are_alike_are_ordered_in_one_of_twenty_cases() -> None:
    rng = np.random.default_rng(1)
    ratios = np.exp(rng.normal(0, 0.01, (4000, 2)))
    reach = np.exp(1.96 * 0.01)
    pairs = [[estimate_of(r, r / reach, r * reach) for r in pair] for pair in ratios]
    share = sum(compare(a, b).verdict != "tie" for a, b in pairs) / len(pairs)
    assert 0.04 <= share <= 0.06


def test_without_an_interval_there_is_no_order_and_a_reason() -> None:
    result = compare(estimate_of(1.0), estimate_of(9.0, 8.9, 9.1))
    assert (result.verdict, result.interval) == ("tie", None)
    assert "too few slices" in result.reason


def test_different_configurations_are_not_compared_and_the_error_says_in_what_they_differ() -> None:
    a = estimate_of(1.0, 0.9, 1.1)
    assert compare(a, a, [CONFIGURATION, replace(CONFIGURATION)]).verdict == "tie"
    with pytest.raises(ValueError, match=r"\(threads 2 and 4, clock_tier 'C' and 'A'\); compare latencies"):
        compare(a, a, [CONFIGURATION, replace(CONFIGURATION, threads=4, clock_tier="A")])


def test_the_interval_of_the_ratio_adds_doubts_as_variances() -> None:
    a, b = estimate_of(2.0, 2.0 / 1.03, 2.0 * 1.03), estimate_of(1.0, 1 / 1.04, 1.04)
    interval = compare(a, b).interval
    assert interval is not None
    half = np.hypot(np.log(1.03), np.log(1.04))
    assert interval == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)))


@given(a=estimates(), b=estimates())
def test_comparing_the_other_way_round_mirrors_the_result(a: RatioEstimate, b: RatioEstimate) -> None:
    one, other = compare(a, b), compare(b, a)
    assert other.verdict == MIRROR[one.verdict]
    assert other.reason == one.reason
    assert other.ratio == pytest.approx(1 / one.ratio)
    assert (one.interval is None) == (other.interval is None)
    if one.interval is not None:
        assert other.interval == pytest.approx((1 / one.interval[1], 1 / one.interval[0]))
        assert one.interval[0] <= one.ratio * (1 + 1e-9)
        assert one.interval[1] >= one.ratio * (1 - 1e-9)
        holds = one.interval[0] <= 1 <= one.interval[1]
        assert (one.verdict == "tie") == holds


def finding(kind: Kind, cap: Grade) -> Finding:
    return Finding(kind=kind, message="", remedy="", cap=cap)


@pytest.mark.parametrize(
    ("findings", "near", "far"),
    [
        ([], "faster", "faster"),
        ([finding("waited", "B"), finding("contention-unknown", "C")], "faster", "faster"),
        ([finding("contended", "D")], "tie", "faster"),
        ([finding("waited", "B"), finding("throttled", "D")], "tie", "faster"),
        ([finding("wrong-output", "D"), finding("hot", "D")], "tie", "tie"),
    ],
    ids=lambda value: str([one.kind for one in value]) if isinstance(value, list) else value,
)
def test_what_may_be_wrong_by_a_factor_of_two_orders_only_what_is_farther_apart(
    findings: list[Finding], near: str, far: str
) -> None:
    b = estimate_of(1.0, 0.99, 1.01)
    for ratio, expected in ((0.6, near), (0.4, far)):
        found = compare(estimate_of(ratio, 0.99 * ratio, 1.01 * ratio), b)
        left = doubted(found, findings)
        assert (left.verdict, left.ratio, left.interval) == (expected, found.ratio, found.interval)
        turned = doubted(compare(b, estimate_of(ratio, 0.99 * ratio, 1.01 * ratio)), findings)
        assert turned.verdict == MIRROR[expected]
        for kind in (one.kind for one in findings if expected == "tie" and one.cap == "D"):
            assert kind in left.reason


def test_ties_and_comparisons_without_an_interval_stay_what_they_are() -> None:
    for a in (estimate_of(1.0), estimate_of(1.005, 0.99, 1.02)):
        found = compare(a, estimate_of(1.0, 0.99, 1.01))
        assert found.verdict == "tie"
        assert doubted(found, [finding("contended", "D")]) == found


def test_what_programs_on_other_cores_did_counts_in_the_same_processes_too() -> None:
    def beside(ratio: float, moved: float) -> RatioEstimate:
        own = (ratio / 1.005, ratio * 1.005)
        return estimate_of(
            ratio, ratio / 1.06, ratio * 1.06, named=frozenset({"one"}), apart=own, moved=moved
        )

    assert compare(beside(1.0, 0.0), beside(1.03, 0.0)).verdict == "faster"
    assert compare(beside(1.0, 0.05), beside(1.03, 0.0)).verdict == "tie", "one of them alone was slowed"
    assert compare(beside(1.0, 0.05), beside(1.03, 0.05)).verdict == "faster", "alike, they are slowed alike"
    half, unlike = (np.log(1.005) * np.sqrt(2), compare(beside(1.0, 0.05), beside(1.3, 0.05)))
    assert unlike.interval is not None
    assert np.log(unlike.interval[1] / unlike.ratio) == pytest.approx(np.hypot(half, 0.05), rel=1e-6)


def test_the_doubt_of_shared_caches_is_in_an_estimate_that_is_compared() -> None:
    slices = [make_slice([2_000_000 + n], [1_000_000 + n], [1_000_000 + n]) for n in range(20)]
    busy = {"delay_source": "schedstat", "others_busy": 0.9}
    session = make_session(slices, process="one", scheduling=busy)
    reference = ReferenceLatency(
        configuration=CONFIGURATION, latency_ns=1e6, measured_utc="", sd=0.01, never_quiet=True
    )
    assert latency_of([session], reference, None, 0.95).estimate.moved == pytest.approx(0.05)
    free = make_session(slices, process="one")
    assert latency_of([free], replace(reference, never_quiet=False), None, 0.95).estimate.moved == 0


# By how much all ratios of a device moved between two tables, in %, as docs/evidence/timing.md has it under "Two fresh stores".
MOVED = {
    "onnxruntime": [0.22, 0.45, 0.64, 0.12, 0.64, 0.84, 0.36, 0.21, 0.29, 0.52, 0.68, 0.15, 0.79, 0.65],
    "tflite": [1.06, 0.95, 1.37, 0.74, 0.13, 0.26, 0.31, 0.44, 0.21, 0.65, 0.12, 0.12, 0.06, 0.19],
}


def test_of_two_hours_the_interval_holds_by_how_much_all_ratios_of_a_device_move() -> None:
    exact = estimate_of(1.0, 1 - 1e-9, 1 + 1e-9)
    found = compare(exact, exact, hours_apart=True)
    assert found.interval is not None and found.verdict == "tie"
    assert found.interval[0] == pytest.approx(1 / found.interval[1])
    held = [abs(moved) / 100 <= np.log(found.interval[1]) for each in MOVED.values() for moved in each]
    assert 0.95 <= np.mean(held) < 1
    same = frozenset({"one"})
    beside = replace(exact, named=same)
    assert compare(beside, beside, hours_apart=True) == compare(beside, beside), (
        "the same processes are of one hour"
    )


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("2024-05-01T00:00:00+00:00", "2024-05-01T00:29:59+00:00", False),
        ("2024-05-01T00:30:00+00:00", "2024-05-01T00:00:00+00:00", True),
        ("2024-05-01T00:00:00+00:00", "2024-05-01T02:10:00+02:00", False),
        ("2024-05-01T00:00:00+00:00", "yesterday", True),
        ("0001-01-01", "0001-01-01", True),
    ],
)
def test_visits_of_a_device_are_half_an_hour_apart(one: str, other: str, apart: bool) -> None:
    assert are_hours_apart([one], [other]) is apart


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (
            [0, 0, 0, 0, 5],
            [0, 5, 5, 5, 5],
            True,
        ),  # they begin and end together, and are mostly of other hours
        ([0, 5, 9], [5], True),
        ([0, 0, 5, 5], [5, 0], False),
    ],
)
def test_measurements_of_the_same_hours_are_of_them_in_like_parts(
    one: list[int], other: list[int], apart: bool
) -> None:
    utc = "2024-05-01T{:02}:00:00+00:00".format
    assert are_hours_apart([*map(utc, one)], [*map(utc, other)]) is apart

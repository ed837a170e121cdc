"""Doubts in records made for them: each found once, with its value and a remedy; and the grades that they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from made_records import CONFIGURATION, SESSIONS, make_session, make_slice

from harness.estimates.estimate import Estimate, estimate
from harness.estimates.findings import KINDS, NOTES, THROTTLES, Finding, check_network, grade
from harness.records import ReferenceLatency, SessionRecord

REFERENCE_NS = 10_000_000
REFERENCE = ReferenceLatency(
    configuration=CONFIGURATION,
    latency_ns=float(REFERENCE_NS),
    session_id="",
    measured_utc="2024-05-01T00:00:00.000+00:00",
)
NOISE = np.random.default_rng(1).normal(0, 0.002, 40)


def session_of(
    ratios: Sequence[float] | np.ndarray = 2 * (1 + NOISE), reference_ns: int = REFERENCE_NS, **changes: Any
) -> SessionRecord:
    """Return a session with these slice ratios, by default one that nothing can be said against."""
    slices = [
        replace(
            make_slice([round(ratio * reference_ns)], [reference_ns], [reference_ns]),
            at_ns=number * 60_000_000,
        )
        for number, ratio in enumerate(ratios)
    ]
    return make_session(slices, **changes)


def findings_of(*sessions: SessionRecord, reference: ReferenceLatency | None = REFERENCE) -> list[Finding]:
    return check_network(sessions, estimate(sessions), reference)


def only_finding(*sessions: SessionRecord) -> Finding:
    """Return the one finding of these sessions and one that is well."""
    (found,) = findings_of(session_of(), *sessions)
    return found


def test_nothing_is_said_against_sessions_that_are_well() -> None:
    sessions = [session_of(), session_of(2.002 * (1 + NOISE[::-1])), session_of(1.999 * (1 + NOISE))]
    assert findings_of(*sessions) == []
    assert grade(estimate(sessions), []) == "A"


THROTTLED_SAMPLE = {"at_ns": 0, "throttled": 0x5}
CASES: dict[str, tuple[Callable[[], SessionRecord], list[str]]] = {
    "throttled": (
        lambda: session_of(samples=(THROTTLED_SAMPLE, {"at_ns": 1_000_000_000, "throttled": 0})),
        ["of 80 slices", "under-voltage, throttled"],
    ),
    "hot": (
        lambda: session_of(gate={"waited_s": 300.0, "closed": ["cpu at 80.0 C"], "attempt": 0}),
        ["1 of 2 sessions", "300 s", "cpu at 80.0 C"],
    ),
    "reference-drift": (lambda: session_of(reference_ns=11_000_000), ["10.0% slower", "ratios stay valid"]),
    "imprecise": (
        lambda: session_of(2 * (1 + 20 * NOISE), stop="cap"),
        ["1 of 2 sessions ended on a cap", "planned ±0.5%"],
    ),
    "two-modes": (
        lambda: session_of(np.tile([2.0, 2.0, 2.2, 2.2, 2.2, 2.0], 7) * (1 + 0.01 * np.resize(NOISE, 42))),
        ["10.0% apart", "1 of 2 sessions"],
    ),
    "drift": (lambda: session_of(2 * (1 + NOISE + np.linspace(0, 0.03, 40))), ["moved by +", "1 of 2 sessions"]),
    "outliers": (
        lambda: session_of(np.where((np.arange(40) % 4 == 1) & (np.arange(40) > 3), 3 + np.arange(40) % 7, 2 * (1 + NOISE))),
        ["9 of 80 slices"],
    ),
    "waited": (lambda: session_of(loop_s=2.0, conditions_after={"waited_s": 0.06}), ["3.0%", "another program"]),
    "unpinned": (lambda: session_of(conditions_after={"pinned": False}), ["1 of 2 sessions"]),
    "battery": (
        lambda: session_of(conditions_before={"battery": {"percent": 80, "status": "Discharging"}}),
        ["battery in 1 of 2 sessions"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_a_doubt_is_found_with_its_value_and_a_remedy(kind: str) -> None:
    make, words = CASES[kind]
    found = only_finding(make())
    assert found.kind == kind
    assert [word for word in words if word not in found.message] == []
    assert found.remedy


def test_every_kind_has_its_case() -> None:
    assert set(CASES) | {"one-session", "few-slices"} == set(KINDS)
    assert set(KINDS) >= NOTES | THROTTLES


@pytest.mark.parametrize(
    "session",
    [
        session_of(reference_ns=10_290_000),
        session_of(reference_ns=9_710_000),
        session_of(
            2 * (1 + NOISE), stop="cap"
        ),  # at its cap just when the interval was what the plan asks for
        session_of(2 * (1 + NOISE + np.linspace(0, 0.008, 40))),
        session_of(np.where(np.arange(40) % 8 == 1, 3 + np.arange(40) % 7, 2 * (1 + NOISE))),
        session_of(np.tile([2.0, 2.0, 2.018, 2.018, 2.018, 2.0], 7) * (1 + 0.1 * np.resize(NOISE, 42))),
        session_of(loop_s=2.0, conditions_after={"waited_s": 0.039}),
        session_of(conditions_after={"pinned": True}),
        session_of(conditions_before={"battery": {"status": "Charging"}}),
        session_of(conditions_before={"throttled": 0x50000}),
        session_of(gate={"waited_s": 120.0, "closed": [], "attempt": 0}),
        session_of(samples=({"at_ns": 0, "throttled": 0},)),
    ],
)
def test_what_is_within_bounds_is_no_doubt(session: SessionRecord) -> None:
    assert findings_of(session_of(), session) == []


def test_a_reference_faster_than_stored_asks_for_calibrating_anew() -> None:
    found = only_finding(session_of(reference_ns=9_000_000))
    assert "10.0% faster" in found.message
    assert "--recalibrate" in found.remedy
    both = findings_of(session_of(reference_ns=9_000_000), session_of(reference_ns=11_000_000))
    assert [finding.kind for finding in both] == ["reference-drift"] * 2
    assert findings_of(session_of(reference_ns=9_000_000), session_of(), reference=None) == []


def test_throttling_around_a_session_without_samples_is_found_too() -> None:
    found = only_finding(session_of(conditions_after={"thermal_status": 2}))
    assert (found.kind, "Android thermal status 2" in found.message) == ("throttled", True)
    locked = {"freq_khz": {str(core): {"min": 1000, "max": 1000, "current": 700} for core in (4, 5)}}
    tier_a = replace(CONFIGURATION, clock_tier="A")
    pair = [session_of(configuration=tier_a), session_of(configuration=tier_a, conditions_after=locked)]
    assert [finding.kind for finding in findings_of(*pair)] == ["throttled"]
    assert findings_of(*(replace(s, configuration=CONFIGURATION) for s in pair)) == []


def test_one_session_says_that_its_scatter_is_unknown_and_how_to_know_it() -> None:
    (found,) = findings_of(session_of())
    assert (found.kind, "--level screen" in found.remedy) == ("one-session", True)


def test_too_few_slices_are_said_to_carry_no_interval() -> None:
    (found,) = findings_of(session_of([2.0, 2.0]), session_of([2.0, 2.0]))
    assert (found.kind, found.message) == ("few-slices", "4 slices carry no interval")


def test_each_cause_is_told_once_for_all_sessions() -> None:
    loose = session_of(conditions_after={"pinned": False})
    (found,) = findings_of(loose, loose, session_of())
    assert "2 of 3 sessions" in found.message


def summary(cv: float | None, interval: tuple[float, float] | None = (0.99, 1.01)) -> Estimate:
    return Estimate(ratio=1.0, interval=interval, sessions=1 if cv is None else 3, slices=40, between_cv=cv)


def finding(kind: Any) -> Finding:
    return Finding(kind=kind, message="", remedy="")


@pytest.mark.parametrize(
    ("cv", "kinds", "expected"),
    [
        (0.0, [], "A"), (0.01, [], "A"), (0.01, ["outliers"], "A"),
        (0.0101, [], "B"), (0.03, [], "B"), (0.005, ["reference-drift"], "B"), (0.03, ["battery"], "B"),
        (0.0301, [], "C"), (0.1, ["drift"], "C"), (None, [], "C"), (None, ["one-session"], "C"),
        (0.1001, [], "D"), (0.005, ["throttled"], "D"), (0.005, ["hot"], "D"), (None, ["hot"], "D"),
    ],
)  # fmt: skip
def test_the_grade_follows_from_scatter_and_doubts(cv: float | None, kinds: list[str], expected: str) -> None:
    assert grade(summary(cv), [finding(kind) for kind in kinds]) == expected


def test_without_an_interval_a_c_is_the_best() -> None:
    assert grade(summary(0.001, interval=None), []) == "C"


@pytest.mark.parametrize("kind", KINDS)
def test_only_notes_leave_an_a(kind: str) -> None:
    assert (grade(summary(0.001), [finding(kind)]) == "A") == (kind in NOTES)


@settings(deadline=None, max_examples=30)
@given(session=SESSIONS)
def test_any_session_is_checked_and_graded(session: SessionRecord) -> None:
    found = check_network([session], estimate([session]), REFERENCE)
    assert {one.kind for one in found} <= set(KINDS)
    assert all(one.message and one.remedy for one in found)
    assert grade(estimate([session]), found) in "CD"

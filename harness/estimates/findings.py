"""Doubts about a measured network, each with its remedy, and the grade that they and the scatter between sessions leave.

`NOTES` inform and leave the grade alone: that there is one session already caps it, and medians do not bend to outliers. All
other kinds are doubts, which no A has; those of `THROTTLES` make a D. The file is long because it is flat: a function a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.estimates.estimate import Estimate, estimate, reference_latency_ns, session_ratios
from harness.estimates.series import drift_of, tukey, two_modes
from harness.records import ReferenceLatency, SessionRecord
from harness.throttling import marked_slices, throttle_signs

Kind = Literal[
    "throttled",
    "hot",
    "reference-drift",
    "one-session",
    "imprecise",
    "few-slices",
    "two-modes",
    "drift",
    "outliers",
    "waited",
    "unpinned",
    "battery",
]
Grade = Literal["A", "B", "C", "D"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NOTES: frozenset[Kind] = frozenset({"one-session", "outliers"})
THROTTLES: frozenset[Kind] = frozenset({"throttled", "hot"})

REFERENCE_SHARE = 0.03  # the sentinel: the reference so far off its stored latency
MODES_APART = 0.01  # modes nearer to each other than that are within what an interval allows
DRIFT_SHARE = 0.01  # within one session; and
DRIFT_P = 0.001  # so seldom chance: neighbouring slices are not quite independent
SEVERE_SHARE = 0.1  # of all slices
WAITED_SHARE = 0.02  # of the time that a session timed
GRADE_CVS: dict[Grade, float] = {"A": 0.01, "B": 0.03, "C": 0.1}  # between sessions, at most

_FRESH = "measure again with --fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A doubt or a note: what was found, with its value, and what a person can do about it."""

    kind: Kind
    message: str
    remedy: str


def check_network(
    sessions: Sequence[SessionRecord], summary: Estimate, reference: ReferenceLatency | None
) -> list[Finding]:
    """Return what is to be said against one network's estimate from these sessions; at most one finding of each cause.

    Without the stored reference latency its drift is not judged.
    """
    found = [
        _throttled(sessions),
        _hot(sessions),
        *(_reference_drift(sessions, reference) if reference is not None else ()),
        _one_session(summary),
        _few_slices(summary),
        _imprecise(sessions),
        _two_modes(sessions),
        _drift(sessions),
        _outliers(sessions),
        _waited(sessions),
        _unpinned(sessions),
        _battery(sessions),
    ]
    return [finding for finding in found if finding is not None]


def grade(summary: Estimate, findings: Sequence[Finding]) -> Grade:
    """Return the grade: A up to 1 % between sessions and without a doubt, B up to 3 %, C up to 10 %, else D.

    D with any sign of throttling; C at best for one session, or without an interval.
    """
    kinds = {finding.kind for finding in findings}
    cv = summary.between_cv
    if kinds & THROTTLES or (cv is not None and cv > GRADE_CVS["C"]):
        return "D"
    if cv is None or cv > GRADE_CVS["B"] or summary.interval is None:
        return "C"
    return "B" if cv > GRADE_CVS["A"] or kinds - NOTES else "A"


def _throttled(sessions: Sequence[SessionRecord]) -> Finding | None:
    marked = sum(sum(marked_slices(session)) for session in sessions)
    signs = dict.fromkeys(sign for session in sessions for sign in _signs(session))
    if not marked and not signs:
        return None
    slices = sum(len(session.slices) for session in sessions)
    return Finding(
        kind="throttled",
        message=f"throttled in {marked} of {slices} slices" + (f" ({'; '.join(signs)})" if signs else ""),
        remedy=f"cool the device, check its power supply, lower its clock, then {_FRESH}",
    )


def _signs(session: SessionRecord) -> list[str]:
    """Return the signs of throttling around a session and in the samples within."""
    cores = session.cores if session.configuration.clock_tier == "A" else ()
    around = [
        *throttle_signs(session.conditions_before, cores),
        *throttle_signs(session.conditions_after, cores),
    ]
    return around + [sign for sample in session.samples for sign in throttle_signs(sample)]


def _hot(sessions: Sequence[SessionRecord]) -> Finding | None:
    hot = [session.gate for session in sessions if session.gate.get("closed")]
    if not hot:
        return None
    reasons = dict.fromkeys(str(reason) for gate in hot for reason in gate["closed"])
    waited_s = max(float(gate.get("waited_s", 0.0)) for gate in hot)
    return Finding(
        kind="hot",
        message=f"{_of(hot, sessions)} began after {waited_s:.0f} s of waiting although the device was not fit: "
        f"{'; '.join(reasons)}",
        remedy=f"let the device cool or give it a fan, then {_FRESH}",
    )


def _reference_drift(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> list[Finding]:
    """The sentinel: how the device's speed compares with that under which its reference latency was taken."""
    shares = [reference_latency_ns(session) / reference.latency_ns - 1 for session in sessions]
    slower = [share for share in shares if share > REFERENCE_SHARE]
    faster = [share for share in shares if share < -REFERENCE_SHARE]
    found = []
    if slower:
        found.append(
            Finding(
                kind="reference-drift",
                message=f"the reference ran up to {max(slower):.1%} slower than its stored latency in {_of(slower, sessions)}; "
                "ratios stay valid, wall times do not speak of a quiet device",
                remedy=f"stop what else runs on the device and let it cool, then {_FRESH}",
            )
        )
    if faster:
        found.append(
            Finding(
                kind="reference-drift",
                message=f"the reference ran up to {-min(faster):.1%} faster than its stored latency in {_of(faster, sessions)}; "
                "ratios stay valid, the stored latency is not the device's best",
                remedy="harness measure --recalibrate",
            )
        )
    return found


def _one_session(summary: Estimate) -> Finding | None:
    if summary.sessions > 1:
        return None
    message = "1 session: how this network scatters from process to process is unknown"
    return Finding(kind="one-session", message=message, remedy="harness measure --level screen")


def _few_slices(summary: Estimate) -> Finding | None:
    if summary.interval is not None:
        return None
    message = f"{summary.slices} slices carry no interval"
    return Finding(
        kind="few-slices", message=message, remedy="harness measure --level final, whose sessions last longer"
    )


def _imprecise(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Sessions that ended without the precision that their plan asks for."""
    worst, planned, stops = 0.0, 0.0, []
    for session in sessions:
        aim = session.plan.get("half_width")
        interval = None if session.stop == "precision" else estimate([session]).interval
        if interval is None or not isinstance(aim, float | int):
            continue
        half_width = (interval[1] - interval[0]) / (interval[0] + interval[1])
        if half_width > aim:
            stops.append(session.stop)
            worst, planned = max((worst, planned), (half_width, float(aim)))
    if not stops:
        return None
    return Finding(
        kind="imprecise",
        message=f"{_of(stops, sessions)} ended on a {' or '.join(sorted(set(stops)))} with an interval of "
        f"±{worst:.1%}, planned ±{planned:.1%}",
        remedy="stop what else runs on the device; harness measure --level final for longer sessions",
    )


def _two_modes(sessions: Sequence[SessionRecord]) -> Finding | None:
    pairs = [pair for session in sessions if (pair := two_modes(session_ratios(session)))]
    apart = [(low, high) for low, high in pairs if high / low - 1 > MODES_APART]
    if not apart:
        return None
    low, high = max(apart, key=lambda pair: pair[1] / pair[0])
    return Finding(
        kind="two-modes",
        message=f"slices gather about two ratios, {low:.4g} and {high:.4g} ({high / low - 1:.1%} apart), in "
        f"{_of(apart, sessions)}",
        remedy=f"lock the clocks, name cores of one kind with --cores, then {_FRESH}",
    )


def _drift(sessions: Sequence[SessionRecord]) -> Finding | None:
    drifts = [drift_of(session_ratios(session)) for session in sessions]
    changes = [drift.change for drift in drifts if abs(drift.change) > DRIFT_SHARE and drift.p < DRIFT_P]
    if not changes:
        return None
    return Finding(
        kind="drift",
        message=f"the ratio moved by {max(changes, key=abs):+.1%} within {_of(changes, sessions)}: network and reference "
        "do not slow down alike",
        remedy=f"let the device cool or lock its clocks, then {_FRESH}",
    )


def _outliers(sessions: Sequence[SessionRecord]) -> Finding | None:
    severe = sum(tukey(session_ratios(session)).severe for session in sessions)
    slices = sum(len(session.slices) for session in sessions)
    if severe <= SEVERE_SHARE * slices:
        return None
    return Finding(
        kind="outliers",
        message=f"{severe} of {slices} slices are severe outliers (beyond 3 interquartile ranges); medians do not bend to them",
        remedy="stop what else runs on the device",
    )


def _waited(sessions: Sequence[SessionRecord]) -> Finding | None:
    shares = [
        waited_s / session.loop_s
        for session in sessions
        if (waited_s := _number(session.conditions_after.get("waited_s"))) is not None and session.loop_s > 0
    ]
    long = [share for share in shares if share > WAITED_SHARE]
    if not long:
        return None
    return Finding(
        kind="waited",
        message=f"threads waited for a core for up to {max(long):.1%} of the time in {_of(long, sessions)}: another program "
        "runs on the measured cores",
        remedy=f"stop that program or name other cores with --cores, then {_FRESH}",
    )


def _unpinned(sessions: Sequence[SessionRecord]) -> Finding | None:
    loose = [session for session in sessions if session.conditions_after.get("pinned") is False]
    if not loose:
        return None
    return Finding(
        kind="unpinned",
        message=f"the system did not keep {_of(loose, sessions)} on the cores asked for",
        remedy="name cores that the device lets this user take, with --cores; 'harness doctor' lists them",
    )


def _battery(sessions: Sequence[SessionRecord]) -> Finding | None:
    drained = [
        session
        for session in sessions
        if isinstance(battery := session.conditions_before.get("battery"), dict)
        and battery.get("status") == "Discharging"
    ]
    if not drained:
        return None
    return Finding(
        kind="battery",
        message=f"the device ran on its battery in {_of(drained, sessions)}: it may save power",
        remedy=f"plug it in, then {_FRESH}",
    )


def _of(some: Sequence[object], sessions: Sequence[SessionRecord]) -> str:
    return f"{len(some)} of {len(sessions)} session{'s' if len(sessions) > 1 else ''}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

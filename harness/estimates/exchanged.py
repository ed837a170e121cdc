"""Ratio of two models that were timed against each other, each as the other's reference in half of the processes.

The two roles are not alike: of one model under two names the one in the network's role seems 0.3 to 3 % faster, by what runs
before it. With the roles exchanged that cancels in the mean of the logarithms. Processes are added until the ratio is known well
enough, so the interval must hold although it was looked at several times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, fsum, hypot, log, pi, sqrt
from statistics import fmean, median, variance

from device_agents.contention import FEWEST_SLICES
from harness.estimates.clean_runs import doubt_of, usable_sessions
from harness.estimates.estimate import (
    COVERAGE,
    LARGEST_DEVIATION,
    USUAL_DF,
    USUAL_SD,
    RatioEstimate,
    session_ratios,
)
from harness.estimates.moved import moved_doubt, near_sessions, streamed_doubt
from harness.records import ReferenceLatency, SessionRecord
from space.statistics import student

# Processes in each role after which a level looks whether that is enough.
LOOKS: Mapping[str, tuple[int, ...]] = {"quick": (1,), "screen": (3, 5, 8, 12), "final": (5, 8, 12, 20)}
# What programs on other cores do to caches moves the ratio of two models by how unlike they are: of four networks whose ratios
# to the reference were 0.82, 0.79, 0.66 and 0.54 a memory streamer on another core moved them by 3, 4, 4 and 6 %.
UNLIKE = 0.2  # the logarithm of a ratio from which on the whole doubt counts


def unlikeness(ratio: float) -> float:
    """Return the share of what programs on other cores do to either of two models that moves their ratio, 0 to 1."""
    return min(1.0, abs(log(ratio)) / UNLIKE)


def looks_of(level: str, sessions: int | None) -> tuple[int, ...]:
    """Return the numbers of processes in each role after which it is looked: the level's, or `sessions` alone."""
    return LOOKS[level] if sessions is None else (sessions,)


def error_at(processes: int, looks: Sequence[int]) -> float:
    """Return the error probability of the look after this many processes in each role; all looks together have `1 - COVERAGE`.

    The k-th look has a share of 1 / (k (k + 1)): all shares sum to 1 however many looks there are, so that the union bound holds
    the error (alpha spending without credit for what looks have in common; Jennison & Turnbull 1999, chapter 7). Beyond the last
    look, of a single one too, there is one more wherever the number doubles: who measures again looks again.
    """
    number = max(1, sum(look <= processes for look in looks))
    last = looks[-1]
    while last * 2 <= processes:
        last *= 2
        number += 1
    return (1 - COVERAGE) / (number * (number + 1))


def exchanged_estimate(
    forward: Sequence[SessionRecord],
    backward: Sequence[SessionRecord],
    references: tuple[ReferenceLatency, ReferenceLatency],
    error: float,
) -> RatioEstimate:
    """Return the ratio of the first model to the second, from sessions with the first as network, and with the second.

    Each session has a process of its own, whose value is the logarithm of the median ratio of its clean slices. The interval is
    Student's t over these values at the level `error`, and wider by what slices cannot show. A few processes that happen to lie
    close together say little: it is no narrower than one whose scatter is moderated by what is usual
    (`harness.estimates.estimate.USUAL_SD`), to which one process in each role adds its slices' own. Without clean slices in both
    roles, or of fewer than 6, there is none. `references` are the quiet levels of the second model and of the first.
    Raises: ValueError when neither role has a clean slice.
    """
    roles = zip((forward, backward), references, strict=True)
    used = [near_sessions(usable_sessions(sessions), quiet) for sessions, quiet in roles]
    ratios = [[values for one in sessions if (values := session_ratios(one))] for sessions in used]
    logs = [
        [sign * log(median(values)) for values in role] for sign, role in zip((1, -1), ratios, strict=True)
    ]
    every = [value for role in logs for value in role]
    if not every:
        raise ValueError(f"{len(forward) + len(backward)} sessions, none with a clean slice")
    center = fmean(fmean(role) for role in logs if role)
    slices = sum(len(values) for role in ratios for values in role)
    interval = None
    if all(logs) and slices >= FEWEST_SLICES:
        reach = _reach(logs, ratios, error)
        pairs = zip(used, references, strict=True)
        moved = [moved_doubt(one, quiet) for sessions, quiet in pairs for one in sessions]
        streamed = fmean(streamed_doubt(one) for sessions in used for one in sessions)
        doubt = max(unlikeness(exp(center)) * fmean(moved), streamed)
        unseen = fmean(
            doubt_of(one) for sessions in used for one in sessions
        )  # of which the slices' scatter shows nothing
        reach = min(hypot(reach, doubt) + log(1 + unseen), LARGEST_DEVIATION)
        interval = (exp(center - reach), exp(center + reach))
    names = [one.process for sessions in used for one in sessions]
    return RatioEstimate(
        ratio=exp(center),
        interval=interval,
        sessions=sum(map(len, used)),
        slices=slices,
        between_cv=_scatter(logs) if len(every) - sum(map(bool, logs)) > 0 else None,
        processes=len(every),
        named=frozenset(names) if all(names) else frozenset(),
        apart=interval,
    )


def _reach(
    logs: Sequence[Sequence[float]], ratios: Sequence[Sequence[Sequence[float]]], error: float
) -> float:
    """Return half the width of the interval of the mean over both roles."""
    df = sum(len(role) - 1 for role in logs)
    own = _scatter(logs) ** 2 if df else _noise(ratios)
    moderated = (df * own + USUAL_DF * USUAL_SD**2) / (df + USUAL_DF) if df else USUAL_SD**2 + own

    def reach(variance: float, degrees: int) -> float:
        spread = sqrt(variance * sum(1 / len(role) for role in logs)) / 2
        return float(student(degrees, 1 - error)) * spread

    return max(reach(moderated, df + USUAL_DF), reach(own, df) if df else 0.0)


def _scatter(logs: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation of values about the mean of their role."""
    deviations = [value - center for role in logs if role for center in [fmean(role)] for value in role]
    return sqrt(fsum(one * one for one in deviations) / (len(deviations) - sum(map(bool, logs))))


def _noise(ratios: Sequence[Sequence[Sequence[float]]]) -> float:
    """Return the variance of a process's value by the scatter of its slices, as of a median of normal values."""
    found = [
        pi / 2 * variance(map(log, values)) / len(values)
        for role in ratios
        for values in role
        if len(values) > 1
    ]
    return fmean(found) if found else 0.0

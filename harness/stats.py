"""Latency statistics: pure functions of raw samples.

The estimate that ranks and compares is paired: in each slice, the fastest run of the network over the fastest run of the
reference; over slices, the median. The speed of a machine that drifts over seconds cancels in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from harness.records import SessionRecord, Slice

BOOTSTRAP_DRAWS = 2000
INTERVAL_SLICES = (
    6  # of fewer values, not even the extremes enclose the median with 95 %: 1 - 2 * 0.5**5 = 94 %
)
P90_SAMPLES = 64  # fewer do not carry a 90th percentile
QUIET_WINDOW_SLICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A ratio to the reference from so many sessions and slices; no unit.

    `interval`: the 95 % interval, low and high; None below 6 slices, which carry none.
    """

    ratio: float
    interval: tuple[float, float] | None
    sessions: int
    slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTime:
    """What a user feels, in ms: median and 90th percentile of plain wall times (p90 None below 64 samples)."""

    median_ms: float
    p90_ms: float | None
    samples: int


def slice_ratio(piece: Slice, network_loops: int, reference_loops: int) -> float:
    """Return the fastest run of the network over the fastest run of the reference within one slice."""
    reference_ns = min(piece.reference_before_ns + piece.reference_after_ns) / reference_loops
    return min(piece.network_ns) / network_loops / reference_ns


def session_ratios(session: SessionRecord) -> tuple[float, ...]:
    """Return the ratio of each slice of a session, in the order measured."""
    return tuple(slice_ratio(s, session.network_loops, session.reference_loops) for s in session.slices)


def estimate(sessions: Sequence[SessionRecord], *, seed: int = 0) -> Estimate:
    """Combine sessions of one network: the median of session medians, with a hierarchical bootstrap interval.

    Each draw resamples sessions, then slices within each drawn session (Davison & Hinkley 1997, section 3.8). With one session
    the interval speaks of the slices alone.
    Raises: ValueError without sessions, or when their configurations differ.
    """
    if not sessions:
        raise ValueError("no session to estimate from")
    if len({s.configuration.digest for s in sessions}) > 1 or len({s.model_digest for s in sessions}) > 1:
        raise ValueError("sessions of different configurations or models are never merged")
    ratios = [np.array(session_ratios(s)) for s in sessions]
    centre = float(np.median([np.median(r) for r in ratios]))
    rng = np.random.default_rng(seed)
    inner = np.empty((len(ratios), BOOTSTRAP_DRAWS))  # (session, draw): a resampled median of each session
    for row, values in enumerate(ratios):
        inner[row] = np.median(values[rng.integers(len(values), size=(BOOTSTRAP_DRAWS, len(values)))], axis=1)
    picks = rng.integers(len(ratios), size=(len(ratios), BOOTSTRAP_DRAWS))
    draws = np.median(inner[picks, np.arange(BOOTSTRAP_DRAWS)], axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    slices = sum(len(r) for r in ratios)
    return Estimate(
        ratio=centre,
        interval=(min(float(low), centre), max(float(high), centre)) if slices >= INTERVAL_SLICES else None,
        sessions=len(sessions),
        slices=slices,
    )


def wall_time(sessions: Sequence[SessionRecord]) -> WallTime:
    """Return plain wall times over all timed runs but the first of each slice; reported, never ranked on."""
    samples_ms = [
        ns / s.network_loops / 1e6 for s in sessions for piece in s.slices for ns in piece.network_ns
    ]
    if not samples_ms:
        raise ValueError("no sample")
    p90_ms = float(np.quantile(samples_ms, 0.9)) if len(samples_ms) >= P90_SAMPLES else None
    return WallTime(median_ms=median(samples_ms), p90_ms=p90_ms, samples=len(samples_ms))


def quiet_latency_ns(session: SessionRecord) -> float:
    """Return the reference's latency in the quietest window of a session in which it was timed against itself, in ns.

    Of every window of 8 slices, the median of the slices' fastest runs; of these, the smallest.
    """
    fastest = [
        min(
            min(piece.network_ns) / session.network_loops,
            min(piece.reference_before_ns + piece.reference_after_ns) / session.reference_loops,
        )
        for piece in session.slices
    ]
    width = min(QUIET_WINDOW_SLICES, len(fastest))
    return float(min(median(fastest[i : i + width]) for i in range(len(fastest) - width + 1)))


def reference_latency_ns(session: SessionRecord) -> float:
    """Return the reference's latency as the session saw it, in ns: the median over slices of its fastest run."""
    return median(
        min(piece.reference_before_ns + piece.reference_after_ns) / session.reference_loops
        for piece in session.slices
    )

"""Latency statistics: pure functions of raw samples.

The estimate that ranks and compares is paired: in each slice, the fastest run of the network over the fastest run of the
reference; over slices, the median. The speed of a machine that drifts over seconds cancels in it.

Sessions of one network scatter by more than their slices tell, and three to five of them tell poorly by how much. So the
scatter is pooled over the networks of a configuration, and a network's own is moderated by it (Smyth 2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, log2
from statistics import fmean, median, stdev

import numpy as np
import numpy.typing as npt

from harness.records import SessionRecord, Slice

COVERAGE = 0.95  # of an interval, if nothing else is asked for
BOOTSTRAP_DRAWS = 2000
INTERVAL_SLICES = (
    6  # of fewer values, not even the extremes enclose the median with 95 %: 1 - 2 * 0.5**5 = 94 %
)
P90_SAMPLES = 64  # fewer do not carry a 90th percentile
P99_SAMPLES = 662  # nor a 99th
QUIET_WINDOW_SLICES = 8
SCATTER_DF = 8  # fewer degrees of freedom are no pool: t is 2.3 there, and 1.96 of a scatter that is known
PRIOR_DF = 10  # the pool's weight in a network's own scatter, in sessions; networks do not all scatter alike
POOL_SIZE = 1000  # so many deviations carry the shape of a scatter
SCATTER_DRAWS = 200  # for a slice noise that is then averaged over all sessions
STUDENT_DRAWS = (
    1_000_000  # values, drawn once for each number of sessions: two sessions' quantile is then within 1 %
)
LARGEST_DEVIATION = 50.0  # of a logarithm: stands for an interval without bounds, and does not overflow

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A ratio to the reference from so many sessions and slices; no unit.

    `interval`: of 95 %, or what was asked for, low and high; None below 6 slices, which carry none. `between_cv`: the relative
    standard deviation of the sessions' medians; None for one session.
    """

    ratio: float
    interval: tuple[float, float] | None
    sessions: int
    slices: int
    between_cv: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """How sessions of one network scatter on a configuration, pooled over its networks with two sessions and more.

    `sd`: the relative standard deviation between sessions, less what their slices' noise accounts for. `df`: sessions less
    networks. `deviations`: of the logarithms of session medians (noise included) from their network's mean, each inflated by
    sqrt(k / (k - 1)) for k sessions; at most 1,000, quantiles of them if there were more.
    """

    sd: float
    df: int
    deviations: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.sd >= 0:
            raise ValueError(f"sd = {self.sd}: must not be negative")
        if self.df < 1 or not self.deviations:
            raise ValueError(f"df = {self.df}, {len(self.deviations)} deviations: no scatter without any")


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTime:
    """What a user feels, in ms: median and percentiles of plain wall times (p90 None below 64 samples, p99 below 662)."""

    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    samples: int


def slice_ratio(piece: Slice, network_loops: int, reference_loops: int) -> float:
    """Return the fastest run of the network over the fastest run of the reference within one slice."""
    reference_ns = min(piece.reference_before_ns + piece.reference_after_ns) / reference_loops
    return min(piece.network_ns) / network_loops / reference_ns


def session_ratios(session: SessionRecord) -> tuple[float, ...]:
    """Return the ratio of each slice of a session, in the order measured."""
    return tuple(slice_ratio(s, session.network_loops, session.reference_loops) for s in session.slices)


def estimate(
    sessions: Sequence[SessionRecord],
    scatter: Scatter | None = None,
    *,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> Estimate:
    """Combine sessions of one network: the median of session medians, with a hierarchical bootstrap interval.

    Each draw makes sessions anew, slices within them too (Davison & Hinkley 1997, section 3.8), and takes their median. With
    the configuration's `scatter` a session deviates as the pool does, scaled by a moderated standard deviation, itself drawn as
    uncertain as its degrees of freedom make it: so one session has an honest interval, too. Without it the sessions' medians
    deviate as Student's t, and the interval is never narrower than their slices allow; that of one session speaks of its slices
    alone. Below 6 slices (of 95 %) there is none in any case: a pool does not tell how the few slices scatter. `coverage` is the
    probability that the interval is meant to hold the ratio with.
    Raises: ValueError without sessions, or when their configurations differ, or for a coverage that is no probability.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage {coverage}: give a share between 0 and 1, such as {COVERAGE}")
    if not sessions:
        raise ValueError("no session to estimate from")
    ratios = _ratios(sessions)
    medians = [float(np.median(values)) for values in ratios]
    slices = sum(len(values) for values in ratios)
    interval = None
    if slices >= (INTERVAL_SLICES if coverage == COVERAGE else _fewest_slices(coverage)):
        interval = _interval(ratios, np.array(medians), scatter, coverage, np.random.default_rng(seed))
    return Estimate(
        ratio=float(np.median(medians)),
        interval=interval,
        sessions=len(sessions),
        slices=slices,
        between_cv=stdev(medians) / fmean(medians) if len(medians) > 1 else None,
    )


def scatter_of(groups: Iterable[Sequence[SessionRecord]]) -> Scatter | None:
    """Pool the scatter between sessions over networks, a group the sessions of one; None below 8 degrees of freedom.

    Groups of one session add nothing.
    Raises: ValueError when the sessions of a group differ in network, or groups in configuration.
    """
    rng = np.random.default_rng(0)
    deviations: list[float] = []
    noises: list[float] = []
    df = 0
    configurations = set()
    for sessions in groups:
        count = len(sessions)
        if count < 2:
            continue
        ratios = _ratios(sessions)
        configurations.add(sessions[0].configuration)
        logs = np.log([np.median(values) for values in ratios])
        deviations += ((logs - logs.mean()) * np.sqrt(count / (count - 1))).tolist()
        noises += [float(np.log(_resampled_medians(values, SCATTER_DRAWS, rng)).var()) for values in ratios]
        df += count - 1
    if len(configurations) > 1:
        raise ValueError("sessions of different configurations have no scatter in common")
    if df < SCATTER_DF:
        return None
    variance = float(np.mean(np.square(deviations))) - fmean(noises)
    if len(deviations) > POOL_SIZE:
        deviations = np.quantile(deviations, (np.arange(POOL_SIZE) + 0.5) / POOL_SIZE).tolist()
    return Scatter(sd=max(variance, 0.0) ** 0.5, df=df, deviations=tuple(deviations))


def wall_time(sessions: Sequence[SessionRecord]) -> WallTime:
    """Return plain wall times over all timed runs but the first of each slice; reported, never ranked on."""
    samples_ms = [
        ns / s.network_loops / 1e6 for s in sessions for piece in s.slices for ns in piece.network_ns
    ]
    if not samples_ms:
        raise ValueError("no sample")
    count = len(samples_ms)
    return WallTime(
        median_ms=median(samples_ms),
        p90_ms=float(np.quantile(samples_ms, 0.9)) if count >= P90_SAMPLES else None,
        p99_ms=float(np.quantile(samples_ms, 0.99)) if count >= P99_SAMPLES else None,
        samples=count,
    )


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


def _ratios(sessions: Sequence[SessionRecord]) -> list[Values]:
    """Return each session's slice ratios. Raises: ValueError when the sessions are not of one network and configuration."""
    if len({s.configuration for s in sessions}) > 1 or len({s.model_digest for s in sessions}) > 1:
        raise ValueError("sessions of different configurations or models are never merged")
    return [np.array(session_ratios(session)) for session in sessions]


def _interval(
    ratios: Sequence[Values],
    medians: Values,
    scatter: Scatter | None,
    coverage: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the interval of the median of session medians."""
    count, centre = len(ratios), float(np.median(medians))
    draws = np.stack(
        [_resampled_medians(values, BOOTSTRAP_DRAWS, rng) for values in ratios]
    )  # (session, draw)
    noise = float(np.log(draws).var(axis=1).mean())  # of a session's median, from its slices
    draws *= (centre / medians)[:, None]
    own = float(np.log(medians).var(ddof=1)) if count > 1 else 0.0
    if scatter is not None:
        prior_df = min(scatter.df, PRIOR_DF)
        df = prior_df + count - 1
        moderated = (prior_df * (scatter.sd**2 + noise) + (count - 1) * own) / df  # Smyth 2004, section 3
        beyond = np.maximum(moderated * df / rng.chisquare(df, BOOTSTRAP_DRAWS) - noise, 0.0)
        pool = np.array(scatter.deviations)
        pool /= np.sqrt(np.square(pool).mean()) or 1.0
        shape = rng.choice(pool, draws.shape) * rng.choice((-1.0, 1.0), draws.shape)
        draws *= np.exp(np.clip(np.sqrt(beyond) * shape, -LARGEST_DEVIATION, LARGEST_DEVIATION))
    low, high = np.quantile(np.median(draws, axis=0), ((1 - coverage) / 2, (1 + coverage) / 2))
    if scatter is None and count > 1:
        factor = float(np.exp(min(own**0.5 * _student_median(count, coverage), LARGEST_DEVIATION)))
        low, high = min(low, centre / factor), max(high, centre * factor)
    return min(float(low), centre), max(float(high), centre)


def _fewest_slices(coverage: float) -> int:
    """Return how many values' extremes enclose the median with that probability, 1 - 2 * 0.5**n."""
    return ceil(log2(2 / (1 - coverage)))


@cache
def _student_median(count: int, coverage: float) -> float:
    """Return the bound that the median of so many normal values over their estimated deviation keeps with that probability.

    Of two it is Student's t over the square root of 2; beyond, the median scatters more than the mean of which t speaks.
    """
    rng = np.random.default_rng(0)
    draws = STUDENT_DRAWS // count
    medians = np.abs(np.median(rng.standard_normal((count, draws)), axis=0))
    return float(np.quantile(medians * np.sqrt((count - 1) / rng.chisquare(count - 1, draws)), coverage))


def _resampled_medians(values: Values, draws: int, rng: np.random.Generator) -> Values:
    """Return so many medians of resampled values without resampling them: the same distribution, much faster.

    n draws from n values are the values at n uniform places, so their median is the value at the uniforms' median, whose
    distribution is Beta; of an even number, at the two middle ones. (David & Nagaraja, Order Statistics, 2003.)
    """
    ordered, count = np.sort(values), len(values)
    middle = (count + 1) // 2
    place = rng.beta(middle, count + 1 - middle, draws)
    lower = ordered[np.minimum((place * count).astype(np.intp), count - 1)]
    if count % 2:
        return lower
    place += (1 - place) * rng.beta(1, count - middle, draws)  # the least of the uniforms above
    upper = ordered[np.minimum((place * count).astype(np.intp), count - 1)]
    return (lower + upper) / 2

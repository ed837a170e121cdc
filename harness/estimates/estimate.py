"""Latency statistics: pure functions of raw samples.

The estimate that ranks and compares is paired: in each slice, the fastest clean run of the network over the fastest clean run of
the reference; over slices, the median. The speed of a machine that drifts over seconds cancels in it, and runs in which another
program had the core are no samples (harness.estimates.clean_runs).

Processes that measure one network scatter by more than their slices tell, and three to five of them tell poorly by how much. So
the scatter is pooled over the networks of a configuration, and a network's own is moderated by it (Smyth 2004). Sessions of one
process share what differs from process to process: they are one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from math import ceil, exp, hypot, log, log2
from statistics import NormalDist, fmean, median, stdev

import numpy as np

from harness.estimates.clean_runs import (
    clean_slices,
    doubt_of,
    settled_network_ns,
    usable_sessions,
    warm_network_ns,
)
from harness.records import SessionRecord
from space.indexing import FloatArray
from space.statistics import variance_ratio

COVERAGE = 0.95  # of an interval, if nothing else is asked for
BOOTSTRAP_DRAWS = 2000
P90_SAMPLES = 64  # fewer do not carry a 90th percentile
P99_SAMPLES = 662  # nor a 99th
# What processes scatter by where little is known of a configuration, and the degrees of freedom that it counts for: in 28 small
# campaigns (TFLite, 1 and 2 threads, free and beside all kinds of programs) pools of 2 to 8 degrees of freedom had 0 to 2.4 %.
USUAL_SD = 0.012
USUAL_DF = 4
POOL_DF = 4  # fewer of its own are no pool: t is 2.8 there; three networks in three processes have 6
# How much of them what is usual counts for beside such few: two, three and four processes of a lone network that scatter by
# 2.4 % then held in 90, 94 and 93 % of cases, in place of 85, 90 and 90; by 4 % in 82, 90 and 90, in place of 73, 83 and 86.
FEW_DF = 2
PRIOR_DF = 25  # the pool's weight in a network's own scatter, in processes; networks do not all scatter alike
# Of networks that scatter as the pool does so many show no more by chance; of one that does its own scatter counts alone. By two
# processes, whose own interval is so wide that it makes grade D, fewer may seem so.
OWN_SCATTER, OWN_SCATTER_OF_TWO = 0.95, 0.99
SMOOTHING = 0.9  # of a pool's shape, by Silverman's rule of thumb
POOL_SIZE = 1000  # deviations that represent the shape of a scatter
SCATTER_DRAWS = 200  # for a slice noise that is then averaged over all sessions
# Values, drawn once for each number of sessions: two sessions' quantile is then within 1 %.
STUDENT_DRAWS = 1_000_000
LARGEST_DEVIATION = 50.0  # of a logarithm: represents an interval without bounds, and does not overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioEstimate:
    """Estimated ratio to the reference, with its numbers of sessions, processes and clean slices; no unit.

    `interval`: of 95 %, or what was asked for, low and high; None below 6 slices, which carry none. `between_cv`: the relative
    standard deviation of the processes' medians; None for one process. `is_pooled`: enough networks of the configuration tell
    how processes scatter. `named`: the processes by name, where all have one, and
    `apart` the interval without the part common to all networks of a process, for comparing networks of the same processes.
    `moved`: by how far programs on other cores may have moved it, relative, which is in `interval` and not in `apart`.
    """

    ratio: float
    interval: tuple[float, float] | None
    sessions: int
    slices: int
    between_cv: float | None = None
    processes: int = 1
    is_pooled: bool = False
    named: frozenset[str] = frozenset()
    apart: tuple[float, float] | None = None
    moved: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Scatter between processes that measure one network, pooled over networks with two or more.

    `sd`: the relative standard deviation between processes, less what their slices' noise accounts for; `shared_sd` the part of
    it that all networks of a process have in common. `df`: of the pool, in effect: processes less networks, and less where many
    networks share few processes; what is usual is in it where it counts. `deviations`: of the logarithms of medians (noise
    included) from their network's mean, each inflated by sqrt(k / (k - 1)) for k processes; at most 1,000, quantiles of them if
    there were more. `is_pool`: the processes alone have degrees of freedom enough.
    """

    sd: float
    df: float
    deviations: tuple[float, ...]
    shared_sd: float = 0.0
    is_pool: bool = False

    @property
    def apart(self) -> Scatter:
        """Return the scatter without the part common to all networks of a process."""
        sd = max(self.sd**2 - self.shared_sd**2, 0.0) ** 0.5
        return replace(self, sd=sd, shared_sd=0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.shared_sd <= self.sd:
            raise ValueError(f"sd = {self.sd}, shared_sd = {self.shared_sd}: the part is from 0 to the whole")
        if self.df < 1 or not self.deviations:
            raise ValueError(f"df = {self.df}, {len(self.deviations)} deviations: no scatter without any")


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTime:
    """Wall times in ms: median and percentiles (p90 None below 64 samples, p99 below 662); `samples` of the percentiles."""

    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    samples: int


def session_ratios(session: SessionRecord) -> tuple[float, ...]:
    """Return the ratio of each clean slice of a session, in the order measured."""
    return tuple(piece.ratio for piece in clean_slices(session))


def estimate(
    sessions: Sequence[SessionRecord],
    scatter: Scatter | None = None,
    *,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> RatioEstimate:
    """Combine sessions of one network: the median of the processes' medians, with a hierarchical bootstrap interval.

    Sessions that were contended are left out if there are others. Each draw resamples processes, and slices within them
    (Davison & Hinkley 1997, section 3.8), and takes their median. With the configuration's `scatter` a process deviates as the
    pool does, scaled by a moderated standard deviation, itself drawn as uncertain as its degrees of freedom make it: so one
    process has an honest interval, too. Without it, and where a network's own processes scatter by more than the pool explains,
    the medians deviate as Student's t, and the interval is never narrower than their slices allow; that of one process speaks
    of its slices alone. Below 6 slices (of 95 %) there is none in any case: a
    pool does not tell how the few slices scatter. What slices cannot show (harness.estimates.clean_runs) widens it. `coverage` is
    the probability that the interval is meant to hold the ratio with.
    Raises: ValueError without sessions or without a clean slice, or when their configurations differ, or for a coverage that is
    no probability.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage {coverage}: give a share between 0 and 1, such as {COVERAGE}")
    used = usable_sessions(sessions)
    units = list(_by_process(used).values())
    if not units:
        raise ValueError(f"no session to estimate from: {len(sessions)} sessions, none with a clean slice")
    medians = [median(values.tolist()) for values in units]
    ratio = median(medians)
    slices = sum(len(values) for values in units)
    interval = apart = None
    if slices >= _fewest_slices(coverage):
        doubt = fmean(doubt_of(session) for session in used)
        interval = _widened(_interval(units, scatter, coverage, seed), doubt)
        apart = interval
        if scatter is not None and scatter.shared_sd > 0:
            apart = _widened(_interval(units, scatter.apart, coverage, seed), doubt)
    names = [session.process for session in used]
    return RatioEstimate(
        ratio=ratio,
        interval=interval,
        sessions=len(used),
        slices=slices,
        between_cv=stdev(medians) / fmean(medians) if len(medians) > 1 else None,
        processes=len(units),
        is_pooled=scatter is not None and scatter.is_pool,
        named=frozenset(names) if all(names) else frozenset(),
        apart=apart,
    )


def scatter_of(groups: Iterable[Sequence[SessionRecord]]) -> Scatter:
    """Pool the scatter between processes over networks, a group the sessions of one.

    Of each group the sessions that make its estimate; groups of one process add nothing. A small pool says little, be it narrow
    or wide, so it is moderated by what is usual (`USUAL_SD`, which counts for 4 degrees of freedom, and for 2 beside fewer than
    `POOL_DF`); without any, that is all. What is usual narrows no pool of its own, `POOL_DF` or more: on a device whose processes
    scatter more, too few intervals held.
    Where networks were measured in the same processes, a process may shift all its networks alike: that part is set apart by a
    fit of networks and processes (two-way analysis of variance), and as few processes tell poorly of it, the pool's degrees of
    freedom are fewer (Satterthwaite 1946). Raises: ValueError when the sessions of a group differ in network, or groups in
    configuration.
    """
    rng = np.random.default_rng(0)
    deviations: list[float] = []
    noises: list[float] = []
    networks: list[dict[str, float]] = []
    configurations = set()
    for sessions in groups:
        units = _by_process(usable_sessions(sessions))
        count = len(units)
        if count < 2:
            continue
        configurations.add(sessions[0].configuration)
        logs = np.log([median(values.tolist()) for values in units.values()])
        deviations += ((logs - logs.mean()) * np.sqrt(count / (count - 1))).tolist()
        noises += [float(np.log(_resampled_medians(v, SCATTER_DRAWS, rng)).var()) for v in units.values()]
        networks.append(dict(zip(units, logs.tolist(), strict=True)))
    if len(configurations) > 1:
        raise ValueError("sessions of different configurations have no scatter in common")
    usual = [USUAL_SD * NormalDist().inv_cdf((place + 0.5) / USUAL_DF) for place in range(USUAL_DF)]
    if not networks:
        return Scatter(sd=USUAL_SD, df=USUAL_DF, deviations=tuple(usual))
    total = float(np.mean(np.square(deviations)))
    processes_df = len(deviations) - len(networks)
    shared, own_df = _shared_variance(networks, total, processes_df)
    variance, is_pool = max(total - fmean(noises), 0.0), own_df >= POOL_DF
    if is_pool and variance > USUAL_SD**2:
        usual = []
    usual_df = FEW_DF if processes_df < POOL_DF else len(usual)
    df = own_df + usual_df
    deviations += usual
    if len(deviations) > POOL_SIZE:
        deviations = np.quantile(deviations, (np.arange(POOL_SIZE) + 0.5) / POOL_SIZE).tolist()
    return Scatter(
        sd=((own_df * variance + usual_df * USUAL_SD**2) / df) ** 0.5,
        df=df,
        deviations=tuple(deviations),
        shared_sd=(own_df * min(shared, variance) / df) ** 0.5,
        is_pool=is_pool,
    )


def wall_time(sessions: Sequence[SessionRecord]) -> WallTime:
    """Return plain wall times; reported, never ranked on.

    The median is of the undisturbed settled runs, where a session has any: what tools say that run one model again and again
    (benchmarks/fidelity.py). Otherwise, and for the percentiles, it is of all runs of the slices but the first two, which follow
    the switch of models and find cold caches; of slices with two runs, and of runs of 50 ms and more, only the first is left out.
    Raises: ValueError without a sample.
    """
    samples_ms = [
        ns / s.network_loops / 1e6 for s in sessions for piece in s.slices for ns in warm_network_ns(piece)
    ]
    settled_ms = [ns / s.network_loops / 1e6 for s in sessions for ns in settled_network_ns(s)]
    if not samples_ms:
        raise ValueError("no sample")
    count = len(samples_ms)
    return WallTime(
        median_ms=median(settled_ms or samples_ms),
        p90_ms=float(np.quantile(samples_ms, 0.9)) if count >= P90_SAMPLES else None,
        p99_ms=float(np.quantile(samples_ms, 0.99)) if count >= P99_SAMPLES else None,
        samples=count,
    )


def half_width(value: float, interval: tuple[float, float]) -> float:
    """Return half the width of a value's interval, relative to it."""
    return (interval[1] - interval[0]) / 2 / value


def combined_interval(value: float, interval: tuple[float, float], reach: float) -> tuple[float, float]:
    """Return the interval of a value times a factor near 1 that is uncertain by `reach`, relative, at the same coverage.

    In logarithms the two add as variances, each side apart.
    """
    below, above = (
        min(hypot(log(one), reach), LARGEST_DEVIATION) for one in (value / interval[0], interval[1] / value)
    )
    return value * exp(-below), value * exp(above)


def reference_latency_ns(session: SessionRecord) -> float:
    """Return the reference's latency as the session saw it, in ns: the median over slices of its fastest run."""
    clean = clean_slices(session)
    if clean:
        return median(piece.reference_ns for piece in clean)
    return median(
        min(piece.reference_before_ns + piece.reference_after_ns) / session.reference_loops
        for piece in session.slices
    )


def _by_process(sessions: Sequence[SessionRecord]) -> dict[str, FloatArray]:
    """Return the slice ratios of each process, float64 (slices,), by its name or by that of its only session.

    Raises: ValueError when the sessions are not of one network and configuration.
    """
    if len({s.configuration for s in sessions}) > 1 or len({s.model_digest for s in sessions}) > 1:
        raise ValueError("sessions of different configurations or models are never merged")
    found: dict[str, list[tuple[float, ...]]] = {}
    for place, session in enumerate(sessions):
        if ratios := session_ratios(session):
            found.setdefault(session.process or f"{session.session_id} {place}", []).append(ratios)
    return {name: np.array(list(chain(*ratios))) for name, ratios in found.items()}


def _shared_variance(networks: Sequence[Mapping[str, float]], total: float, df: int) -> tuple[float, float]:
    """Return the share of the variance between processes common to all networks of a process, and the degrees of freedom.

    networks: of each, the logarithm of its median by process.
    """
    counts = Counter(chain(*networks))
    rows = [
        (number, process, log)
        for number, logs in enumerate(networks)
        for process, log in logs.items()
        if counts[process] > 1
    ]
    if not rows:
        return 0.0, df
    names = list(dict.fromkeys(process for _, process, _ in rows))
    design = np.zeros((len(rows), len(networks) + len(names)))
    for row, (number, process, _) in enumerate(rows):
        design[row, [number, len(networks) + names.index(process)]] = 1
    logs = np.array([log for *_, log in rows])
    solution, _, rank, _ = np.linalg.lstsq(design, logs)
    shared_df = int(rank) - len({number for number, *_ in rows})
    own_df = len(rows) - int(rank)
    if shared_df < 1:
        return 0.0, df
    own = float(np.square(logs - design @ solution).sum()) / own_df if own_df else 0.0
    shared = max(total - own, 0.0)
    variance = shared**2 / shared_df + (own**2 / own_df if own_df else 0.0)
    return shared, min(max((shared + own) ** 2 / variance, 1.0), df) if variance else df


def _widened(interval: tuple[float, float], doubt: float) -> tuple[float, float]:
    return interval[0] / (1 + doubt), interval[1] * (1 + doubt)


def _interval(
    ratios: Sequence[FloatArray], scatter: Scatter | None, coverage: float, seed: int
) -> tuple[float, float]:
    """Return the interval, low and high, of the median of the processes' medians. ratios: of each process, (slices,)."""
    rng = np.random.default_rng(seed)
    medians = np.array([median(values.tolist()) for values in ratios])
    count, center = len(ratios), median(medians.tolist())
    # (process, draw).
    draws = np.stack([_resampled_medians(values, BOOTSTRAP_DRAWS, rng) for values in ratios])
    noise = float(np.log(draws).var(axis=1).mean())  # of a process's median, from its slices
    draws *= (center / medians)[:, None]
    own = float(np.log(medians).var(ddof=1)) if count > 1 else 0.0
    if scatter is not None:
        prior_df = min(scatter.df, PRIOR_DF)
        # Smyth 2004, section 3; the network's own processes are in the pool, and count once.
        moderated = (prior_df * (scatter.sd**2 + noise) + (count - 1) * own) / (prior_df + count - 1)
        df = min(prior_df + count - 1, scatter.df)
        beyond = np.maximum(moderated * df / rng.chisquare(df, BOOTSTRAP_DRAWS) - noise, 0.0)
        shape = _shapes(scatter, draws.shape, rng)
        draws *= np.exp(np.clip(np.sqrt(beyond) * shape, -LARGEST_DEVIATION, LARGEST_DEVIATION))
    draws.sort(axis=0)
    drawn = (draws[(count - 1) // 2] + draws[count // 2]) / 2  # np.median of few rows takes twice as long
    low, high = np.quantile(drawn, ((1 - coverage) / 2, (1 + coverage) / 2))
    if count > 1 and (scatter is None or own > _most_variance(scatter, noise, count)):
        factor = float(np.exp(min(own**0.5 * _student_median(count, coverage), LARGEST_DEVIATION)))
        low, high = min(low, center / factor), max(high, center * factor)
    return min(float(low), center), max(float(high), center)


def _most_variance(scatter: Scatter, noise: float, count: int) -> float:
    """Return the largest variance of a network's `count` processes that the pool explains, by Fisher's F.

    Some networks scatter by far more than others, such as those whose processes fall into two groups: beside a pool of many five
    processes would get an interval that holds in 50 to 79 % of cases.
    """
    share = OWN_SCATTER if count > 2 else OWN_SCATTER_OF_TWO
    return variance_ratio(count - 1, scatter.df, share) * (scatter.sd**2 + noise)


def _shapes(scatter: Scatter, size: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Return deviations of the pool's shape and a standard deviation of 1, either way, as many as `size` says: (process, draw).

    A small pool has no tails: its values are smeared by a normal kernel (Silverman 1986, equation 3.31) and shrunk back.
    """
    pool = np.array(scatter.deviations)
    pool /= np.sqrt(np.square(pool).mean()) or 1.0
    width = SMOOTHING * len(pool) ** -0.2
    values = rng.choice(pool, size) * rng.choice((-1.0, 1.0), size) + width * rng.standard_normal(size)
    smooth: FloatArray = values / np.sqrt(1 + width**2)
    return smooth


def _fewest_slices(coverage: float) -> int:
    """Return how many values' extremes enclose the median with that probability, 1 - 2 * 0.5**n."""
    return ceil(log2(2 / (1 - coverage)))


@cache
def _student_median(count: int, coverage: float) -> float:
    """Return the quantile of |median| / s of `count` standard normal values, s their estimated standard deviation.

    Of two it is Student's t over the square root of 2; beyond, the median scatters more than the mean of which t speaks.
    """
    values = np.random.default_rng(0).standard_normal((count, STUDENT_DRAWS // count))
    return float(np.quantile(np.abs(np.median(values, axis=0)) / values.std(axis=0, ddof=1), coverage))


def _resampled_medians(values: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Return medians (draws,) of resampled values (values,), without resampling them: the same distribution, much faster.

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

"""Latencies of networks: estimates of their sessions times the reference latency, with uncertainty and grade."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median

from harness.dataframe import RowTable
from harness.estimates.clean_runs import usable_sessions
from harness.estimates.energy import Energy
from harness.estimates.estimate import (
    COVERAGE,
    RatioEstimate,
    Scatter,
    WallTime,
    combined_interval,
    estimate,
    half_width,
    session_ratios,
    wall_time,
)
from harness.estimates.findings import Finding, check_network, grade
from harness.estimates.moved import moved_doubt
from harness.estimates.outputs import output_error
from harness.records import Configuration, Failure, FreshRun, ReferenceLatency, SessionRecord
from space.statistics import normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency of one network on one configuration.

    `latency_ms` with its interval, of 95 % if nothing else was asked for (None below 6 slices), and its grade, A to D, with
    what speaks against it. The interval is meant to hold at another hour, too: it has how far the reference latency moves,
    which that of the `estimate`, a ratio, does not have. Wall times are what a user feels. `session_medians` are the ratios
    of each session that makes the estimate, oldest first, and `started_utc` when it began. `output_error`: how far the outputs of
    its sessions are off the expected ones, at most, relative to these; None where that is not judged. `arithmetic`: what its
    sessions were computed in, `unknown` where no runtime said it. `device_ms`: what the accelerator's own clock says of a run,
    the median of all sessions; None where it says nothing. `fresh`: what the network took alone in fresh workers, where that was
    measured; `energy`: that of an inference, where a sensor told it.
    """

    configuration: Configuration
    architecture: str
    graph_hash: str
    latency_ms: float
    interval_ms: tuple[float, float] | None
    grade: str
    findings: tuple[Finding, ...]
    estimate: RatioEstimate
    session_medians: tuple[float, ...]
    wall: WallTime
    first_run_ms: float
    started_utc: tuple[str, ...]
    output_error: float | None
    arithmetic: str
    device_ms: float | None = None
    fresh: tuple[FreshRun, ...] = ()
    energy: Energy | None = None

    @property
    def measured_utc(self) -> str:
        """Return when the last of the sessions that make the estimate began."""
        return self.started_utc[-1]

    @property
    def images_per_s(self) -> float:
        """Return how many images such runs take in a second, one after the other; of a file with a fixed batch, runs."""
        return self.configuration.batch / self.latency_ms * 1e3

    @property
    def memory_bytes(self) -> int | None:
        """Return the peak memory that the model takes, the median of its fresh workers; None where that is not measured."""
        known = known_memory(self.fresh)
        return round(median(known)) if known else None

    @property
    def load_ms(self) -> float | None:
        """Return the time that loading takes a fresh worker, the median of several; None where that is not measured."""
        return median(run.load_ns for run in self.fresh) / 1e6 if self.fresh else None

    @property
    def fresh_first_run_ms(self) -> float | None:
        """Return the time of a fresh worker's first run, the median of several; None where that is not measured."""
        return median(run.first_run_ns for run in self.fresh) / 1e6 if self.fresh else None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LatencyTable(RowTable[Latency]):
    """Measured latencies, a row a network and configuration, and the `failures` of the campaigns that they are from."""

    rows: tuple[Latency, ...]
    failures: tuple[Failure, ...] = ()

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return the rows as plain values, and the columns, those of `harness results --csv`."""
        return to_json(self.rows), LATENCY_COLUMNS


def known_memory(runs: Iterable[FreshRun]) -> list[int]:
    """Return the memory of the model in each of the fresh workers that tell it, in bytes."""
    return [memory for run in runs if (memory := run.memory_bytes) is not None]


# Columns of a row as plain values; a unit ends a name.
_READ: Mapping[str, Callable[[Latency], object]] = {
    "device": lambda row: row.configuration.device,
    "hardware": lambda row: row.configuration.hardware,
    "runtime": lambda row: row.configuration.runtime,
    "runtime_version": lambda row: row.configuration.runtime_version,
    "provider": lambda row: row.configuration.provider,
    "format": lambda row: row.configuration.format,
    "precision": lambda row: row.configuration.precision,
    "threads": lambda row: row.configuration.threads,
    "cores": lambda row: list(row.configuration.cores),
    "clock_tier": lambda row: row.configuration.clock_tier,
    "space": lambda row: row.configuration.space,
    "architecture": lambda row: row.architecture,
    "graph_hash": lambda row: row.graph_hash,
    "latency_ms": lambda row: row.latency_ms,
    "low_ms": lambda row: None if row.interval_ms is None else row.interval_ms[0],
    "high_ms": lambda row: None if row.interval_ms is None else row.interval_ms[1],
    "grade": lambda row: row.grade,
    "findings": lambda row: [asdict(finding) for finding in row.findings],
    "ratio": lambda row: row.estimate.ratio,
    "between_cv": lambda row: row.estimate.between_cv,
    "sessions": lambda row: row.estimate.sessions,
    "slices": lambda row: row.estimate.slices,
    "wall_median_ms": lambda row: row.wall.median_ms,
    "wall_p90_ms": lambda row: row.wall.p90_ms,
    "wall_p99_ms": lambda row: row.wall.p99_ms,
    "first_run_ms": lambda row: row.first_run_ms,
    "measured_utc": lambda row: row.measured_utc,
    "output_error": lambda row: row.output_error,
    "arithmetic": lambda row: row.arithmetic,
    "model_bytes": lambda row: row.fresh[-1].model_bytes if row.fresh else None,
    "memory_bytes": lambda row: row.memory_bytes,
    "load_ms": lambda row: row.load_ms,
    "fresh_first_run_ms": lambda row: row.fresh_first_run_ms,
    "batch": lambda row: row.configuration.batch,
    "images_per_s": lambda row: row.images_per_s,
    "provider_options": lambda row: row.configuration.provider_options,
    "energy_mj": lambda row: None if row.energy is None else row.energy.total.value,
    "energy_low_mj": lambda row: None if row.energy is None else row.energy.total.low,
    "energy_high_mj": lambda row: None if row.energy is None else row.energy.total.high,
    "energy_above_idle_mj": lambda row: None if row.energy is None else row.energy.above_idle.value,
    "energy_sensor": lambda row: None if row.energy is None else row.energy.sensor,
    "device_ms": lambda row: row.device_ms,
    "environment": lambda row: row.configuration.environment,
    "energy_doubtful": lambda row: None if row.energy is None else row.energy.is_doubtful,
}
LATENCY_COLUMNS = tuple(_READ)


def to_json(rows: Iterable[Latency]) -> list[dict[str, object]]:
    """Return latencies as plain values by `LATENCY_COLUMNS`, each with its configuration."""
    return [{name: read(row) for name, read in _READ.items()} for row in rows]


def latency_of(
    sessions: list[SessionRecord],
    reference: ReferenceLatency,
    scatter: Scatter | None,
    coverage: float,
    fresh: Sequence[FreshRun] = (),
    energy: Energy | None = None,
) -> Latency:
    """Return the latency of one network on the reference's configuration from its sessions, at least one of them usable.

    `coverage`: the probability that the interval is meant to hold with; `fresh`: the network's fresh runs; `energy`: that of an
    inference.
    """
    used = usable_sessions(sessions)
    doubt = fmean(moved_doubt(session, reference) for session in used)

    def of(coverage: float) -> RatioEstimate:
        found = estimate(sessions, scatter, coverage=coverage)
        if found.interval is None or not doubt:
            return found
        return replace(found, interval=combined_interval(found.ratio, found.interval, doubt), moved=doubt)

    summary = of(COVERAGE)
    findings = check_network(sessions, summary, reference)
    # Findings and grades speak of the 95 % interval, whatever is shown.
    graded_ms = interval_ms(summary, reference, COVERAGE)
    shown_ms = graded_ms
    if coverage != COVERAGE:
        shown_ms = interval_ms(of(coverage), reference, coverage)
    latency_ms = summary.ratio * reference.latency_ns / 1e6
    return Latency(
        configuration=reference.configuration,
        architecture=sessions[0].architecture,
        graph_hash=sessions[0].graph_hash,
        latency_ms=latency_ms,
        interval_ms=shown_ms,
        grade=grade(
            None if graded_ms is None else half_width(latency_ms, graded_ms),
            findings,
            hour_width=hour_width(summary, reference),
        ),
        findings=tuple(findings),
        estimate=summary,
        session_medians=tuple(median(session_ratios(session)) for session in used),
        wall=wall_time(used),
        first_run_ms=min(session.first_run_ns for session in sessions) / 1e6,
        started_utc=tuple(session.started_utc for session in used),
        output_error=max(
            (error for session in used if (error := output_error(session)) is not None),
            default=None,
        ),
        arithmetic=_arithmetic(sessions),
        device_ms=_device_ms(used),
        fresh=tuple(fresh),
        energy=energy,
    )


def _arithmetic(sessions: Sequence[SessionRecord]) -> str:
    """Return the arithmetic of the last session that tells it, else the one that its provider is known for."""
    told = [session.arithmetic for session in sessions if session.arithmetic != "unknown"]
    return told[-1] if told else sessions[-1].configuration.arithmetic or "unknown"


def _device_ms(sessions: Sequence[SessionRecord]) -> float | None:
    """Return the median over sessions of what the accelerator's clock said of their runs, None where it said nothing."""
    told = [session.conditions_after.get("device_ns") for session in sessions]
    medians = [median(times) for times in told if isinstance(times, list | tuple) and times]
    return median(medians) / 1e6 if medians else None


def hour_width(summary: RatioEstimate, reference: ReferenceLatency) -> float | None:
    """Return half the width of the 95 % interval without what another hour adds, relative; None without an interval."""
    sd = reference.sd if reference.hour_sd is None else reference.hour_sd
    ends_ms = interval_ms(summary, replace(reference, sd=sd), COVERAGE)
    return None if ends_ms is None else half_width(summary.ratio * reference.latency_ns / 1e6, ends_ms)


def interval_ms(
    summary: RatioEstimate, reference: ReferenceLatency, coverage: float
) -> tuple[float, float] | None:
    """Return the interval in ms, with the reference's own uncertainty."""
    if summary.interval is None:
        return None
    reach = normal(coverage) * (reference.sd or 0.0)
    low, high = combined_interval(summary.ratio, summary.interval, reach)
    reference_ms = reference.latency_ns / 1e6
    return low * reference_ms, high * reference_ms

"""Two model files timed against each other: one as the network of paired sessions, the other as their reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist, median

from harness.devices.config import LOCAL
from harness.devices.names import select_devices
from harness.estimates.comparison import Comparison
from harness.estimates.estimate import COVERAGE, WallTime
from harness.estimates.findings import grade
from harness.estimates.latency import Latency
from harness.models.files import GivenInputs, find_files, is_file_name
from harness.prediction.measure import MeasureRequest, measure_requested
from harness.records import ReferenceLatency
from harness.store import Store
from harness.store.latencies import in_one_arithmetic
from harness.store.opening import open_existing, open_store
from space.errors import ConfigError


def open_compared(url: str, first: str, second: str, log: Callable[[str], None]) -> Store:
    """Open the store of a comparison: of two networks one that exists, to measure model files into one that may be made.

    Raises: as `harness.store.opening.open_existing`, whose notes `log` is given.
    """
    if is_file_name(first) or is_file_name(second):
        return open_store(url)
    return open_existing(url, log)


def compare_files(
    store: Store,
    first: str,
    second: str,
    *,
    device: str = "",
    runtime: str = "",
    threads: int | None = None,
    level: str = "screen",
    sessions: int | None = None,
    fresh: bool = False,
    inputs: GivenInputs | None = None,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> list[tuple[Latency, Latency, Comparison]]:
    """Time two model files of one format in turns in the same processes, and return how they compare in each runtime.

    What is stored of the pair counts, unless `fresh`. device, runtime, threads, level and sessions as for `measure`; `inputs` are
    for both files.
    Raises: ConfigError when a file cannot be used; DeviceError when nothing was measured.
    """
    for text in (first, second):
        if len(find_files([text])) > 1:
            raise ConfigError(f"{text!r} means several files; name two to compare")
    request = MeasureRequest(
        devices=select_devices([device or LOCAL], devices_file),
        models=(first,),
        inputs=inputs or GivenInputs(),
        reference=Path(second),
        level=level,
        runtimes=(runtime,) if runtime else (),
        threads=threads,
        sessions=sessions,
        fresh=fresh,
    )
    table = measure_requested(request, store, log)
    if not table:
        raise ConfigError(
            f"{first}: {table.failures[-1].message if table.failures else 'nothing was measured'}"
        )
    return [_compared(store, row, second) for row in table]


def _compared(store: Store, row: Latency, second: str) -> tuple[Latency, Latency, Comparison]:
    reference = store.reference_latency(row.configuration)
    if reference is None:
        raise ConfigError(f"{second}: no session tells its latency; give the command again with --fresh")
    return row, _reference_row(store, row, reference, Path(second).name), compare_ratio(row)


def compare_ratio(row: Latency) -> Comparison:
    """Return the verdict on a file by its ratio to the one that it was timed beside."""
    ratio, interval = row.estimate.ratio, row.estimate.interval
    if interval is None:
        return Comparison(verdict="tie", ratio=ratio, interval=None, reason="too few slices for an interval")
    if interval[0] <= 1 <= interval[1]:
        reason = "the 95 % interval of their ratio holds 1"
        return Comparison(verdict="tie", ratio=ratio, interval=interval, reason=reason)
    return Comparison(
        verdict="faster" if interval[1] < 1 else "slower", ratio=ratio, interval=interval, reason=""
    )


def _reference_row(store: Store, row: Latency, reference: ReferenceLatency, name: str) -> Latency:
    """Return the latency of the file that was the reference, as its runs beside the other tell it."""
    latency_ms, reach = (
        reference.latency_ns / 1e6,
        NormalDist().inv_cdf((1 + COVERAGE) / 2) * (reference.sd or 0.0),
    )
    interval_ms = (latency_ms / (1 + reach), latency_ms * (1 + reach))
    sessions = in_one_arithmetic(store.sessions(row.configuration, [row.graph_hash]))
    runs_ms = [
        run_ns / session.reference_loops / 1e6
        for session in sessions
        for piece in session.slices
        for run_ns in (*piece.reference_before_ns, *piece.reference_after_ns)
    ]
    return replace(
        row,
        architecture=name,
        graph_hash=row.configuration.reference,
        latency_ms=latency_ms,
        interval_ms=interval_ms,
        grade=grade((interval_ms[1] - interval_ms[0]) / 2 / latency_ms, row.findings),
        estimate=replace(row.estimate, ratio=1.0, interval=(1.0, 1.0), apart=(1.0, 1.0), between_cv=None),
        session_medians=(1.0,) * len(row.session_medians),
        wall=WallTime(median_ms=median(runs_ms), p90_ms=None, p99_ms=None, samples=len(runs_ms)),
        first_run_ms=min(session.reference_first_run_ns for session in sessions) / 1e6,
    )

"""Two model files timed against each other: each is the network in half of the sessions, and the reference in the other half."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from harness.estimates.comparison import Comparison, Verdict, doubted
from harness.estimates.estimate import COVERAGE, WallTime, half_width
from harness.estimates.exchanged import error_at, exchanged_estimate, looks_of
from harness.estimates.findings import Finding, grade
from harness.estimates.latency import Latency, LatencyTable, hour_width, interval_ms
from harness.models.file_names import find_files
from harness.models.files import FileModel, open_one, open_reference
from harness.prediction.measure import measure_requested
from harness.prediction.request import MeasureRequest
from harness.records import Failure, ReferenceLatency, SessionRecord
from harness.store import Store
from harness.store.latencies import mergeable
from space.errors import ConfigError
from space.statistics import normal

SAME = 0.01  # an interval within this share of 1 says that two files take the same time
LONGEST_S: Mapping[str, float] = {"quick": 60.0, "screen": 60.0, "final": 300.0}  # no look begins later
_OF_ONE_ROLE = ("one-session", "few-slices")  # findings that measuring in both roles settles

Enough = Callable[[tuple[float, float] | None], bool]
# Of the first file, of the second, and how the first compares with it.
Pair = tuple[Latency, Latency, Comparison]


def is_settled(interval: tuple[float, float] | None) -> bool:
    """Return whether the interval of a ratio says which is faster, or that the two take the same time."""
    if interval is None:
        return False
    low, high = interval
    return not low <= 1 <= high or (low > 1 - SAME and high < 1 + SAME)


def compare_files(
    request: MeasureRequest,
    store: Store,
    log: Callable[[str], None] = lambda line: None,
    *,
    enough: Enough = is_settled,
) -> tuple[list[Pair], list[Failure]]:
    """Time the model file of a request beside its `reference`; return how they compare by runtime, and what failed.

    Both are of one format, and run in turns in the same processes; each is the other's reference in half of these. Processes are
    added until the interval of the ratio is `enough` in each runtime, the level has had its last look, or a minute has passed
    (five at level final); with `sessions`, each role has exactly that many. Stored sessions of the pair count, unless `fresh`.
    Inputs and batch are those of both files.
    Raises: ConfigError when a file cannot be used or none of its sessions came about; DeviceError when a campaign was given up.
    """
    names = (*request.models, str(request.reference))
    for text in names:
        if len(find_files([text])) > 1:
            raise ConfigError(f"{text!r} means several files; name two to compare")
    files = (open_one(names[0], request.inputs), open_reference(names[1], request.inputs))
    is_one, level = files[0].key == files[1].key, request.level
    request = replace(request, exchanged=not is_one)
    looks, start_s, done = looks_of(level, request.sessions), time.monotonic(), 0
    found: list[Pair] = []
    for look in looks:
        count = look - done if request.fresh else look
        each = replace(request, sessions=2 * count if is_one else count)
        table = measure_requested(each, store, log)
        found = _compared(store, table, files, looks)
        done = look
        if all(enough(result.interval) for *_, result in found) or (
            time.monotonic() - start_s > LONGEST_S[level]
        ):
            break
    return found, _failed(table, files, found)


def compare_ratio(row: Latency) -> Comparison:
    """Return the verdict on a file by its ratio to the one that it was timed beside."""
    ratio, interval = row.estimate.ratio, row.estimate.interval
    if interval is None:
        return Comparison(verdict="tie", ratio=ratio, interval=None, reason="too few slices for an interval")
    if interval[0] <= 1 <= interval[1]:
        same = f", within {SAME:.0%} of it" if is_settled(interval) else ""
        reason = f"the 95 % interval of their ratio holds 1{same}"
        return Comparison(verdict="tie", ratio=ratio, interval=interval, reason=reason)
    verdict: Verdict = "faster" if interval[1] < 1 else "slower"
    return doubted(Comparison(verdict=verdict, ratio=ratio, interval=interval, reason=""), row.findings)


def _compared(
    store: Store, table: LatencyTable, files: tuple[FileModel, FileModel], looks: Sequence[int]
) -> list[Pair]:
    """Return both files' latencies and how they compare, in each runtime in which the first was measured beside the second."""
    first, second = files
    found = []
    for row in table:
        if (row.graph_hash, row.configuration.reference) == (first.key, second.key):
            back = next((other for other in table if _is_exchanged(row, other)), None)
            both, reference = _both_roles(store, row, back, second.name, looks)
            found.append((both, _reference_row(store, both, reference, second.name), compare_ratio(both)))
    if not found:
        why = [f"{one.architecture}: {one.message}" for one in table.failures[-1:]]
        raise ConfigError("".join(why) or f"{first.path}: nothing was measured")
    return found


def _failed(table: LatencyTable, files: Sequence[FileModel], found: Sequence[Pair]) -> list[Failure]:
    """Return the failures of either file in runtimes in which their ratio has no interval, which is for want of these."""
    known = {row.configuration.runtime for row, _, result in found if result.interval is not None}
    keys = {file.key for file in files}
    return [
        one for one in table.failures if one.graph_hash in keys and one.configuration.runtime not in known
    ]


def _is_exchanged(row: Latency, other: Latency) -> bool:
    """Return whether a row is of the same runtime with the roles of both files exchanged."""
    a, b = row.configuration, other.configuration
    roles = (other.graph_hash, b.reference) == (a.reference, row.graph_hash)
    return roles and (a.device, a.runtime, a.provider) == (b.device, b.runtime, b.provider)


def _both_roles(
    store: Store, row: Latency, back: Latency | None, name: str, looks: Sequence[int]
) -> tuple[Latency, ReferenceLatency]:
    """Return a file's latency by its ratio to the other in both roles, and the other's quiet latency."""
    forward, quiet = _sessions(store, row, name)
    backward: list[SessionRecord] = []
    back_quiet = quiet
    if row.configuration.reference == row.graph_hash:
        forward, backward = forward[::2], forward[1::2]
    elif back is not None:
        backward, back_quiet = _sessions(store, back, row.architecture)
    error = error_at(min(len(forward), len(backward)), looks)
    estimate = exchanged_estimate(forward, backward, (quiet, back_quiet), error)
    kinds: dict[str, Finding] = {}
    for one in (*row.findings, *(back.findings if back is not None else ())):
        if (estimate.interval is None or one.kind not in _OF_ONE_ROLE) and (
            one.kind not in kinds or one.cap > kinds[one.kind].cap
        ):
            kinds[one.kind] = one
    latency_ms, ends_ms = estimate.ratio * quiet.latency_ns / 1e6, interval_ms(estimate, quiet, COVERAGE)
    both = replace(
        row,
        latency_ms=latency_ms,
        interval_ms=ends_ms,
        grade=grade(
            None if ends_ms is None else half_width(latency_ms, ends_ms),
            list(kinds.values()),
            hour_width=hour_width(estimate, quiet),
        ),
        findings=tuple(kinds.values()),
        estimate=estimate,
        session_medians=(
            *row.session_medians,
            *(1 / one for one in (back.session_medians if back is not None and backward else ())),
        ),
    )
    return both, quiet


def _sessions(store: Store, row: Latency, name: str) -> tuple[list[SessionRecord], ReferenceLatency]:
    """Return a row's sessions and the latency of its reference, which is called `name`. Raises: ConfigError."""
    quiet = store.reference_latency(row.configuration)
    if quiet is None:
        raise ConfigError(f"{name}: no session tells its latency; give the command again with --fresh")
    return mergeable(store.sessions(row.configuration, [row.graph_hash])), quiet


def _reference_row(store: Store, row: Latency, reference: ReferenceLatency, name: str) -> Latency:
    """Return the latency of the file that was the reference, as its runs beside the other tell it."""
    latency_ms = reference.latency_ns / 1e6
    reach = normal(COVERAGE) * (reference.sd or 0.0)
    ends_ms = (latency_ms / (1 + reach), latency_ms * (1 + reach))
    itself = replace(row.estimate, ratio=1.0, interval=(1.0, 1.0), apart=(1.0, 1.0), between_cv=None)
    sessions = mergeable(store.sessions(row.configuration, [row.graph_hash]))
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
        interval_ms=ends_ms,
        grade=grade(half_width(latency_ms, ends_ms), row.findings, hour_width=hour_width(itself, reference)),
        estimate=itself,
        session_medians=(1.0,) * len(row.session_medians),
        wall=WallTime(median_ms=median(runs_ms), p90_ms=None, p99_ms=None, samples=len(runs_ms)),
        first_run_ms=min(session.reference_first_run_ns for session in sessions) / 1e6,
    )

"""Changes of model files' latency and memory since a baseline was written, each with its interval, or why it is not known.

Where the baseline's own file is still there, both are timed in turns in the same processes, and the interval of their ratio
decides. Else the two are compared through the reference that each was timed beside, if that and what else matters is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

from harness.devices.destination import LOCAL
from harness.devices.names import select_devices
from harness.estimates.comparison import are_hours_apart, compare
from harness.estimates.estimate import half_width
from harness.estimates.findings import MOST_WRONG, grade, wrong_by
from harness.estimates.latency import Latency, LatencyTable, known_memory
from harness.models.file_names import GivenInputs
from harness.models.files import FileModel, open_reference
from harness.prediction.measure import measure_requested
from harness.prediction.request import MeasureRequest
from harness.query.compare_files import compare_files
from harness.query.gate_baseline import MEMORY_FACTS, KeptFile, KeptLatency, given_text, ratio_grade
from harness.records import Configuration, Failure, FreshRun
from harness.store import Store
from space.errors import ConfigError, HarnessError

Way = Literal["same bytes", "size", "beside", "reference", "fresh workers", "then and now", ""]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTiming:
    """Timing on a device, kept in a store; what is stored already is not measured again, unless `fresh`. As for `measure`."""

    store: Store
    device: str = LOCAL
    runtime: str = ""
    threads: int | None = None
    batch: int = 1
    level: str = "screen"
    sessions: int | None = None
    fresh: bool = False
    inputs: GivenInputs = field(default_factory=GivenInputs)
    devices_file: str | Path | None = None
    log: Callable[[str], None] = lambda line: None

    def measure(self, files: Sequence[FileModel], references: Mapping[str, str]) -> LatencyTable:
        """Time each file beside the built-in reference that is named for its key, else beside one of like duration."""
        return measure_requested(self._request(files, beside=references), self.store, self.log)

    def weigh(self, files: Sequence[FileModel]) -> LatencyTable:
        """Measure the peak memory of each file in fresh workers: the rows' `fresh`."""
        request = replace(self._request(files), level="quick", sessions=1, memory=True)
        return measure_requested(request, self.store, self.log)

    def _request(self, files: Sequence[FileModel], beside: Mapping[str, str] | None = None) -> MeasureRequest:
        return MeasureRequest(
            devices=select_devices([self.device], self.devices_file),
            models=tuple(str(file.path) for file in files),
            inputs=self.inputs,
            beside=beside or {},
            level=self.level,
            runtimes=(self.runtime,) if self.runtime else (),
            threads=self.threads,
            batches=(self.batch,),
            sessions=self.sessions,
            fresh=self.fresh,
        )

    def beside(self, file: FileModel, other: FileModel, limits: Sequence[float]) -> LatencyTable:
        """Time a file in turns with another until its change is known to lie above or below each limit: a row a runtime."""

        def is_known(interval: Interval | None) -> bool:
            return interval is not None and all(
                not interval[0] <= 1 + limit <= interval[1] for limit in limits
            )

        request = replace(self._request([file]), reference=other.path)
        pairs, failures = compare_files(request, self.store, self.log, enough=is_known)
        return LatencyTable(rows=tuple(row for row, *_ in pairs), failures=tuple(failures))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A latency, or a peak memory, relative to the baseline's: `ratio` with its interval; or why there is none.

    `trouble`: why it has grade D, empty where it has not; the ratio may be off by a factor of `wrong_by` beyond its interval.
    """

    way: Way
    device: str = ""
    runtime: str = ""
    ratio: float | None = None
    interval: Interval | None = None
    grade: str = ""
    trouble: str = ""
    wrong_by: float = 1.0


def latency_changes(
    files: Sequence[FileModel],
    kept: Mapping[str, KeptFile],
    baseline: Path,
    timing: DeviceTiming,
    limits: Sequence[float],
) -> dict[str, list[FileChange]]:
    """Return how the latency of each changed file changed, by name: beside the baseline's file, else through the reference."""
    found: dict[str, list[FileChange]] = {}
    others: list[FileModel] = []
    for file in files:
        former = kept.get(file.name)
        if former is None or former.sha256 == file.digest:
            continue
        own = open_former(former, baseline, timing.inputs)
        if own is None:
            others.append(file)
        else:
            found[file.name] = _beside(file, own, timing, limits)
    comparable = [file for file in others if not _other_inputs(file, kept[file.name])]
    references = {one.key: ref for one in comparable if (ref := kept[one.name].reference_for(timing.runtime))}
    table, trouble = LatencyTable(rows=()), ""
    try:
        table = timing.measure(comparable, references) if comparable else table
    except HarnessError as error:
        trouble = str(error)
    for file in others:
        former = kept[file.name]
        if why := _other_inputs(file, former) or trouble:
            found[file.name] = [FileChange(way="reference", trouble=why)]
        else:
            found[file.name] = _through_reference(file, former, table)
    for name, changes in found.items():
        if not timing.runtime:
            changes += _not_measured(kept[name], changes)
    return found


def open_former(former: KeptFile, baseline: Path, given: GivenInputs) -> FileModel | None:
    """Return the file that the baseline was made of; None where it is gone or has changed."""
    path = baseline.parent / former.path
    try:
        if not path.is_file():
            return None
        found = open_reference(str(path), given)
    except (ConfigError, OSError, ValueError):  # a damaged file is not the baseline's either
        return None
    return found if found.digest == former.sha256 else None


_KEEP = "keep the baseline's file where the baseline says, and both are measured side by side"


def _other_inputs(file: FileModel, former: KeptFile) -> str:
    """Return that a file is given other inputs than when its baseline was written, empty where it is not."""
    given = given_text(file)
    if former.inputs == given:
        return ""
    return f"inputs differ: {former.inputs or 'none given'} -> {given or 'none given'}; {_KEEP}"


def _beside(
    file: FileModel, own: FileModel, timing: DeviceTiming, limits: Sequence[float]
) -> list[FileChange]:
    try:
        table = timing.beside(file, own, limits)
    except HarnessError as error:
        return [FileChange(way="beside", trouble=str(error))]
    return [
        FileChange(
            way="beside",
            device=row.configuration.device,
            runtime=row.configuration.runtime,
            ratio=row.estimate.ratio,
            interval=row.estimate.interval,
            grade=ratio_grade(row),
            trouble=_doubt(row),
            wrong_by=wrong_by(row.findings),
        )
        for row in table
    ] + _failures(table.failures, "beside")


def _through_reference(file: FileModel, former: KeptFile, table: LatencyTable) -> list[FileChange]:
    rows = [row for row in table if row.graph_hash == file.key]
    runtimes = {row.configuration.runtime for row in rows}
    failed = [
        one
        for one in table.failures
        if one.graph_hash == file.key and one.configuration.runtime not in runtimes
    ]
    found = [_quotient(row, former.latencies) for row in rows] + _failures(failed, "reference")
    return found or [
        FileChange(way="reference", trouble="nothing was measured; see harness results --failures")
    ]


def _failures(failed: Iterable[Failure], way: Way) -> list[FileChange]:
    """Return a change that nobody knows for each measurement that failed."""
    return [
        FileChange(
            way=way,
            device=one.configuration.device,
            runtime=one.configuration.runtime,
            trouble=f"{one.kind}: {one.message}",
        )
        for one in failed
    ]


def _quotient(row: Latency, kept: Iterable[KeptLatency]) -> FileChange:
    """Return how today's ratio to the reference compares with the nearest that is kept of its runtime."""
    now = row.configuration
    unknown = FileChange(way="reference", device=now.device, runtime=now.runtime)
    same = [one for one in kept if one.runtime == now.runtime]
    if not same:
        return replace(unknown, trouble=f"the baseline has no latency in {now.runtime}; {_KEEP}")
    former = min(same, key=lambda one: len(one.differences(now)))
    if differing := former.differences(now):
        return replace(unknown, trouble=f"{'; '.join(differing)}; {_KEEP}")
    hours_apart = are_hours_apart(row.started_utc, [former.measured_utc])
    result = compare(row.estimate, former.estimate, hours_apart=hours_apart)
    trouble = "the baseline's own latency has grade D; write it again" if former.grade == "D" else _doubt(row)
    return replace(
        unknown,
        ratio=result.ratio,
        interval=result.interval,
        grade=max(ratio_grade(row), former.grade),
        trouble=trouble,
        wrong_by=max(wrong_by(row.findings), _doubted(former)),
    )


def _not_measured(former: KeptFile, changes: Sequence[FileChange]) -> list[FileChange]:
    """Return the baseline's rows of runtimes without a result now; nothing where all failed, which is reported."""
    now = {one.runtime for one in changes}
    if "" in now:
        return []
    gone = dict.fromkeys(one.runtime for one in former.latencies if one.runtime not in now)
    return [
        FileChange(
            way="",
            runtime=one,
            trouble="measured in the baseline, and not now; name one --runtime, or write it again",
        )
        for one in gone
    ]


def _doubt(row: Latency) -> str:
    """Return why a ratio has grade D, empty where it has not."""
    if ratio_grade(row) != "D":
        return ""
    worst = next((one for one in row.findings if one.cap == "D"), None)
    if worst is not None:
        return f"{worst.kind}: {worst.message}; {worst.remedy}"
    return "grade D: the interval is wider than 10 % on either side; measure at --level final"


def place_of(row: Latency) -> tuple[str, str, str]:
    one = row.configuration
    return one.device, one.runtime, one.provider


def fresh_runs(table: LatencyTable) -> dict[tuple[str, tuple[str, str, str]], tuple[FreshRun, ...]]:
    """Return the fresh runs of a table by file, device and runtime."""
    return {(row.graph_hash, place_of(row)): row.fresh for row in table if row.fresh}


def memory_changes(
    files: Sequence[FileModel], kept: Mapping[str, KeptFile], baseline: Path, timing: DeviceTiming
) -> dict[str, list[FileChange]]:
    """Return how the peak memory of each changed file changed, by name: from its file measured now, or as it was kept."""
    changed = [
        (file, kept[file.name])
        for file in files
        if file.name in kept and kept[file.name].sha256 != file.digest
    ]
    own = {file.name: open_former(former, baseline, timing.inputs) for file, former in changed}
    every = {one.key: one for one in (*(file for file, _ in changed), *own.values()) if one is not None}
    try:
        table = timing.weigh(list(every.values())) if every else LatencyTable(rows=())
    except HarnessError as error:
        return {file.name: [FileChange(way="", trouble=str(error))] for file, _ in changed}
    return {file.name: _heavier(file, former, own[file.name], table) for file, former in changed}


def _heavier(
    file: FileModel, former: KeptFile, own: FileModel | None, table: LatencyTable
) -> list[FileChange]:
    """Return the change of a file's peak memory in each runtime."""
    weighed = fresh_runs(table)
    found = []
    for row in table:
        if row.graph_hash != file.key or not row.fresh:
            continue
        unknown = FileChange(
            way="then and now" if own is None else "fresh workers",
            device=row.configuration.device,
            runtime=row.configuration.runtime,
        )
        then: Sequence[int] = known_memory(weighed.get((own.key, place_of(row)), ())) if own else ()
        trouble = "the baseline's file did not run in fresh workers"
        if own is None:
            then, trouble = _kept_memory(file, former, row.configuration)
        now = known_memory(row.fresh)
        found.append(_grown(unknown, now, then, trouble if now else "this device tells no peak memory"))
    why = [f"{one.kind}: {one.message}" for one in table.failures if one.graph_hash == file.key]
    return found or [FileChange(way="", trouble=next(iter(why), "this device tells no peak memory"))]


def _kept_memory(file: FileModel, former: KeptFile, now: Configuration) -> tuple[Sequence[int], str]:
    """Return the peak memories that a baseline has of a file on this configuration, or why there are none."""
    if trouble := _other_inputs(file, former):
        return (), trouble
    same = [one for one in former.latencies if one.runtime == now.runtime and one.memory_bytes]
    if not same:
        return (), f"the baseline has no memory in {now.runtime}: write it with --memory, or keep its file"
    nearest = min(same, key=lambda one: len(one.differences(now, MEMORY_FACTS)))
    return nearest.memory_bytes, "; ".join(nearest.differences(now, MEMORY_FACTS))


def _grown(unknown: FileChange, now: Sequence[int], then: Sequence[int], trouble: str) -> FileChange:
    """Return the change between peak memories of fresh workers, from the least possible to the most, if `then` has any."""
    if not then or not now or min(*then, *now) <= 0 or (trouble and unknown.way == "then and now"):
        return replace(unknown, trouble=trouble or "a peak of nothing is no memory")
    return replace(
        unknown,
        ratio=median(now) / median(then),
        interval=(min(now) / max(then), max(now) / min(then)),
    )


def _doubted(former: KeptLatency) -> float:
    """Return the same of a kept latency, whose findings are not known: those of a grade that its interval does not explain."""
    interval = former.estimate.interval
    is_wide = interval is None or grade(half_width(former.ratio, interval), ()) == "D"
    return MOST_WRONG if former.grade == "D" and not is_wide else 1.0


def why_not_measured(file: FileModel, rows: Sequence[Latency], table: LatencyTable) -> str:
    failed = [f"{one.kind}: {one.message}" for one in table.failures if one.graph_hash == file.key]
    return next(iter([*map(_doubt, rows), *failed]), "nothing was measured; see harness results --failures")

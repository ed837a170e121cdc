"""Model files judged against a baseline in continuous integration: slower, not slower, or impossible to judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.models.file_names import find_files
from harness.models.files import FileModel, open_files
from harness.query.gate_baseline import (
    Baseline,
    KeptFile,
    kept_file,
    parse_baseline,
    ratio_grade,
    save_baseline,
)
from harness.query.gate_changes import (
    DeviceTiming,
    FileChange,
    Interval,
    Way,
    fresh_runs,
    latency_changes,
    memory_changes,
    place_of,
    why_not_measured,
)
from harness.query.requests import DEFAULT_RULE, GateRequest, Metric, Rule
from space.atomic_files import check_output_file

Outcome = Literal["pass", "fail", "not judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """A file held against a rule.

    `change` is relative, with its 95 % `interval`; that of memory is from the least to the most that fresh workers showed (None
    where the change is exact or unknown). `way`: how the two were compared, on `device` in `runtime`, with which `grade`. `note`:
    why it was not judged, or what might be hidden.
    """

    file: str
    rule: Rule
    outcome: Outcome
    change: float | None = None
    interval: Interval | None = None
    way: Way = ""
    device: str = ""
    runtime: str = ""
    grade: str = ""
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the check as plain values."""
        low, high = self.interval or (None, None)
        return {
            "file": self.file,
            "rule": str(self.rule),
            "outcome": self.outcome,
            "change": self.change,
            "low": low,
            "high": high,
        } | {name: getattr(self, name) for name in ("way", "device", "runtime", "grade", "note")}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All checks of a gate, by the files' order, then those of the baseline that are missing."""

    baseline: str
    checks: tuple[FileCheck, ...]

    @property
    def exit_status(self) -> int:
        """1 if a check failed, else 2 if one could not be judged, else 0."""
        outcomes = {check.outcome for check in self.checks}
        return 1 if "fail" in outcomes else 2 if "not judged" in outcomes else 0

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values."""
        return {
            "baseline": self.baseline,
            "status": self.exit_status,
            "checks": [check.to_json() for check in self.checks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBaseline:
    """A baseline that was written to `path`; `not_measured`: why files have no latency in it, by name."""

    path: str
    baseline: Baseline
    not_measured: Mapping[str, str]

    @property
    def exit_status(self) -> int:
        """0, or 2 where a file has no latency that can be compared with."""
        return 2 if self.not_measured else 0

    def to_json(self) -> dict[str, object]:
        """Return the files written, and those that were not, as plain values."""
        kept = self.baseline.model_dump(mode="json")
        return {"path": self.path, "baseline": kept, "not_measured": dict(self.not_measured)}


def run_gate(
    request: GateRequest, timing: DeviceTiming, baseline: Baseline | None
) -> GateReport | WrittenBaseline:
    """Judge files by the baseline that was read from the request's file, or write theirs. Raises: as `gate`, `write_baseline`."""
    if baseline is None:
        return write_baseline(request.files, request.write or "", timing, memory=request.memory)
    return gate(request.files, request.baseline or Path(), timing, fail_if=request.fail_if, kept=baseline)


def gate(
    files: Iterable[str | Path],
    baseline: str | Path,
    timing: DeviceTiming,
    *,
    fail_if: Sequence[str] = (),
    kept: Baseline | None = None,
) -> GateReport:
    """Judge model files (names, wildcards, folders) against a baseline file by rules, `latency > +3%` if none is given.

    A latency fails when the lower end of its change's 95 % interval is above the limit, and passes when it is not. Of a change
    of grade D, one that an interval leaves open is not judged; where findings say that it may be wrong by more than its
    interval, it fails only if it is above the limit by a factor of two as well. A measurement that failed, a false output, a file
    without a baseline and one of the baseline that is missing are not judged. Nothing is timed of a file whose bytes are the
    baseline's, nor where no rule is of latency. `kept`: what was read from the baseline file already.
    Raises: ConfigError for a rule, a baseline or a file that cannot be used.
    """
    path, rules = Path(baseline), tuple(map(Rule.parse, fail_if or (DEFAULT_RULE,)))
    former = {file.name: file for file in (kept or parse_baseline(path)).files}
    opened = open_files(find_files(map(str, files), timing.log), timing.inputs)
    limits = [one.limit for one in rules if one.metric == "latency"]
    changes: dict[Metric, Mapping[str, Sequence[FileChange]]] = {}
    if limits:
        changes["latency"] = latency_changes(opened, former, path, timing, limits)
    if any(one.metric == "memory" for one in rules):
        changes["memory"] = memory_changes(opened, former, path, timing)
    checks = [
        check
        for file in opened
        for rule in rules
        for check in _checks(
            rule, file, former.get(file.name), changes.get(rule.metric, {}).get(file.name, ())
        )
    ]
    names = {file.name for file in opened}
    gone = "in the baseline, and not among the files; name it, or write the baseline again"
    missing = [_unjudged(name, rule, gone) for name in former if name not in names for rule in rules]
    return GateReport(baseline=str(path), checks=(*checks, *missing))


def write_baseline(
    files: Iterable[str | Path], path: str | Path, timing: DeviceTiming, *, memory: bool = False
) -> WrittenBaseline:
    """Time model files and write what they took to a baseline file, with their digests and sizes; and their `memory`.

    A file that fails, or whose ratio has grade D, is in it, too: it can be timed beside a later one.
    Raises: ConfigError for a file that cannot be used, and others when the device does not answer: then nothing is written.
    """
    target = Path(path)
    check_output_file(target, ".json")
    opened = open_files(find_files(map(str, files), timing.log), timing.inputs)
    table = timing.measure(opened, {})
    fresh = fresh_runs(timing.weigh(opened)) if memory else {}
    rows = {
        file.name: [
            replace(row, fresh=fresh.get((file.key, place_of(row)), ()))
            for row in table
            if row.graph_hash == file.key
        ]
        for file in opened
    }
    kept = tuple(kept_file(file, target, rows[file.name]) for file in opened)
    baseline = Baseline(version=1, files=kept)
    save_baseline(target, baseline)
    reasons = {
        file.name: why_not_measured(file, rows[file.name], table)
        for file in opened
        if not any(ratio_grade(row) != "D" for row in rows[file.name])
    }
    return WrittenBaseline(path=str(target), baseline=baseline, not_measured=reasons)


def _checks(
    rule: Rule, file: FileModel, former: KeptFile | None, changes: Sequence[FileChange]
) -> Iterator[FileCheck]:
    if former is None:
        yield _unjudged(file.name, rule, "not in the baseline; write the baseline again to judge it")
    elif former.sha256 == file.digest:
        yield FileCheck(
            file=file.name, rule=rule, outcome="pass", change=0.0, way="same bytes", note="unchanged"
        )
    elif rule.metric == "size":
        change = file.size_bytes / former.size_bytes - 1
        outcome: Outcome = "fail" if change > rule.limit else "pass"
        yield FileCheck(file=file.name, rule=rule, outcome=outcome, change=change, way="size")
    else:
        yield from (_judged(rule, file.name, change) for change in changes)


def _judged(rule: Rule, name: str, change: FileChange) -> FileCheck:
    ratio = None if change.ratio is None else change.ratio - 1
    interval = None if change.interval is None else (change.interval[0] - 1, change.interval[1] - 1)
    outcome: Outcome = "pass"
    note = change.trouble
    if interval is None:
        outcome, note = "not judged", note or "too few slices for an interval; measure at --level final"
    elif (1 + interval[0]) / change.wrong_by > 1 + rule.limit:
        outcome = "fail"
    elif note and (change.wrong_by > 1 or interval[1] > rule.limit):
        outcome = "not judged"
    elif interval[1] > rule.limit:
        note = f"up to {interval[1]:+.1%} could be hidden"
    return FileCheck(
        file=name,
        rule=rule,
        outcome=outcome,
        change=ratio,
        interval=interval,
        way=change.way,
        device=change.device,
        runtime=change.runtime,
        grade=change.grade,
        note=note,
    )


def _unjudged(name: str, rule: Rule, why: str) -> FileCheck:
    return FileCheck(file=name, rule=rule, outcome="not judged", note=why)

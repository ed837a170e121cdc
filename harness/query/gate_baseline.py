"""The baseline file of `harness gate`: what model files took when they were last good, as JSON that people may keep in git.

A baseline comes from elsewhere: it is checked whole before anything is measured, and what it names is only ever read.
"""

from __future__ import annotations

import os
import shlex
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from harness.estimates.estimate import RatioEstimate, half_width
from harness.estimates.findings import Grade, grade
from harness.estimates.latency import Latency, known_memory
from harness.records import Configuration
from space.atomic_files import write_file
from space.errors import ConfigError
from space.text import printable
from space.text_files import read_content

if TYPE_CHECKING:
    from harness.models.files import FileModel

LIMIT_BYTES = 1 << 24
MOST_FILES = 10_000
MOST_LATENCIES = 64  # of a file: runtimes and devices
MOST_RUNS = 16  # in fresh workers
MAX_QUOTED = 120  # characters of a value in an error
# What must be equal before ratios to a reference that were measured at different times are compared.
FACTS = (
    "device", "hardware", "runtime", "runtime_version", "provider", "threads", "cores", "clock_tier", "reference",
    "provider_options", "batch", "environment",
)  # fmt: skip

# And before peak memories are: neither cores, clocks nor references matter to these.
MEMORY_FACTS = (
    "device", "hardware", "runtime", "runtime_version", "provider", "threads", "batch", "environment",
)  # fmt: skip

Text = Annotated[str, StringConstraints(max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=1 << 63)]


class _Kept(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class KeptLatency(_Kept):
    """A file's ratio to its reference with its 95 % interval, its grade and its configuration; `latency_ms` is for people.

    `memory_bytes`: the peak memory of each fresh worker; empty where that was not measured, and in files of before.
    """

    device: Text
    hardware: Text
    runtime: Text
    runtime_version: Text
    provider: Text
    precision: Text
    threads: Count
    cores: Annotated[tuple[Annotated[int, Field(ge=0, lt=4096)], ...], Field(max_length=4096)]
    clock_tier: Literal["A", "B", "F", "C"]
    reference: Text
    ratio: Positive
    low: Positive | None
    high: Positive | None
    sessions: Count
    slices: Count
    grade: Grade
    latency_ms: Positive
    measured_utc: Text
    memory_bytes: Annotated[tuple[Count, ...], Field(max_length=MOST_RUNS)] = ()
    provider_options: Text = ""
    environment: Text = ""
    batch: Count = 1

    @model_validator(mode="after")
    def _check_interval(self) -> KeptLatency:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are both null, or neither")
        if self.low is not None and self.high is not None and not self.low <= self.ratio <= self.high:
            raise ValueError(f"ratio {self.ratio} is not within {self.low} to {self.high}")
        return self

    @classmethod
    def of(cls, row: Latency) -> KeptLatency:
        """Return the record of a measured file."""
        facts = {name: getattr(row.configuration, name) for name in (*FACTS, "precision")}
        low, high = row.estimate.interval or (None, None)
        return cls(
            **facts,
            ratio=row.estimate.ratio,
            low=low,
            high=high,
            sessions=row.estimate.sessions,
            slices=row.estimate.slices,
            grade=ratio_grade(row),
            latency_ms=row.latency_ms,
            measured_utc=row.measured_utc,
            memory_bytes=tuple(memory for memory in known_memory(row.fresh[-MOST_RUNS:]) if memory > 0),
        )

    @property
    def estimate(self) -> RatioEstimate:
        """The ratio as an estimate that compares with one of today."""
        interval = None if self.low is None or self.high is None else (self.low, self.high)
        return RatioEstimate(ratio=self.ratio, interval=interval, sessions=self.sessions, slices=self.slices)

    def differences(self, now: Configuration, facts: Sequence[str] = FACTS) -> list[str]:
        """Return forbidden differences between then and now, as `name then -> now`."""
        return [
            f"{name.replace('_', ' ')} {_shown(then)} -> {_shown(today)}"
            for name in facts
            if (then := getattr(self, name)) != (today := getattr(now, name))
        ]


class KeptFile(_Kept):
    """A model file as it was: `path` is beside the baseline's folder, `inputs` its given inputs as text."""

    name: Text
    path: Text
    sha256: Digest
    size_bytes: Count
    inputs: Text
    latencies: Annotated[tuple[KeptLatency, ...], Field(max_length=MOST_LATENCIES)]

    def reference_for(self, runtime: str) -> str:
        """Return the reference that the file was timed beside in a runtime, or in any if none is named; empty if it has none."""
        names = (
            one.reference for one in self.latencies if not runtime or runtime.partition(":")[0] == one.runtime
        )
        return next(names, "")


class Baseline(_Kept):
    """A baseline: files with distinct names."""

    version: Literal[1]
    files: Annotated[tuple[KeptFile, ...], Field(max_length=MOST_FILES)]

    @model_validator(mode="after")
    def _check_names(self) -> Baseline:
        names = [file.name for file in self.files]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"file {twice!r} is there twice")
        return self


def kept_file(file: FileModel, baseline: Path, rows: list[Latency]) -> KeptFile:
    """Return a baseline's record of a file and its latencies."""
    path = Path(os.path.relpath(file.path.resolve(), baseline.parent.resolve()))
    text = path.as_posix().encode("utf-8", "replace").decode()  # no JSON holds a name that is no UTF-8
    return KeptFile(
        name=file.name,
        path=text,
        sha256=file.digest,
        size_bytes=file.size_bytes,
        inputs=given_text(file),
        latencies=tuple(map(KeptLatency.of, rows)),
    )


def given_text(file: FileModel) -> str:
    """Return a file's given inputs as text; empty where there are none."""
    return str(file).removeprefix(file.name).strip()


def ratio_grade(row: Latency) -> Grade:
    """Return the grade of a latency's ratio: unlike that of its milliseconds, the reference's own level is not in it."""
    interval = row.estimate.interval
    return grade(None if interval is None else half_width(row.estimate.ratio, interval), row.findings)


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline, whole or not at all. Raises: ConfigError when it cannot be written."""
    write_file(path, (baseline.model_dump_json(indent=1) + "\n").encode())


def parse_baseline(path: Path) -> Baseline:
    """Return a checked baseline; `-` is standard input, and `.gz` is unpacked.

    Raises: ConfigError, which names the file, the key, the value and a remedy.
    """
    remedy = f"write it again: harness gate --write {shlex.quote(str(path))} FILES"
    content = read_content(path, option="--baseline", remedy=remedy, most=LIMIT_BYTES)
    try:
        return Baseline.model_validate_json(content.removeprefix(BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = printable(".".join(map(str, first["loc"])))[:MAX_QUOTED]
        is_told = first["type"] not in ("missing", "json_invalid") and not isinstance(first["input"], dict)
        value = f" = {printable(repr(first['input'])[:MAX_QUOTED])}" if is_told else ""
        where = f"{place}{value}: " if place else ""
        raise ConfigError(f"{path}: {where}{printable(first['msg'])[:MAX_QUOTED]}; {remedy}") from error


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

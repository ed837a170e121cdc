"""The files of packed jobs: the program that is carried to a device, and the results that come back.

A job is a program for Python 3.8 (`device_agents/packed_job.py`) with the agent, the models' parts, each once, `job.json`, which
says what to measure, and a key. Results are JSON: what the agent said, line by line, a copy of `job.json`, and a manifest of
their digests with a code (HMAC-SHA256) by the job's key. Foreign files are never unpacked: names are those of a short list,
sizes are bounded, and each byte is checked against the manifest before any is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from device_agents.archive import build_archive, packed_program
from harness.devices.answers import Digest, Message, Name, Seconds
from harness.devices.config import runtime_sources
from space.errors import ConfigError
from space.system_errors import remedy_for
from space.text import printable, reason_of

FORMAT = 1
MAX_JOB_BYTES = 1 << 28
MAX_MANIFEST_BYTES = 1 << 22
MAX_LINE_BYTES = 2 << 20  # a frame's header has 1 MiB at most
MAX_VISIT_BYTES = 1 << 33
MAX_VISITS = 9999
_VISIT = re.compile(r"visit-[0-9]{4}\.jsonl")
_PIECE_BYTES = 1 << 20
_MANIFEST, _CODE, _JOB = "manifest.json", "manifest.mac", "job.json"
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TIME = (1980, 1, 1, 0, 0, 0)

_Place = Annotated[int, Field(ge=0, lt=1 << 31)]
_Nanoseconds = Annotated[float, Field(ge=0, lt=1e18, allow_inf_nan=False)]
_Places = Annotated[tuple[_Place, ...], Field(max_length=1 << 20)]


class _Read(BaseModel):
    """Base of a job's files; unknown fields are dropped, types are exact."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Visit(_Read):
    """The beginning of a record: the device's time of day, with the clock of the entry."""

    utc: AwareDatetime


class RecordedUse(_Read):
    """A runtime as the device has it, and the number of the job's group of models that it runs."""

    runtime: Name
    version: Name
    provider: Name
    group: _Place


class Beside(_Read):
    """The graph hash of the reference that a job chose for a file, and how long the two run in ns, 0 where the file does not."""

    reference: Name
    network_ns: _Nanoseconds
    reference_ns: _Nanoseconds


class Begun(_Read):
    """A batch of networks that a job began to measure in one worker: their places in the group, in a round of it.

    `beside`: of a file, what it was timed beside.
    """

    use: RecordedUse
    round: _Place
    batch: _Place
    networks: _Places
    beside: Beside | None = None


class Entry(_Read):
    """An entry of a record, with the device's monotonic clock in s.

    One of: `visit`, the first; `answer`, the verb, and `said`; `begin` of a batch; `run`, the digest of what a worker was asked,
    and then `said` alone; `lost`, the agent's end without an answer; `again`, networks that are measured again; `done`, the
    round, batch and network that is over; `end` of a batch.
    """

    at: Seconds
    visit: Visit | None = None
    answer: Name = ""
    said: dict[str, Any] | None = None
    begin: Begun | None = None
    run: Digest | None = None
    lost: Message | None = None
    again: _Places | None = None
    done: tuple[_Place, _Place, _Place] | None = None
    end: bool = False


class Manifest(BaseModel):
    """Manifest of results: their job, the run of it, and the digest of each file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: int
    job: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    job_digest: Digest
    run: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    written_utc: Annotated[str, Field(max_length=40)]
    files: Annotated[dict[str, Digest], Field(max_length=MAX_VISITS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownJob:
    """Facts kept at home on a packed job: the sha256 of its `job.json`, and the key of its results.

    `run`: the run, one a working folder, of which results were taken; empty for none.
    """

    job_digest: str
    key: str
    run: str = ""

    @staticmethod
    def digest_of(job: bytes) -> str:
        """Return the sha256 of a job's `job.json`."""
        return hashlib.sha256(job).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResults:
    """Checked results of a packed job. `visits`: the names of its records, one a start of the job."""

    path: Path
    manifest: Manifest
    job: Mapping[str, Any]
    visits: tuple[str, ...]

    @contextmanager
    def entries(self, visit: str) -> Iterator[Iterator[Entry]]:
        """Provide the entries of a visit's record, in their order. Raises: ConfigError."""
        with _opened(self.path) as archive, archive.open(visit) as file:
            yield self._read(visit, file)

    def _read(self, visit: str, file: IO[bytes]) -> Iterator[Entry]:
        while line := file.readline(MAX_LINE_BYTES + 1):
            try:
                yield Entry.model_validate_json(line)
            except ValidationError as error:
                said = printable(error.errors(include_url=False)[0]["msg"])
                raise ConfigError(
                    f"{self.path}: {visit}: {line[:80]!r} is no entry of a record: {said}"
                ) from error


def job_bytes(job: Mapping[str, Any]) -> bytes:
    """Return `job.json`."""
    return json.dumps(job, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def agent_archive() -> tuple[bytes, str]:
    """Return the agent as it is sent over SSH, and its sha256."""
    return build_archive(runtime_sources())


def build_job(job: bytes, key: str, agent: bytes, parts: Mapping[str, Callable[[], bytes]]) -> bytes:
    """Return a packed job. job: `job.json`; parts: by digest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**packed_program(), "agent.pyz": agent, _JOB: job, "key": key.encode()}.items():
            archive.writestr(_entry(name), data)
        for digest, read in parts.items():
            archive.writestr(_entry(f"parts/{digest}"), read())
    return buffer.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o600 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def open_results(path: Path, known: Callable[[str], KnownJob]) -> JobResults:
    """Check the results of a packed job. `known` returns what is kept of a job by its id, and raises where nothing is.

    Raises: ConfigError for a file that is none, is damaged, was altered, or answers another job.
    """
    with _opened(path) as archive:
        entries = _checked_names(path, archive)
        text = b"".join(_pieces(path, archive, _MANIFEST, MAX_MANIFEST_BYTES))
        manifest = _manifest(path, text)
        kept = known(manifest.job)
        code = hmac.new(kept.key.encode(), text, "sha256").hexdigest()
        if not hmac.compare_digest(code.encode(), b"".join(_pieces(path, archive, _CODE, len(code)))):
            raise _altered(path, "its manifest has no valid code by the job's key")
        job = b"".join(_pieces(path, archive, _JOB, MAX_JOB_BYTES))
        if manifest.job_digest != kept.job_digest or KnownJob.digest_of(job) != kept.job_digest:
            raise _altered(path, f"its {_JOB} is not that of job {manifest.job}")
        if kept.run not in ("", manifest.run):
            raise ConfigError(
                f"{path}: job {manifest.job} was started anew after results of another start were imported, and asks for each "
                "session once; to measure more, pack another job"
            )
        visits = sorted(name for name in entries if _VISIT.fullmatch(name))
        if visits != sorted(manifest.files):
            raise _altered(path, "it does not hold the records that its manifest names")
        for visit in visits:
            digest = hashlib.sha256()
            for piece in _pieces(path, archive, visit, MAX_VISIT_BYTES):
                digest.update(piece)
            if digest.hexdigest() != manifest.files[visit]:
                raise _altered(path, f"{visit} has another digest than in its manifest")
    return JobResults(path=path, manifest=manifest, job=json.loads(job), visits=tuple(visits))


def _altered(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: damaged or altered: {why}; nothing of it is taken: copy it from the device again"
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Provide a zip file for reading. Raises: ConfigError, also for what is found damaged while it is read."""
    try:
        if path.exists() and not path.is_file():  # a FIFO would be waited for, a device may have no end
            raise ConfigError(f"{path}: no plain file; name the job's -results.zip")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
        *(UnicodeDecodeError, OverflowError),  # of names and places that were altered
    ) as error:
        raise ConfigError(
            f"{path}: no whole results of a packed job: {reason_of(error)}; copy them from the device again"
        ) from error
    except OSError as error:
        remedy = remedy_for(error, "check the path")
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}; {remedy}") from error


def _checked_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """Return the names of all entries, each of which results may hold. Raises: ConfigError."""
    names, own = [entry.filename for entry in archive.infolist()], (_MANIFEST, _CODE, _JOB)
    others = [name for name in names if not _VISIT.fullmatch(name) and name not in own]
    lacking = [name for name in own if name not in names]
    if any(entry.compress_type not in _PACKINGS for entry in archive.infolist()):
        trouble = "packed as none is; nothing of it is taken"
    elif others:
        trouble = f"it holds {printable(others[0])!r}, which none has; nothing of it is taken"
    elif len(set(names)) != len(names):
        trouble = "it holds a file twice; nothing of it is taken"
    elif lacking:
        trouble = f"it lacks {lacking[0]}; name the job's -results.zip"
    else:
        return names
    raise ConfigError(f"{path}: no results of a packed job: {trouble}")


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        raise _altered(path, "its manifest is none") from error
    if manifest.format != FORMAT:
        raise ConfigError(
            f"{path}: results of format {manifest.format}; this harness reads {FORMAT}: upgrade it"
        )
    return manifest


def _pieces(path: Path, archive: zipfile.ZipFile, name: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield an entry's bytes piece by piece, never more than the limit. Raises: ConfigError."""
    size_bytes = 0
    with archive.open(name) as file:
        while piece := file.read(_PIECE_BYTES):
            size_bytes += len(piece)
            if size_bytes > limit_bytes:
                raise _altered(path, f"{name} has more than {limit_bytes:,} bytes")
            yield piece

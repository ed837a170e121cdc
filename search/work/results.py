"""Results folder: contents of units by digest, verified whenever they are read.

    FOLDER/objects/ab/abcd....harness    content, sealed (`search.training.sealed`); whole or not there
    FOLDER/units/KEY.json                the unit, the digest of its result, seconds, host and time: for people to read
    FOLDER/scratch/KEY/                  what a unit under way keeps for itself, such as checkpoints
    FOLDER/lock                          held by the process that runs units here; it says who that is

A unit whose object is missing or damaged counts as not done. Any process may read and add while another runs units.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.work.kinds import Content, find_kind
from search.work.unit import Unit, is_digest
from space.atomic_files import write_file
from space.errors import ConfigError
from space.system_errors import refused, with_remedy

_LOCK_POLL_S = 0.5
_OLD_S = 3600  # a partial file of this age is of no living process
_LONGEST_HEAD = 80  # bytes of a sealed file's first line
_AGAIN = "its unit is computed again when it is next run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultStore:
    """Content-addressed store in a folder, which is made with the first content."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).absolute())

    def add(self, content: Mapping[str, Any], kind: str) -> str:
        """Store content and return its digest; `kind` is the kind of sealed file, such as "trained network".

        Raises:
            ConfigError: the file cannot be written, such as on a full disk.
            TypeError: the content holds other things than tensors, numbers, texts and containers of them.
        """
        from search.training.sealed import content_digest, write_sealed

        digest = content_digest(content)
        if self.trouble_with(digest) is not None:  # a damaged object is replaced
            write_sealed(self.path_of(digest), kind, content)
        return digest

    def accept(self, data: bytes | memoryview, kind: str, name: str) -> str:
        """Store sealed content from another machine, and return its digest.

        Raises:
            ConfigError: it is damaged, or as for `add`.
        """
        from search.training.sealed import unseal

        return self.add(unseal(kind, data, name), kind)

    def get(self, digest: str) -> Content:
        """Return the content of a digest.

        Raises:
            ConfigError: there is none, it cannot be read, or it is not what it was.
        """
        from search.training.sealed import content_digest, unseal

        path, data = self.path_of(digest), self.sealed(digest)
        content = unseal(sealed_kind(data, str(path)), data, str(path), remedy=_AGAIN)
        if (found := content_digest(content)) != digest:
            raise ConfigError(f"{path}: holds other content, of digest {found[:12]}...; {_AGAIN}")
        return content

    def sealed(self, digest: str) -> bytes:
        """Return the file of a digest as it is, not verified.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        path = self.path_of(digest)
        try:
            return path.read_bytes()
        except FileNotFoundError as e:
            raise ConfigError(
                f"{path}: is not there: nothing of this digest was kept, or it was removed"
            ) from e
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read: {with_remedy(e, 'check the folder')}") from e

    def path_of(self, digest: str) -> Path:
        """Return the path of the content of a digest."""
        if not is_digest(digest):
            raise ConfigError(f"{digest!r} is no content digest; give 64 hexadecimal characters")
        return self.folder / "objects" / digest[:2] / f"{digest}.harness"

    def result_of(self, unit: Unit, log: Callable[[str], None] | None = None) -> str | None:
        """Return the digest of a unit's result, None where it is not done; `log` as for `finished`."""
        found = self.finished(unit, log)
        return None if found is None else found[0]

    def finished(self, unit: Unit, log: Callable[[str], None] | None = None) -> tuple[str, Content] | None:
        """Return the digest of a unit's result and its content, None where it is not done.

        `log` takes the reason where there was a result that can no longer be used.
        """
        try:
            record = self.record_of(unit)
            return None if record is None else (record["result"], self.get(record["result"]))
        except ConfigError as e:
            if log:
                log(str(e))
            return None

    def record(self, unit: Unit, digest: str, seconds: float, host: str) -> None:
        """Record that a unit is done, its content being stored already, and remove its scratch folder.

        Raises:
            ConfigError: the file cannot be written.
        """
        record = {
            "key": unit.key,
            **unit.to_plain(),
            "version": find_kind(unit.kind).version,
            "result": digest,
            "seconds": round(seconds, 3),
            "host": host,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path = self._record_path(unit)
        write_file(path, json.dumps(record, indent=1).encode() + b"\n")
        shutil.rmtree(self.scratch_of(unit), ignore_errors=True)

    def record_of(self, unit: Unit) -> dict[str, Any] | None:
        """Return the record of a finished unit: its `result`, `seconds`, `host` and time; None where there is none.

        Raises:
            ConfigError: it is damaged, or of another unit.
        """
        path = self._record_path(unit)
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if record["key"] != unit.key or "result" not in record:
                raise ValueError(f"it is of unit {record['key']!r}, or names no result")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
            raise ConfigError(f"{path}: is no record of a unit: {e!r}; {_AGAIN}") from e
        return record

    def scratch_of(self, unit: Unit) -> Path:
        """Return a unit's scratch folder; it is not made here."""
        return self.folder / "scratch" / unit.key

    @contextmanager
    def locked(self, log: Callable[[str], None]) -> Iterator[None]:
        """Lock the folder for this process to run units in it; wait for another one, reporting which.

        The system lets go of the lock when the process ends, however it ends.

        Raises:
            ConfigError: the folder cannot be written.
        """
        path = self.folder / "lock"
        with refused(f"{path}: cannot be written", "check the folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab", buffering=0)
        with file:
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as e:
                    if e.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise ConfigError(
                            f"{path}: cannot be locked: {e.strerror or e}; name a folder of a disk that has locks"
                        ) from e
                if not told:
                    holder = path.read_text("utf-8", "replace").strip() or "another process"
                    log(f"waiting: {self.folder} is in use by {holder}; stop that one to go on at once")
                    told = True
                time.sleep(_LOCK_POLL_S)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            with suppress(OSError):  # on a full disk nobody is told who holds the lock
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
            self._clear_partials()
            yield

    def _clear_partials(self) -> None:
        # Partial files of killed processes; younger ones may be in the course of being written.
        for path in (*self.folder.glob("objects/*/.*.partial"), *self.folder.glob("units/.*.partial")):
            with suppress(OSError):  # a younger one is renamed when it is whole
                if time.time() - path.stat().st_mtime > _OLD_S:
                    path.unlink()

    def _record_path(self, unit: Unit) -> Path:
        return self.folder / "units" / f"{unit.key}.json"

    def trouble_with(self, digest: str) -> str | None:
        """Return why the content of a digest cannot be used; None where it can."""
        try:
            self.get(digest)
        except ConfigError as e:
            return str(e)
        return None


def sealed_kind(data: bytes | memoryview, name: str) -> str:
    """Return the kind that a sealed file's first line names.

    Raises:
        ConfigError: it does not begin as one.
    """
    line = bytes(data[:_LONGEST_HEAD]).partition(b"\n")[0]
    words = line.decode("ascii", "replace").split(" ")
    if len(words) < 3 or words[0] != "harness":
        raise ConfigError(f"{name}: is no sealed file: it does not begin as one; {_AGAIN}")
    return " ".join(words[1:-1])

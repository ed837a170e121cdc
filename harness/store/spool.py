"""Spool for a store that does not answer: a file of the user's own, read back in order when it answers again.

JSON lines, each after its SHA-256: an append that is synced is whole or recognized as torn, however the process ends; unlike a
second SQLite database it works on any file system, and what keeps the store away (a full disk aside) does not affect it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from space.user_paths import own_folder

Entry = dict[str, Any]  # {"kind": which record, "record": its document}


@dataclass(slots=True)
class Spool:
    """The waiting file of one store, shared by all processes of the user; safe in threads."""

    path: Path
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits."""
        try:
            return self.path.stat().st_size == 0
        except OSError:
            return True

    def append(self, entry: Entry) -> None:
        """Keep an entry, synced to the disk. Raises: StoreError when that cannot be done either."""
        text = json.dumps(entry, separators=(",", ":"))
        line = f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._exclusive(), self.path.open("ab") as file:
                start = file.tell()
                torn = start > 0 and _last_byte(self.path) != b"\n"
                try:
                    file.write(b"\n" + line if torn else line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        os.truncate(self.path, start)
                    raise
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot keep what waits for the store: {error.strerror or error}"
            ) from error

    def entries(self) -> list[Entry]:
        """Return the waiting entries, oldest first; torn lines are left out."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        return [entry for line in lines if (entry := _entry(line)) is not None]

    def count(self, kind: str) -> int:
        """Return how many entries of a kind wait."""
        return sum(entry["kind"] == kind for entry in self.entries())

    def replay(self, write: Callable[[Entry], None]) -> list[str]:
        """Write the waiting entries in order, then remove all of them; return why some were refused.

        `write` must skip entries that are stored already, for a process may be killed in between. An entry that it refuses with
        ValueError goes to the file `NAME.refused`; any other exception leaves all entries waiting.
        """
        with self._exclusive():
            try:
                lines = self.path.read_bytes().splitlines()
            except FileNotFoundError:
                return []
            refused: dict[bytes, str] = {}
            for line in lines:
                entry = _entry(line)
                try:
                    if entry is not None:
                        write(entry)
                except ValueError as error:
                    refused[line] = str(error)
            if refused:
                with self.refused.open("ab") as file:
                    file.write(b"".join(line + b"\n" for line in refused))
                    os.fsync(file.fileno())
            self.path.unlink()
            return list(refused.values())

    @property
    def refused(self) -> Path:
        """Return the file of entries that no store takes."""
        return self.path.with_name(self.path.name + ".refused")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep other threads and processes of this user away; where locks are not supported, other threads alone."""
        with self._lock, self.path.with_name(self.path.name + ".lock").open("ab") as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def spool_of(name: str) -> Spool:
    """Return the spool of the store with this name (its URL without a password), in the user's state folder."""
    import platformdirs

    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Spool(own_folder(platformdirs.user_state_dir("harness")) / "waiting" / f"{digest}.jsonl")


def _entry(line: bytes) -> Entry | None:
    digest, _, text = line.partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    entry = json.loads(text)
    return entry if isinstance(entry, dict) and isinstance(entry.get("kind"), str) else None


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)

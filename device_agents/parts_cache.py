"""The parts that a device keeps: named by content, bounded in size, least recently used out first.

Two agents may share one cache. A change of the folder happens under `cache.lock`; a part that a job uses is
held by a shared lock on its file, which an evicting agent respects; both kinds of lock end with the process.

A part that comes in chunks grows in `unfinished`, where it outlives its agent: whoever sends it next goes on there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from device_agents.fields import DIGEST
from device_agents.models import load_part, missing_parts, part_path
from device_agents.processes import left_behind
from device_agents.refusal import Refusal
from device_agents.whole_files import file_digest

DEFAULT_LIMIT_BYTES = 1 << 30
FREE_SHARE = 3  # of what is free or already ours, at most a third
EVICT_TO = 0.9  # some room at once, so that not every put has to look through the folder
DICTIONARY_BYTES = 32 << 10  # zlib's window
UNFINISHED = "unfinished"
UNFINISHED_KEPT_S = 7 * 86400.0
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PartsCache:
    """The folder `parts` under the agent's root."""

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        self.parts_dir = root / "parts"
        self._temp_dir = root / "parts" / "temp"
        self._temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unfinished_dir = root / "parts" / UNFINISHED
        self._unfinished_dir.mkdir(mode=0o700, exist_ok=True)
        self._lock_path = root / "cache.lock"
        self._dictionary = ("", b"")
        with self._locked():
            self._sweep()
            self._size_bytes = sum(size for _, size, _ in self._parts())
        if limit_bytes is None:
            usable_bytes = free_bytes(root) + self._size_bytes
            limit_bytes = min(DEFAULT_LIMIT_BYTES, usable_bytes // FREE_SHARE)
        self.limit_bytes = limit_bytes

    def missing(self, digests: list[str]) -> list[str]:
        """Return those that are not here, each once; those that are count as just used."""
        with self._locked():
            return [digest for digest in dict.fromkeys(digests) if not self._touch(digest)]

    def received(self, digests: list[str]) -> dict[str, int]:
        """Return how many bytes are here of those parts that came in part."""
        with self._locked():
            sizes = {digest: file_bytes(self._unfinished_dir / digest) for digest in digests}
        return {digest: size for digest, size in sizes.items() if size}

    def put(
        self, digest: str, size_bytes: int, payload: bytes, encoding: str, dictionary: str | None
    ) -> None:
        """Store a part. Raises: OSError, and Refusal: `damaged`, `too-large`, `disk-full`; of the dictionary
        `part-missing`, `part-damaged`.
        """
        self._check_size(digest, size_bytes)
        data = payload
        if encoding == "zlib":
            data = inflate(payload, size_bytes, self._load_dictionary(dictionary), digest)
        if len(data) != size_bytes:
            raise damaged(digest, "it has %d bytes, not %d" % (len(data), size_bytes))
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise damaged(digest, "its digest is %s" % actual)
        with self._locked():
            if self._touch(digest):
                return
        self._make_room(size_bytes)
        self._store(digest, data)

    def put_chunk(
        self, digest: str, size_bytes: int, offset: int, chunk_bytes: int, payload: bytes, encoding: str
    ) -> int:
        """Add to a part what follows the `offset` bytes that are here; the last chunk stores it.

        Returns the bytes that are here then. Raises: as `put`, and Refusal `out-of-step`, which tells where to go on.
        """
        self._check_size(digest, size_bytes)
        data = inflate(payload, chunk_bytes, b"", digest) if encoding == "zlib" else payload
        if len(data) != chunk_bytes:
            raise damaged(digest, "a chunk has %d bytes, not %d" % (len(data), chunk_bytes))
        if offset == 0:
            self._make_room(size_bytes)
        path = self._unfinished_dir / digest
        with self._locked():
            if self._touch(digest):
                return size_bytes
            here_bytes = file_bytes(path)
            if here_bytes > size_bytes:  # it never was this part
                path.unlink()
                self._size_bytes -= here_bytes
                here_bytes = 0
            if here_bytes != offset:
                raise Refusal(
                    "out-of-step",
                    "part %s has %d bytes here, not %d; go on there" % (digest, here_bytes, offset),
                    digest=digest,
                    received_bytes=here_bytes,
                )
            self._append(path, data, here_bytes)
            if offset + chunk_bytes == size_bytes:
                self._finish(digest, path)
        return offset + chunk_bytes

    @contextmanager
    def hold(self, digests: tuple[str, ...]) -> Iterator[None]:
        """Keep parts from being evicted, by any agent. Raises: Refusal (`part-missing`), OSError."""
        fds: list[int] = []
        try:
            with self._locked():
                missing = [digest for digest in digests if not self._touch(digest)]
                if missing:
                    raise missing_parts(missing)
                for digest in digests:
                    fds.append(os.open(str(part_path(self.parts_dir, digest)), os.O_RDONLY))
                    fcntl.flock(fds[-1], fcntl.LOCK_SH)
            yield
        finally:
            for fd in fds:
                os.close(fd)

    def remove(self, digest: str) -> None:
        """Remove a part that was found damaged."""
        with self._locked():
            path = part_path(self.parts_dir, digest)
            if path.exists():
                self._size_bytes -= path.stat().st_size
                path.unlink()

    def remove_damaged(self, digests: tuple[str, ...]) -> list[str]:
        """Remove those of the parts that are damaged, and return them; one that is not here is not damaged."""
        found = []
        for digest in digests:
            try:
                load_part(self.parts_dir, digest)
            except Refusal as refusal:
                if refusal.kind == "part-damaged":
                    self.remove(digest)
                    found.append(digest)
        return found

    def evict(self, max_bytes: int) -> tuple[int, int]:
        """Remove the least recently used parts until `max_bytes` are left; return (removed, kept) bytes."""
        removed_bytes = 0
        with self._locked():
            parts = sorted(self._parts())
            kept_bytes = sum(size for _, size, _ in parts)
            for _, size, path in parts:
                if kept_bytes <= max_bytes:
                    break
                if remove_unused(path):
                    kept_bytes -= size
                    removed_bytes += size
        self._size_bytes = kept_bytes
        return removed_bytes, kept_bytes

    def _check_size(self, digest: str, size_bytes: int) -> None:
        if size_bytes > self.limit_bytes:
            raise Refusal(
                "too-large",
                "part %s of %d bytes is over the cache's limit of %d; free disk space on the device"
                % (digest, size_bytes, self.limit_bytes),
            )

    def _make_room(self, size_bytes: int) -> None:
        if self._size_bytes + size_bytes > self.limit_bytes:
            self.evict(max(0, int(self.limit_bytes * EVICT_TO) - size_bytes))

    def _append(self, path: Path, data: bytes, here_bytes: int) -> None:
        """Add to an unfinished part, all or nothing."""
        with self._telling_full(path.name, len(data)):
            try:
                with path.open("ab") as file:
                    file.write(data)
            except OSError:
                if path.exists():
                    os.truncate(str(path), here_bytes)
                raise
        self._size_bytes += len(data)

    def _finish(self, digest: str, path: Path) -> None:
        """Store a part that is here whole; a damaged one is removed."""
        actual = file_digest(path)
        if actual != digest:
            self._size_bytes -= file_bytes(path)
            path.unlink()
            raise damaged(digest, "its digest is %s" % actual)
        with self._telling_full(digest, file_bytes(path)):
            part_path(self.parts_dir, digest).parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(part_path(self.parts_dir, digest))

    @contextmanager
    def _telling_full(self, digest: str, size_bytes: int) -> Iterator[None]:
        """Turn the error of a full disk into a refusal. Raises: Refusal (`disk-full`), OSError."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL_ERRORS:
                raise
            message = (
                "no room for part %s of %d bytes under %s (%s; %d bytes free); free some, or use `evict`"
            )
            there = self.parts_dir, error.strerror, free_bytes(self.parts_dir)
            raise Refusal("disk-full", message % (digest, size_bytes, *there)) from error

    def _store(self, digest: str, data: bytes) -> None:
        path = part_path(self.parts_dir, digest)
        temp_path = self._temp_dir / ("%d-%s" % (os.getpid(), os.urandom(8).hex()))
        try:
            with self._telling_full(digest, len(data)):
                temp_path.write_bytes(data)
                with self._locked():
                    path.parent.mkdir(mode=0o700, exist_ok=True)
                    temp_path.replace(path)
        finally:
            if temp_path.exists():
                temp_path.unlink()
        self._size_bytes += len(data)

    def _load_dictionary(self, digest: str | None) -> bytes:
        if digest is None:
            return b""
        if self._dictionary[0] != digest:  # the same for thousands of parts in a row
            try:
                self._dictionary = (digest, load_part(self.parts_dir, digest)[-DICTIONARY_BYTES:])
            except Refusal as refusal:
                if refusal.kind == "part-damaged":
                    self.remove(digest)
                raise
        self._touch(digest)
        return self._dictionary[1]

    def _touch(self, digest: str) -> bool:
        try:
            os.utime(str(part_path(self.parts_dir, digest)))
        except FileNotFoundError:
            return False
        return True

    def _parts(self) -> Iterator[tuple[int, int, Path]]:
        """Yield (last use in ns, bytes, path) of each part, unfinished ones among them."""
        for folder in os.scandir(str(self.parts_dir)):
            if (len(folder.name) != 2 and folder.name != UNFINISHED) or not folder.is_dir():
                continue
            for entry in os.scandir(folder.path):
                if DIGEST.fullmatch(entry.name):
                    stat = entry.stat()
                    yield stat.st_mtime_ns, stat.st_size, Path(entry.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(str(self._lock_path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """Remove half-written parts of agents that are gone, and unfinished ones that nobody went on with."""
        for path in self._unfinished_dir.iterdir():
            if path.stat().st_mtime < time.time() - UNFINISHED_KEPT_S:
                path.unlink()
        for path in left_behind(self._temp_dir):
            path.unlink()


def inflate(payload: bytes, size_bytes: int, dictionary: bytes, digest: str) -> bytes:
    """Decompress a part, never to more than a byte over its stated size. Raises: Refusal (`damaged`)."""
    inflater = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
    try:
        data = inflater.decompress(payload, size_bytes + 1)
    except zlib.error as error:
        raise damaged(digest, str(error)) from error
    if len(data) > size_bytes:
        raise damaged(digest, "it decompresses to more than %d bytes" % size_bytes)
    if not inflater.eof or inflater.unused_data:
        raise damaged(digest, "its zlib stream does not end where the payload does")
    return data


def damaged(digest: str, reason: str) -> Refusal:
    """Return the refusal of a part that arrived otherwise than announced."""
    return Refusal("damaged", "part %s arrived damaged: %s; send it again" % (digest, reason), digest=digest)


def remove_unused(path: Path) -> bool:
    """Remove a part unless a job holds it; return whether it is gone."""
    fd = os.open(str(path), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def file_bytes(path: Path) -> int:
    """Return a file's size, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def free_bytes(path: Path) -> int:
    """Return how much an ordinary user may still write at a path."""
    stat = os.statvfs(str(path))
    return stat.f_bavail * stat.f_frsize

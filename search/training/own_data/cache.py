"""Decoded images on disk: written atomically, checked when read, least recently used ones removed beyond a size.

An entry is a folder, named by a digest of the files, settings and decoder of its images: `images.npy`, uint8 (n, height, width,
channels), and `sha256` of that file, whose time is that of the entry's last use.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space.atomic_files import ensure_folder, locked, new_folder
from space.errors import ConfigError
from space.system_errors import refused
from space.user_paths import cache_folder

MAX_BYTES = 16 << 30  # of all entries together
_ELSEWHERE = "HARNESS_CACHE names another folder"
_IMAGES, _SHA256 = "images.npy", "sha256"

Log = Callable[[str], None]


def cached_images(
    key: str,
    shape: tuple[int, int, int, int],
    make: Callable[[Path], Iterator[NDArray[np.uint8]]],
    log: Log,
) -> NDArray[np.uint8]:
    """Return the images of a key, read-only, of `shape`, (n, height, width, channels); `make` yields those that are not kept yet.

    `make` takes the cache's folder, for its messages. Processes that want the same images wait for the one that makes them.

    Raises:
        ConfigError: the cache cannot be written, such as on a full disk; what `make` raises.
    """
    folder = cache_folder("tasks")
    ensure_folder(folder, _ELSEWHERE)
    entry = folder / key
    with locked(entry):
        if entry.exists():
            found = _read(entry, shape)
            if found is not None:
                return found
            log(f"{entry}: is damaged; its images are made again")
            shutil.rmtree(entry, ignore_errors=True)
        for partial in folder.glob(f".{key}.*.partial"):  # of processes that were killed
            shutil.rmtree(partial, ignore_errors=True)
        _make_room(folder, int(np.prod(shape)))
        with new_folder(entry) as partial:
            _write(partial, shape, make(folder))
        found = _read(entry, shape)
    if found is None:
        raise ConfigError(f"{entry}: cannot be read as it was written; check the disk, or {_ELSEWHERE}")
    return found


def _write(folder: Path, shape: tuple[int, int, int, int], images: Iterator[NDArray[np.uint8]]) -> None:
    """Write images one by one, so that no more than some are in memory. Raises: OSError."""
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (folder / _IMAGES).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            file.write(np.ascontiguousarray(image).data)
        file.flush()
        os.fsync(file.fileno())
    (folder / _SHA256).write_text(_sha256(folder / _IMAGES))


def _read(entry: Path, shape: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
    """Return an entry's images; None where they are missing or damaged."""
    with suppress(OSError, ValueError, EOFError):
        found: NDArray[np.uint8] = np.load(entry / _IMAGES, mmap_mode="r", allow_pickle=False)
        named = (entry / _SHA256).read_text()
        if found.dtype == np.uint8 and found.shape == shape and _sha256(entry / _IMAGES) == named:
            with suppress(OSError):  # such as another user's: its time stays
                os.utime(entry / _SHA256)
            return found
    return None


def _make_room(folder: Path, size_bytes: int) -> None:
    """Remove least recently used entries until `size_bytes` more fit. Raises: ConfigError."""
    with refused(f"{folder}: cannot be read", "run it again"):
        free = shutil.disk_usage(folder).free
        entries = []
        for path in folder.glob(f"*/{_SHA256}"):
            with suppress(FileNotFoundError):  # removed by hand, or by another process that makes room
                entries.append((path.stat().st_mtime, path.parent, (path.parent / _IMAGES).stat().st_size))
    kept = sum(size for *_, size in entries)
    for _, entry, size in sorted(entries):
        if kept + size_bytes <= MAX_BYTES:
            break
        kept, free = kept - size, free + size
        shutil.rmtree(entry, ignore_errors=True)
    if size_bytes > free:
        raise ConfigError(
            f"{folder}: the decoded images take {size_bytes:,} bytes, {free:,} are free; free some room, or {_ELSEWHERE}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Atomic writes of files and folders: complete under their name, or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from space.errors import ConfigError, HarnessError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def check_folder_of(path: Path | None) -> None:
    """Refuse a file, or a folder to be made, whose own folder does not exist; None is none. Raises: ConfigError."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{path}: no folder {str(path.parent)!r}; make it first")


def write_file(
    path: Path,
    content: bytes | memoryview,
    *,
    error: type[HarnessError] = ConfigError,
    make_folder: bool = False,
) -> None:
    """Write a file whole, in place of a former one, its folder made where that is asked for.

    Raises:
        `error`: the file cannot be written, such as on a full disk; a former one stays as it was.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as cause:
        remedy = "check the folder"
        if cause.errno in _NO_ROOM:
            remedy = f"the disk is full: free {len(content):,} bytes there, or name another folder"
        former = "; the former file stays as it was" if path.exists() else ""
        raise error(f"{path}: cannot be written: {cause.strerror or cause}; {remedy}{former}") from cause


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write to a temporary file, sync, then rename: a reader sees the old file or the new one.

    A process that is killed meanwhile leaves a file that `partials` finds.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def partials(path: Path) -> list[Path]:
    """Return the temporary files that killed writers of this file left."""
    return [found for found in path.parent.glob(".*.partial") if found.name.startswith(f".{path.name}.")]


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Provide a temporary folder that is renamed to `path` when complete, and removed when something fails.

    Raises:
        ConfigError: it cannot be written.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed and had this number
        folder.mkdir()
        yield folder
        folder.rename(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}; name another folder") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)

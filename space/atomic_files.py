"""Atomic writes of files and folders, complete under their name or absent, and a lock for what is read and written again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from space.errors import ConfigError, HarnessError
from space.system_errors import refused, with_remedy
from space.user_paths import expand_user

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)  # of a file system without fsync
_LEAST_OF_TEXT = 0x09  # a tab; models, SQLite files and archives begin with less
_OTHERS = {
    ".csv",
    ".html",
    ".json",
    ".jsonl",
    ".onnx",
    ".parquet",
    ".pdf",
    ".png",
    ".py",
    ".svg",
    ".tflite",
    ".toml",
    ".xml",
}
_STORE = b"SQLite format 3\0"
_OWN_DESCRIPTORS = ("/dev/", "/proc/")  # /dev/stdout is a file where the shell redirected it


def check_folder(folder: Path | None, option: str = "") -> None:
    """Refuse a folder that no file can be written to; None is none. `option` names it before its path. Raises: ConfigError.

    One that is not there, and those that it is in, are made when a file is.
    """
    if folder is None:
        return
    if os.path.isfile(folder):  # noqa: PTH113 - never raises
        raise ConfigError(f"{option}{folder}: is a file; name a folder")
    _check_place(f"{option}{folder}", lambda: _refusal_of_folder(folder), "name another folder")


def ensure_folder(folder: Path, remedy: str) -> None:
    """Make a folder, and those that it is in, unless it is there. Raises: ConfigError."""
    with refused(f"{folder}: cannot be made", remedy):
        folder.mkdir(parents=True, exist_ok=True)


def check_output_file(
    path: Path | None, kind: str = "", *, inputs: Iterable[str | Path] = (), is_text: bool = True
) -> None:
    """Refuse a file that cannot be written, before its content is computed; None is none. Raises: ConfigError.

    Nor may it be named as of another kind than `kind`, a suffix such as ".csv", where one is given; nor be one of the `inputs`,
    files that are read; nor take the place of a store, or text that of what is none, as a model.
    Folders on the way to it that are not there are made when it is written.
    """
    if path is None:
        return
    if kind and path.suffix.lower() in _OTHERS - {kind}:
        raise ConfigError(f"{path}: what is written is no {path.suffix}; name a file that ends in {kind}")

    def refusal() -> int:
        if path.is_dir():
            return errno.EISDIR
        if _is_written_through(path):
            return _refusal(path)
        return _refusal_of_folder(Path(os.path.realpath(path)).parent)

    _check_place(str(path), refusal, "name another file")
    if not holds_file(path):
        return
    read = map(expand_user, inputs)  # texts may begin with a ~, which no shell replaced
    if any(os.path.exists(one) and os.path.samefile(path, one) for one in read):  # noqa: PTH110, PTH121 - neither raises
        raise ConfigError(
            f"{path}: is read here, and would be replaced; name another file for what is written"
        )
    begin = _begin_of(path)
    if begin.startswith(_STORE) or (is_text and any(byte < _LEAST_OF_TEXT for byte in begin)):
        raise ConfigError(
            f"{path}: is there and is no text: a model, a store or the like, which would be lost; name another file"
        )


def _begin_of(path: Path) -> bytes:
    """Return the first bytes of a file; none of one that may not be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(1024)
    return b""


def _check_place(name: str, find_refusal: Callable[[], int], remedy: str) -> None:
    """Raise ConfigError where the system refuses to write to what has this name."""
    try:
        refusal = find_refusal()
    except (OSError, ValueError) as error:
        refusal = getattr(error, "errno", None) or errno.EINVAL
    if refusal:
        reason = with_remedy(OSError(refusal, os.strerror(refusal)), remedy)
        raise ConfigError(f"{name}: cannot be written: {reason}")


def _refusal(place: Path) -> int:
    """Return the number of the error that writing to a folder or a file meets; 0 for none."""
    if os.access(place, os.W_OK):
        return 0
    return errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES


def _refusal_of_folder(folder: Path) -> int:
    """Return as `_refusal` for a folder, or for the nearest above it that is there."""
    place = next(one for one in (folder, *folder.parents) if one.exists())
    return _refusal(place) if place.is_dir() else errno.ENOTDIR


def write_file(
    path: Path,
    content: bytes | memoryview,
    *,
    error: type[HarnessError] = ConfigError,
) -> None:
    """Write a file whole, in place of a former one; see `write_whole`.

    Raises:
        `error`: the file cannot be written, such as on a full disk; a former one stays as it was.
    """
    try:
        write_whole(path, content)
    except OSError as cause:
        reason = with_remedy(cause, "check the folder")
        if cause.errno in _NO_ROOM:
            reason = f"{cause.strerror}; the disk is full: free {len(content):,} bytes there, or name another folder"
        former = "; the former file stays as it was" if os.path.isfile(path) else ""  # noqa: PTH113 - never raises
        raise error(f"{path}: cannot be written: {reason}{former}") from cause


def holds_file(path: Path) -> bool:
    """Return whether writing to `path` would replace a file: not so a device, a FIFO, or what is not there.

    Raises:
        ConfigError: that cannot be found out, such as in a folder that may not be searched.
    """
    try:
        return not _is_written_through(path) and stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be written: {with_remedy(error, 'name another file')}") from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write to a temporary file, sync, then rename: a reader sees the old file or the new one. Its folder is made if need be.

    A former file's mode, and its owner where that is permitted, are kept; a symbolic link stays, and what it points to is
    written. A device or a FIFO is written through. A process that is killed meanwhile leaves a file that `partials` finds.

    Raises:
        OSError: the file cannot be written.
    """
    if _is_written_through(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), "wb") as file:
            file.write(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            _keep_mode(path, file.fileno())
            file.write(content)
            file.flush()
            _sync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    # The file is there: a folder that may not be read, or a file system that syncs none, is no failure.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold, or wait for, the lock of a file that is read and then written again: no process loses what another wrote meanwhile.

    The lock is a hidden, empty file beside `path`, which stays; the system lets go of it when a process ends, however it ends.

    Raises:
        ConfigError: the lock cannot be made or taken.
    """
    path = Path(os.path.realpath(path))
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as stack:
        remedy = "name a file in a folder that can be written, on a disk that has locks"
        with refused(f"{lock}: cannot be locked", remedy):
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(lock.open("ab")), fcntl.LOCK_EX)
        yield


def _is_written_through(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or str(path).startswith(_OWN_DESCRIPTORS)


def _keep_mode(former: Path, descriptor: int) -> None:
    try:
        found = former.stat()
    except FileNotFoundError:
        return
    with contextlib.suppress(OSError):  # only root may give files away; not every file system has owners
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, found.st_uid, found.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def partials(path: Path) -> list[Path]:
    """Return the temporary files that killed writers of this file left."""
    path = Path(os.path.realpath(path))
    return [found for found in path.parent.glob(".*.partial") if found.name.startswith(f".{path.name}.")]


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Provide a temporary folder that is renamed to `path` when complete, and removed when something fails.

    Raises:
        ConfigError: it cannot be written.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with refused(f"{path}: cannot be written", "name another folder"):
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed and had this number
            folder.mkdir(parents=True)
            yield folder
            folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""The text files that OpenSSH keeps: read whole when they are plain files, refused by name when they are anything else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from space.errors import ConfigError
from space.user_paths import expand_user

MAX_BYTES = 16 << 20
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_lines(path: Path, what: str, *, must_be_own: bool = False) -> list[str]:
    """Return a file's lines; none of a file that does not exist and of /dev/null, which people name to have none.

    what: where the path was named, for messages. must_be_own: refuse a file that others may change, as ssh does with what
    holds commands. Raises: ConfigError for a device, a FIFO, a folder, a file of more than 16 MiB or one that cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error}") from error
    try:
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
            return []
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what}: {path} is no plain file; name a file of text")
        if must_be_own and (status.st_uid not in (0, os.getuid()) or status.st_mode & _OTHERS_MAY_WRITE):
            raise ConfigError(
                f"{what}: {path} may be changed by others, so ssh refuses it, too; run: chmod go-w '{path}' (as its owner)"
            )
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{what}: {path} holds more than {MAX_BYTES >> 20} MiB; name a file of text")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error}") from error
    finally:
        os.close(fd)


def expand_home(text: str, what: str) -> Path:
    """Return a path with `~` and `~user` at its beginning expanded. Raises: ConfigError."""
    try:
        return expand_user(text)
    except ConfigError as error:
        raise ConfigError(f"{what} = {text!r}: {error}") from error

"""Text that people wrote, read from wherever they keep it: UTF-8 with or without a mark, any line ends, gzip, standard input."""

from __future__ import annotations

import errno
import gzip
import io
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from space.errors import ConfigError, HarnessError
from space.system_errors import with_remedy
from space.user_paths import expand_user

STANDARD_INPUT = "-"
_MAX_BYTES = 64 << 20
_MAX_STREAM_BYTES = 1 << 30


def read_text(
    path: Path,
    *,
    option: str = "",
    error: type[HarnessError] = ConfigError,
    remedy: str = "check the path",
    most: int = _MAX_BYTES,
) -> str:
    """Return a file's text with a line feed at the end of each line; `-` is standard input, and `.gz` is unpacked.

    `option` is that which named the file.

    Raises:
        `error`: it cannot be read, has more than `most` bytes, or is no UTF-8; the message names the file and the `remedy`.
    """
    content = read_content(path, option=option, error=error, remedy=remedy, most=most)
    try:
        return decoded(content)
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise error(
            f"{_named(path, option)}: is not UTF-8 text (line {line}: byte 0x{content[cause.start]:02x}); "
            "save it as plain text in UTF-8"
        ) from cause


def decoded(content: bytes) -> str:
    """Return the text of bytes in UTF-8, without its mark and with a line feed at the end of each line.

    Raises:
        UnicodeDecodeError: they are no UTF-8.
    """
    return content.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_content(
    path: Path,
    *,
    option: str = "",
    error: type[HarnessError] = ConfigError,
    remedy: str = "check the path",
    most: int = _MAX_BYTES,
) -> bytes:
    """Return a file's bytes, unpacked where it is a `.gz`; `-` is standard input. As `read_text`.

    Raises:
        `error`: it cannot be read, or has more than `most` bytes unpacked.
    """
    if str(path) != STANDARD_INPUT:
        path = expand_user(path)
    try:
        if str(path) == STANDARD_INPUT:
            content = _standard_input(sys.stdin)
        else:
            with path.open("rb") as file:  # a device may have no size: read no more than is allowed
                content = unpacked(file, path).read(most + 1)
    except (OSError, EOFError, zlib.error, ValueError) as cause:
        raise error(f"{_named(path, option)}: cannot be read: {with_remedy(cause, remedy)}") from cause
    if len(content) > most:
        raise error(
            f"{_named(path, option)}: holds more than {most} bytes; check that it is the right file, or split it"
        )
    return content


def _named(path: Path, option: str) -> str:
    return f"{option} {path}".strip()


@cache
def _standard_input(stream: TextIO) -> bytes:
    """Return all of a stream, which gives it once: a file that is read twice may be `-` all the same."""
    content = stream.buffer.read(_MAX_STREAM_BYTES + 1)
    if len(content) > _MAX_STREAM_BYTES:
        raise OSError(errno.EFBIG, f"more than {_MAX_STREAM_BYTES} bytes")
    return content


def unpacked(file: BinaryIO, path: Path) -> BinaryIO:
    """Return a file, or what it holds if its name ends in `.gz`."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.suffix.lower() == ".gz" else file


def suffix_of(path: Path) -> str:
    """Return a name's suffix in lower case, that before `.gz` where there is one; standard input is taken for CSV."""
    if str(path) == STANDARD_INPUT:
        return ".csv"
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def lines_of_list(text: str) -> list[tuple[int, str]]:
    """Return the lines that hold something, numbered from 1, without comments, which begin with #."""
    found = (
        (number, line.partition("#")[0].strip()) for number, line in enumerate(io.StringIO(text), start=1)
    )
    return [(number, line) for number, line in found if line]

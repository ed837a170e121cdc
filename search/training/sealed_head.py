"""Checks before torch is loaded: of a sealed file's first line, which names its kind of content, and of folders of such files."""

from __future__ import annotations

import contextlib
from pathlib import Path

from space.errors import ConfigError

AGAIN = "make it again"
CHECKPOINT = "checkpoint.harness"
TRAINED = "trained network"
TEACHER = "teacher.harness"  # in the folder of a block library
LONGEST = 80  # bytes: where another kind's name is looked for


def head(kind: str) -> bytes:
    """Return the first line of a sealed file of a kind."""
    return f"harness {kind} 1\n".encode()


def check_head(kind: str, begin: bytes, name: str, remedy: str = AGAIN) -> None:
    """Raise ConfigError for the bytes of a file that does not begin as one of the kind; `name` and `remedy` are for messages."""
    if begin.startswith(head(kind)):
        return
    line, newline, _ = begin[:LONGEST].partition(b"\n")
    is_other = newline and line.startswith(b"harness ") and line.isascii()
    other = f", but is headed {line.decode()!r}" if is_other else ""
    raise ConfigError(f"{name}: is no {kind} of this version: it does not begin as one does{other}; {remedy}")


def check_trained(path: Path) -> None:
    """Raise ConfigError for a file that is no trained network, or a folder that no training has written to."""
    if path.is_dir() and not (path / CHECKPOINT).exists():
        raise ConfigError(
            f"{path}: holds no {CHECKPOINT}; name a trained network's file, or a training's folder"
        )
    with contextlib.suppress(OSError):  # told where all of it is read
        if path.is_file():
            with path.open("rb") as file:
                check_head(TRAINED, file.read(LONGEST), str(path))


def check_library(folder: Path) -> None:
    """Raise ConfigError for a folder without a teacher's file, which is no library."""
    if not (folder / TEACHER).is_file():
        raise ConfigError(
            f"{folder}: is no block library: it has no {TEACHER}; make one with 'harness distill'"
        )

"""The folder of a block library: a check of what is there, before torch is loaded to read it."""

from __future__ import annotations

from pathlib import Path

from space.errors import ConfigError

TEACHER = "teacher.harness"


def check_library(folder: Path) -> None:
    """Raise ConfigError for a folder without a teacher's file, which is no library."""
    if not (folder / TEACHER).is_file():
        raise ConfigError(
            f"{folder}: is no block library: it has no {TEACHER}; make one with 'harness distill'"
        )

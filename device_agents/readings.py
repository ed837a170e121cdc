"""Reading what a system tells: files and commands with a deadline, no shell; what is absent is no error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

COMMAND_DEADLINE_S = 2.0
DEADLINES_S = {"nvidia-smi": 15.0}  # without persistence mode it wakes each GPU first
FILE_LIMIT_BYTES = 1 << 20
MESSAGE_CHARACTERS = 200


class Absent(Exception):
    """This system has no such thing."""


class Reading:
    """One round of reading: facts go where told, what fails into `errors`, what is absent nowhere."""

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self.errors: dict[str, str] = {}

    def file(
        self,
        values: dict[str, Any],
        key: str,
        path: str,
        parse: Callable[[str], Any],
        error_key: str | None = None,
    ) -> None:
        """Put the fact in a file under a key."""
        self.take(values, key, lambda: read_text(self._filesystem / path), parse, error_key or key)

    def take(
        self,
        values: dict[str, Any],
        key: str,
        source: Callable[[], str],
        parse: Callable[[str], Any],
        error_key: str,
    ) -> None:
        """Put the fact in a source's text under a key."""
        try:
            values[key] = parse(source())
        except Absent:
            return
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            self.errors.setdefault(error_key, ("%s: %s" % (key, error))[:MESSAGE_CHARACTERS])

    def folders(self, path: str, pattern: str) -> list[str]:
        """Return the folders that match, in the order of their numbers."""
        try:
            found = sorted(
                (self._filesystem / path).glob(pattern), key=lambda entry: (len(entry.name), entry.name)
            )
        except OSError:
            return []
        return [str(entry.relative_to(self._filesystem)) for entry in found]


def read_text(path: Path) -> str:
    """Return a file's text, bounded. Raises: Absent, OSError."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        raise Absent() from None


def run_with_deadline(command: list[str]) -> str:
    """Return a command's output. Raises: Absent, OSError, subprocess.SubprocessError."""
    if shutil.which(command[0]) is None:
        raise Absent()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=DEADLINES_S.get(command[0], COMMAND_DEADLINE_S),
        check=True,
    )
    return done.stdout[:FILE_LIMIT_BYTES].decode("utf-8", "replace")


def present(value: Any) -> Any:
    """Return a fact that is there. Raises: Absent."""
    if value is None:
        raise Absent()
    return value


def keep(values: dict[str, Any], **found: dict[str, Any]) -> None:
    """Add the groups that hold something."""
    values.update({key: group for key, group in found.items() if group})

"""System files and commands read with a deadline, without a shell; absent sources are no errors."""

from __future__ import annotations

import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

from device_agents.processes import end_group

COMMAND_DEADLINE_S = 2.0
DEADLINES_S = {"nvidia-smi": 15.0}  # without persistence mode it wakes each GPU first
ENDLESS = ("tegrastats",)  # prints a line each period until it is ended
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
        encoding: str = "utf-8",
    ) -> None:
        """Put the fact in a file under a key. encoding: latin-1 where the file holds bytes."""
        self.take(values, key, lambda: read_text(self._filesystem / path, encoding), parse, error_key or key)

    def take(
        self,
        values: dict[str, Any],
        key: str,
        source: Callable[[], str],
        parse: Callable[[str], Any],
        error_key: str,
    ) -> None:
        """Put the fact in a source's text under a key; None is no fact."""
        try:
            value = parse(source())
            if value is not None:
                values[key] = value
        except Absent:
            return
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            self.errors.setdefault(error_key, ("%s: %s" % (key, error))[:MESSAGE_CHARACTERS])

    def folders(self, path: str, pattern: str) -> list[str]:
        """Return the folders or files that match, in the order of their numbers."""
        try:
            found = sorted(
                (self._filesystem / path).glob(pattern), key=lambda entry: (len(entry.name), entry.name)
            )
        except OSError:
            return []
        return [str(entry.relative_to(self._filesystem)) for entry in found]


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return a file's text, bounded. Raises: Absent, OSError."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT_BYTES).decode(encoding, "replace")
    except (FileNotFoundError, NotADirectoryError):
        raise Absent() from None


def run_with_deadline(command: list[str]) -> str:
    """Return a command's output, the first line of one without end. Raises: Absent, OSError, subprocess.SubprocessError."""
    if shutil.which(command[0]) is None:
        raise Absent()
    if command[0] in ENDLESS:
        return first_line(command)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=DEADLINES_S.get(command[0], COMMAND_DEADLINE_S),
        check=True,
    )
    return done.stdout[:FILE_LIMIT_BYTES].decode("utf-8", "replace")


def first_line(command: list[str]) -> str:
    """Return the first line that a command prints, and end it. Raises: OSError, subprocess.SubprocessError."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
    assert process.stdout is not None
    deadline_s, output = time.monotonic() + COMMAND_DEADLINE_S, bytearray()
    try:
        while b"\n" not in output and len(output) < FILE_LIMIT_BYTES:
            if not select.select([process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired(command, COMMAND_DEADLINE_S)
            data = process.stdout.read(4096)
            if not data:
                raise subprocess.CalledProcessError(process.wait(), command)
            output += data
    finally:
        end_group(process)
    return output.split(b"\n")[0].decode("utf-8", "replace")


def keep(values: dict[str, Any], **found: Any) -> None:
    """Add the groups that hold something."""
    values.update({key: group for key, group in found.items() if group})

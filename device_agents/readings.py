"""System files and commands read with a deadline, without a shell; absent sources are no errors."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

from device_agents.facts import Absent
from device_agents.processes import end_group

COMMAND_DEADLINE_S = 2.0
DEADLINES_S = {"nvidia-smi": 15.0}  # without persistence mode it wakes each GPU first
ENDLESS = ("tegrastats",)  # prints a line each period until it is ended
FILE_LIMIT_BYTES = 1 << 20
READ_BYTES = 1 << 16
MESSAGE_CHARACTERS = 200


class Flood(subprocess.SubprocessError):
    """A command that writes more than anybody reads."""


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
    is_endless = command[0] in ENDLESS
    timeout_s = DEADLINES_S.get(command[0], COMMAND_DEADLINE_S)
    done = run_bounded(command, timeout_s, until=b"\n" if is_endless else b"", stderr=subprocess.DEVNULL)
    done.check_returncode()
    text = done.stdout.decode("utf-8", "replace")
    return text.split("\n")[0] if is_endless else text


def run_bounded(
    command: list[str],
    timeout_s: float,
    limit_bytes: int = FILE_LIMIT_BYTES,
    until: bytes = b"",
    **how: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command without input, which Ctrl-C does not reach; return its status and what it wrote.

    until: once it has written that, it is ended, with all that it started, as it is where it takes too long or writes too much.
    how: as subprocess.Popen takes it. Raises: OSError; as `read_bounded`.
    """
    how = dict({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, **how)
    process = subprocess.Popen(command, bufsize=0, start_new_session=True, **how)
    try:
        output, errors = read_bounded(process, timeout_s, limit_bytes, until)
        return subprocess.CompletedProcess(command, process.returncode or 0, output, errors)
    finally:
        end_group(process)


def read_bounded(
    process: subprocess.Popen[bytes],
    timeout_s: float,
    limit_bytes: int = FILE_LIMIT_BYTES,
    until: bytes = b"",
) -> tuple[bytes, bytes]:
    """Return a process's standard output up to its end, or `until`, and the end of its standard error.

    Raises: subprocess.TimeoutExpired; Flood for more output than `limit_bytes`.
    """
    deadline_s = time.monotonic() + timeout_s
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, text in ((process.stdout, output), (process.stderr, errors)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, text)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            for key, _ in ready:
                data = os.read(key.fd, READ_BYTES)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
            if len(output) > limit_bytes:
                raise Flood("it wrote more than %d bytes" % limit_bytes)
            del errors[:-limit_bytes]
            if until and until in output:
                return bytes(output), bytes(errors)
    process.wait(max(0.0, deadline_s - time.monotonic()))
    return bytes(output), bytes(errors)


def keep(values: dict[str, Any], **found: Any) -> None:
    """Add the groups that hold something."""
    values.update({key: group for key, group in found.items() if group})

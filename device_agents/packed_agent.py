"""The agent of a packed job, and the journal of its requests and answers."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

from device_agents.frames import PREAMBLE, FrameError, FrameReader, FrameWriter

ANSWER_S = 60.0
END_S = 10.0
SILENT = "no sign of life from the agent for %g s"

Answer = Dict[str, Any]


class Lost(Exception):
    """The agent ended, or fell silent."""


class Stop(Exception):
    """The job cannot go on; the message says why and what helps."""


class AgentRefusal(Stop):
    """The agent answered with an error, of a kind by the protocol's words; the job ends unless that is heeded."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.get("message")))
        self.kind = str(answer.get("kind"))


def result(answer: Answer) -> Answer:
    """Return the agent's answer where it is a result. Raises: AgentRefusal."""
    if answer.get("type") != "result":
        raise AgentRefusal(answer)
    return answer


class AgentProcess:
    """The agent, in a process of its own, as over SSH."""

    def __init__(self, agent_path: Path, root: Path) -> None:
        # Without site-packages, which take a quarter of its start: what it starts to import runtimes has them.
        command = [sys.executable, "-I", "-S", str(agent_path), "serve", "--root", str(root)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._writer = FrameWriter(self._process.stdin.fileno())
        self._reader = FrameReader(self._process.stdout.fileno())
        self._last_id = 0
        begin = b""
        while len(begin) < len(PREAMBLE):
            if not select.select([self._reader.fd], [], [], ANSWER_S)[0]:
                raise Lost(SILENT % ANSWER_S)
            piece = os.read(self._reader.fd, len(PREAMBLE) - len(begin))
            if not piece:
                raise Lost("the agent ended at once")
            begin += piece

    def ask(
        self,
        verb: str,
        timeout_s: float = ANSWER_S,
        on_event: Callable[[Answer], None] = lambda event: None,
        payload: bytes = b"",
        **fields: Any,
    ) -> Answer:
        """Return the answer to a request, a result or an error, handing on the events before it. Raises: Lost."""
        self._last_id += 1
        try:
            self._writer.write(dict(fields, id=self._last_id, verb=verb), payload)
            while True:
                header = self._read(timeout_s)
                if header.get("type") != "event":
                    return header
                on_event(header)
        except (OSError, FrameError) as error:
            raise Lost("the agent is gone: %s" % error) from error

    def close(self) -> None:
        """End the agent, which ends its worker."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self, timeout_s: float) -> Answer:
        frame = self._reader.read(timeout_s)
        if frame is None:
            raise Lost("the agent ended" if self._reader.ended else SILENT % timeout_s)
        return frame[0]


class Journal:
    """Requests and answers since this start of the job, a line of JSON each, on the disk before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def write(self, **entry: Any) -> None:
        """Add a line, with the monotonic time in s behind it."""
        entry["at"] = round(time.monotonic(), 6)
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
        self._file.write(line.encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Have all lines on the disk, also where the power fails."""
        with suppress(OSError):  # of a file system without
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.sync()
        self._file.close()


def whole_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal; the file is cut off before the first that is not whole, as where the power failed."""
    whole_bytes = 0
    with path.open("rb") as file:
        for line in file:
            entry = parse_entry(line)
            if entry is None:
                break
            whole_bytes += len(line)
            yield entry
    if whole_bytes < path.stat().st_size:
        os.truncate(str(path), whole_bytes)


def parse_entry(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line, None where it is not written to its end, or is something else."""
    try:
        entry = json.loads(line.decode("utf-8")) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None

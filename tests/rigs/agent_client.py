"""A small client of the agent, written from the interface and not from the agent's own code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.devices.client import ISOLATED
from rigs.forked_agents import ForkedThere

PREAMBLE = b"HARNESS-AGENT 1\n"


class Client:
    """Speaks to one agent in a subprocess, forked (`rigs.forked_agents`) where it can be and `forks` does not forbid it."""

    forks = True

    def __init__(self, agent: Path, root: Path, python: str = sys.executable, **popen: Any) -> None:
        arguments = popen.pop("arguments", [])
        is_forked = self.forks and agent.suffix == ".pyz"
        self.process = (ForkedThere if is_forked else subprocess.Popen)(
            [python, *ISOLATED, str(agent), "serve", "--root", str(root), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **popen,
        )
        self.last_id, self.root = 0, root
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == PREAMBLE, self.process.stderr.read().decode()

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, verb: str, payload: bytes = b"", **fields: Any) -> int:
        self.last_id += 1
        self.write(frame({"id": self.last_id, "verb": verb, **fields}, payload))
        return self.last_id

    def receive(self) -> dict[str, Any]:
        prefix = self.process.stdout.read(12)
        assert len(prefix) == 12, (prefix, self.process.stderr.read().decode())
        magic, header_bytes, payload_bytes = struct.unpack(">4sII", prefix)
        assert magic == b"HRN1", prefix
        assert payload_bytes == 0
        return json.loads(self.process.stdout.read(header_bytes))

    def ask(self, verb: str, payload: bytes = b"", **fields: Any) -> dict[str, Any]:
        """Return the answer, which must be no event."""
        request = self.send(verb, payload, **fields)
        answer = self.receive()
        assert answer["id"] == request
        assert answer["type"] in ("result", "error"), answer
        return answer

    def put(self, data: bytes) -> str:
        digest = sha256(data)
        answer = self.ask("put", data, digest=digest, size_bytes=len(data), encoding="raw", dictionary=None)
        assert answer == {"stored": True, "type": "result", "id": self.last_id}, answer
        return digest

    def run(self, job: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return (events, answer)."""
        self.send("run", job=job)
        return self.finish()

    def finish(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        events = []
        while True:
            header = self.receive()
            assert header["id"] == self.last_id
            if header["type"] != "event":
                return events, header
            events.append(header)

    def await_event(self, name: str) -> dict[str, Any]:
        while True:
            header = self.receive()
            assert header["type"] == "event", header
            if header["event"] == name:
                return header

    def end(self) -> int:
        """Close the input and return the exit status."""
        self.process.stdin.close()
        status = self.process.wait(20)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        self.process.stderr.close()


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return a frame of the protocol as bytes."""
    text = json.dumps(header).encode()
    return struct.pack(">4sII", b"HRN1", len(text), len(payload)) + text + payload


def sha256(data: bytes) -> str:
    """Return the digest by which the agent names parts."""
    return hashlib.sha256(data).hexdigest()


def process_exists(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")

"""SSH agents for tests: OpenSSH's with keys of the test's own, one that never answers, and one that answers what it is told."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[str]:
    """Run an agent that holds some keys; yield the path of its socket."""
    program = shutil.which("ssh-agent")
    if program is None:
        pytest.skip("needs OpenSSH's ssh-agent (Debian: apt install openssh-client)")
    path = str(folder / "agent.socket")
    process = subprocess.Popen(
        [program, "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        environment = os.environ | {"SSH_AUTH_SOCK": path}
        while subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True).returncode == 2:
            assert process.poll() is None
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, capture_output=True)
        yield path
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def silent_agent(folder: Path) -> Iterator[str]:
    """Listen as an agent does and never answer; yield the path of the socket."""
    path = str(folder / "silent.socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield path


@contextmanager
def lying_agent(folder: Path, answer: Sequence[bytes], pause_s: float = 0.0) -> Iterator[str]:
    """Answer each request in these pieces, a pause after each, and hang up; yield the path of the socket."""
    path = str(folder / "lying.socket")

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                for piece in answer:
                    connection.sendall(piece)
                    time.sleep(pause_s)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)

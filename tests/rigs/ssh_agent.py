"""SSH agents for tests: OpenSSH's with keys of the test's own, and one that takes requests and never answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
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

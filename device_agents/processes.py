"""Processes that the agent starts from its own file, and what their end means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def start_agent(agent_path: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start the agent's own file with a role, in a process group of its own, with three pipes."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")  # numpy only fills buffers here
    return subprocess.Popen(
        [sys.executable, str(agent_path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        env=environment,
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, and close its pipes; safe when it has ended."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def signal_name(number: int) -> str:
    """Return a signal's name, SIGSEGV rather than 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

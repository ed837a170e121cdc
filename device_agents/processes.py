"""Processes that the agent starts from its own file, what their end means, and the folders that they leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Sequence

LIBRARIES_VARIABLE = "HARNESS_LIBRARIES"  # names the folder of libraries that the harness carried here


def start_agent(
    agent_path: Path, arguments: list[str], environment: dict[str, str], descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start the agent's own file with a role, in a process group of its own, with three pipes.

    environment: what it has besides this process's. descriptors: what it keeps open of this process's.

    Its frames, which `stdout` of the answer reads, have a descriptor of their own there, so that whatever prints, and be it a
    `sitecustomize` before the role begins, cannot get between two frames; all that is printed goes to `stderr`.
    """
    whole = dict(os.environ, OPENBLAS_NUM_THREADS="1")  # numpy only fills buffers here
    whole.pop("PYTHONHOME", None)  # of another Python: this one runs isolated, without it
    whole.update(environment)
    frames_fd, their_frames_fd = os.pipe()
    printed_fd, their_printed_fd = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, str(agent_path), *arguments, "--frames", str(their_frames_fd)],
            stdin=subprocess.PIPE,
            stdout=their_printed_fd,
            stderr=their_printed_fd,
            pass_fds=(their_frames_fd, *descriptors),
            bufsize=0,
            start_new_session=True,
            env=whole,
        )
    except BaseException:
        os.close(frames_fd)
        os.close(printed_fd)
        raise
    finally:
        os.close(their_frames_fd)
        os.close(their_printed_fd)
    process.stdout = os.fdopen(frames_fd, "rb", 0)
    process.stderr = os.fdopen(printed_fd, "rb", 0)
    return process


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, and close its pipes; safe when it has ended, or is another user's."""
    if process.poll() is None:
        try:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except PermissionError:  # what sudo has started ends when it likes
            pass
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
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def left_behind(folder: Path) -> Iterator[Path]:
    """Yield the leftovers in a folder of processes that are gone, by names that begin with their numbers."""
    for path in folder.iterdir():
        pid = path.name.split("-")[0]
        if not pid.isdecimal() or not is_alive(int(pid)):
            yield path


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a fresh folder below `parent`, named by this process. Raises: OSError."""
    import tempfile  # late: workers load this module, too

    parent.mkdir(mode=0o700, exist_ok=True)
    for left in left_behind(parent):
        shutil.rmtree(str(left), ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="%d-" % os.getpid(), dir=str(parent)))
    try:
        yield folder
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)

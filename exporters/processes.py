"""Processes that import torch or TensorFlow, whose start takes seconds: they answer one request after another.

A process is a module of this package: `python -m MODULE DESCRIPTOR`. stdin: a JSON request a line, with the `folder` to work in.
The descriptor: for each, a JSON object a line and an empty one at its end. stdout and stderr: whatever is printed, from C++ or by
a site's start-up files.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

_PACKAGE_ROOT = str(Path(__file__).parent.parent)


class ProcessEnded(Exception):
    """The end of a process before that of its answers: its exit status, and the last lines that it printed."""

    def __init__(self, status: int, said: list[str]) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


def converter_environment() -> dict[str, str]:
    """Return the environment of a process that imports torch or TensorFlow."""
    return (
        os.environ
        | {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # TensorFlow then loads no Keras, which no converter needs: 1.2 of 3.4 s, and 160 MB.
            "TF_USE_LEGACY_KERAS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": "1",  # torch's sums are then the same wherever they are made; threads gain nothing here
            "PYTHONWARNINGS": "",  # the converters warn of themselves: no errors, whatever the user made of warnings
            "PYTHONPATH": os.pathsep.join([_PACKAGE_ROOT, *_python_path()]),
        }
    )


def _python_path() -> list[str]:
    """Return the folders of $PYTHONPATH as they are from anywhere."""
    return [str(Path(one).resolve()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]


def offer_to_kernel(pid: int) -> None:
    """Have the kernel end a process that computes for this one before any other when memory runs out; Linux alone can."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


class AnsweringProcess:
    """A process of a module, in `environment`, that ends with its last user."""

    def __init__(self, module: str, environment: dict[str, str]) -> None:
        self.key = _key(module, environment)
        self._asked = self._answered = False
        answers_fd, their_answers_fd = os.pipe()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._answers = os.fdopen(answers_fd)
        try:
            self._process = subprocess.Popen(
                # -P: nothing from the working folder
                [sys.executable, "-P", "-m", module, str(their_answers_fd)],
                stdin=subprocess.PIPE,
                stdout=self._noise,
                stderr=self._noise,
                pass_fds=(their_answers_fd,),
                env=environment,
                text=True,
                start_new_session=True,  # Ctrl-C is the harness's to handle
            )
        finally:
            os.close(their_answers_fd)
        offer_to_kernel(self._process.pid)
        self.end = weakref.finalize(self, _end, self._process, self._answers, self._noise)

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Give the answers to a request as they come. Raises: ProcessEnded."""
        assert self._process.stdin is not None
        self._asked = True
        if self._answered:  # what it said of former requests; not what one said that died at its start
            self._noise.seek(0)  # the process writes where this file stands
            self._noise.truncate()
        with contextlib.suppress(BrokenPipeError):  # it died at once; its exit status and stderr say why
            self._process.stdin.write(json.dumps(request | {"folder": _folder()}) + "\n")
            self._process.stdin.flush()
        for line in self._answers:
            answer = json.loads(line)
            if not answer:
                self._asked, self._answered = False, True
                return
            yield answer
        status = self._process.wait()
        self._noise.seek(0)
        raise ProcessEnded(status, self._noise.read().decode(errors="replace").strip().splitlines())

    def waits(self) -> bool:
        """Return whether it lives and has answered all that it was asked."""
        return not self._asked and self._process.poll() is None


def _end(process: subprocess.Popen[str], *files: IO[str] | IO[bytes]) -> None:
    process.kill()
    process.wait()
    for file in (process.stdin, *files):
        if file is not None:
            with contextlib.suppress(BrokenPipeError):  # what it was sent and did not read
                file.close()


def _key(module: str, environment: dict[str, str]) -> tuple[str, ...]:
    """Return a key of interchangeable processes: their command, and all that steers Python."""
    python = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith("PYTHON")]
    return (sys.executable, module, *python)


def _folder() -> str:
    """Return the working folder; empty where it was removed."""
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return ""


_lock = threading.RLock()  # the collector may give one back while another is taken
_waiting: dict[tuple[str, ...], list[AnsweringProcess]] = {}
_keepers = 0


def take(module: str) -> AnsweringProcess:
    """Return a process of a module: one that waits (see `kept_processes`), else a new one."""
    environment = converter_environment()
    with _lock:
        waiting = _waiting.get(_key(module, environment), [])
        while waiting:
            process = waiting.pop()
            if process.waits():
                return process
            process.end()
    return AnsweringProcess(module, environment)


def give_back(process: AnsweringProcess) -> None:
    """Keep a process for the next one who takes it, where some are kept and it can go on; else end it."""
    with _lock:
        if _keepers and process.waits():
            _waiting.setdefault(process.key, []).append(process)
            return
    process.end()


def are_kept() -> bool:
    """Return whether a process that is given back waits for the next one who takes it."""
    return _keepers > 0


@contextlib.contextmanager
def kept_processes() -> Iterator[None]:
    """Keep processes for the next requests while this lasts: each then imports torch or TensorFlow once."""
    global _keepers
    with _lock:
        _keepers += 1
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            ended = [] if _keepers else [process for each in _waiting.values() for process in each]
            if not _keepers:
                _waiting.clear()
        for process in ended:
            process.end()


def serve(answers_of: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]) -> int:
    """Be such a process: answer the requests on stdin until its end; return the exit status."""
    gc.set_threshold(50_000)  # objects: after 700, a fifth of the time that TensorFlow takes to load
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    os.set_inheritable(answers.fileno(), False)
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.suppress(OSError):  # it was removed
            os.chdir(request["folder"])
        for answer in chain(answers_of(request), [{}]):
            answers.write(json.dumps(answer) + "\n")
    return 0

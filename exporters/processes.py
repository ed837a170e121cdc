"""Processes that import torch or TensorFlow, whose start takes seconds: they answer one request after another.

A process is a module of this package: `python -m MODULE DESCRIPTOR`. stdin: a JSON request a line, with the `folder` to work in.
The descriptor: for each, a JSON object a line and an empty one at its end. stdout and stderr: whatever is printed, from C++ or by
a site's start-up files. One that loads what a person names has one request, one answer, and limits (`answer_apart`).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NoReturn

_PACKAGE_ROOT = str(Path(__file__).parent.parent)


class ProcessEnded(Exception):
    """The end of a process before that of its answers: its exit status, and the last lines that it printed."""

    def __init__(self, status: int, said: list[str]) -> None:
        super().__init__(said[-1] if said else f"it ended with status {status}")
        self.status, self.said = status, said


def converter_environment() -> dict[str, str]:
    """Return the environment of a process that imports torch or TensorFlow."""
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # TensorFlow then loads no Keras, which no converter needs: 1.2 of 3.4 s, and 160 MB.
        "TF_USE_LEGACY_KERAS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",  # torch's sums are then the same wherever they are made; threads gain nothing here
        # Where some are asked for (`model_runs`): beside other programs threads that spin take twenty times the processor.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONWARNINGS": "",  # the converters warn of themselves: no errors, whatever the user made of warnings
        "PYTHONPATH": os.pathsep.join([_PACKAGE_ROOT, *_python_path()]),
    }


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
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process, self._answers = _start(module, environment, self._noise)
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
        raise ProcessEnded(self._process.wait(), _said(self._noise))

    def waits(self) -> bool:
        """Return whether it lives and has answered all that it was asked."""
        return not self._asked and self._process.poll() is None


def answer_apart(
    module: str, request: dict[str, Any], descriptors: Sequence[int], *, limit_bytes: int, limit_s: float
) -> dict[str, Any]:
    """Return the answer of a module of this package that calls `serve_once`, in a process with limits on memory and time.

    It holds the `descriptors` that the request names, works in an empty folder and is gone with its answer.
    Raises: TimeoutError when it is late; ProcessEnded when it dies.
    """
    limits = {"limit_bytes": limit_bytes, "limit_s": int(limit_s)}
    with tempfile.TemporaryDirectory(prefix="harness-") as folder, tempfile.TemporaryFile() as noise:
        process, answers = _start(module, converter_environment(), noise, folder, descriptors)
        with answers:
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(json.dumps(request | limits), timeout=limit_s)
            finally:
                is_late = process.poll() is None
                process.kill()
                process.wait()
            if is_late:
                raise TimeoutError(f"no answer within {limit_s:.0f} s")
            line = answers.readline()
        if not line.endswith("\n"):
            raise ProcessEnded(process.returncode, _said(noise))
    answer: dict[str, Any] = json.loads(line)
    return answer


def _start(
    module: str,
    environment: dict[str, str],
    noise: IO[bytes],
    folder: str | None = None,
    descriptors: Sequence[int] = (),
) -> tuple[subprocess.Popen[str], IO[str]]:
    """Start a process of a module, what it prints going to a file; return it and its answers."""
    answers_fd, their_answers_fd = os.pipe()
    answers = os.fdopen(answers_fd)
    try:
        process = subprocess.Popen(
            # -P: nothing from the working folder
            [sys.executable, "-P", "-m", module, str(their_answers_fd)],
            stdin=subprocess.PIPE,
            stdout=noise,
            stderr=noise,
            cwd=folder,
            pass_fds=(their_answers_fd, *descriptors),
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is the harness's to handle
        )
    finally:
        os.close(their_answers_fd)
    offer_to_kernel(process.pid)
    return process, answers


def _said(noise: IO[bytes]) -> list[str]:
    """Return the lines that a process printed."""
    noise.seek(0)
    return noise.read().decode(errors="replace").strip().splitlines()


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
    answers = _own_answers()
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.suppress(OSError):  # it was removed
            os.chdir(request["folder"])
        for answer in chain(answers_of(request), [{}]):
            answers.write(json.dumps(answer) + "\n")
    return 0


def serve_once(answer_of: Callable[[dict[str, Any]], dict[str, Any]]) -> NoReturn:
    """Be a process of `answer_apart`: answer the request on stdin within its limits, and end."""
    answers, request = _own_answers(), json.load(sys.stdin)
    _limit(request["limit_bytes"], request["limit_s"])
    answers.write(json.dumps(answer_of(request)) + "\n")
    answers.flush()
    os._exit(0)  # taking a runtime down costs time and can crash; the answer is out


def _own_answers() -> IO[str]:
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    os.set_inheritable(answers.fileno(), False)
    return answers


def _limit(memory_bytes: int, time_s: int) -> None:
    """Bound this process's memory and processor time, as far as the system does."""
    for what, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, time_s),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, hard))

"""Agents of this machine and their workers, forked where they would be started: by a process that has imported what they import.

To start an agent and a worker takes seven tenths of a second of a core, nearly all of it imports. Forked, they have the streams,
environment, cores, session and command line that they would have. A process whose environment says otherwise what is imported
(`SHAPING`) is started, and so is one of another Python.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import hashlib
import importlib
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ISOLATED = ["-I", "-S"]
SHAPING = ("PYTHON", "LD_", "OMP_")  # how variables begin that say what an import is of
IMPORTED = ("numpy", "onnxruntime", "ai_edge_litert.interpreter")
NAME_BYTES = 4096  # of the command line, to write another over it
REQUEST_BYTES = 1 << 17
_GIVEN = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class Request(NamedTuple):
    """A process to be: its command line, its environment, where it begins, and on which cores."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    cores: list[int]


def shaping(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say what an import is of."""
    return {name: value for name, value in environment.items() if name.startswith(SHAPING)}


class Forked(subprocess.Popen[bytes]):
    """A process that is forked where it runs the agent's file; any other is started."""

    def _execute_child(self, *given: Any) -> None:
        named = _GIVEN.bind(self, *given).arguments
        environment = dict(os.environ if named["env"] is None else named["env"])
        folder = str(named["cwd"] or Path.cwd())
        request = Request(list(named["args"]), environment, folder, sorted(os.sched_getaffinity(0)))
        streams = [named[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        pid = None if named["preexec_fn"] else self._fork(request, streams, named["pass_fds"])
        if pid is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid, self._child_created = pid, True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(named[name] for name in pipes))  # type: ignore[attr-defined]

    def _fork(self, request: Request, streams: list[int], kept: Sequence[int]) -> int | None:
        """Return the id of a process that was forked, None where it is to be started."""
        raise NotImplementedError


class ForkedHere(Forked):
    """A worker, forked by the agent."""

    def _fork(self, request: Request, streams: list[int], kept: Sequence[int]) -> int | None:
        if request.argv[2] not in ("worker", "describe") or shaping(request.environment) != _shaped:
            return None
        pid = os.fork()
        if pid == 0:
            live(request, streams, kept, lambda: run_agent(request.argv[1:]))
        return pid


class ForkedThere(Forked):
    """An agent, or the command that looks for its file, forked by a process that is there for it."""

    _ended: int | None = None  # where it is told how the process ended

    def _fork(self, request: Request, streams: list[int], kept: Sequence[int]) -> int | None:
        argv = request.argv
        if argv[:3] != [sys.executable, *ISOLATED] or kept:
            return None
        digest = argv[-1]
        if argv[3] != "-c":
            try:
                digest = hashlib.sha256(Path(request.folder, argv[3]).read_bytes()).hexdigest()
            except OSError:
                return None
        server = server_for(digest, request.environment)
        self._ended, theirs = os.pipe()
        try:
            return server.fork(request, [*streams, theirs])
        finally:
            os.close(theirs)

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._ended is None:
            return super()._try_wait(flags)  # type: ignore[misc, no-any-return]
        if flags & os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        status = int(os.read(self._ended, 16))
        os.close(self._ended)
        return self.pid, status

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._ended is None:
            return super()._internal_poll(*given, **named)  # type: ignore[misc, no-any-return]
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None and (status := self._try_wait(os.WNOHANG))[0]:
                self._handle_exitstatus(status[1])  # type: ignore[attr-defined]
        return self.returncode


def with_popen(kind: type[Forked]) -> Any:
    """Return what stands for the module `subprocess` where processes are to be forked."""
    return types.SimpleNamespace(**{**vars(subprocess), "Popen": kind})


class Server:
    """A process that forks agents of one file, until this one ends."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        others = {name: value for name, value in os.environ.items() if not name.startswith(SHAPING)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", __file__, "-" * NAME_BYTES],
                stdin=theirs,
                env={**others, **variables, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        atexit.register(self.end)

    def end(self) -> None:
        """Let it end; the agents that are left end as their input does."""
        self._control.close()
        self._process.wait()

    def fork(self, request: Request, descriptors: list[int]) -> int:
        """Return the id of a new process, which has the first three descriptors for its streams."""
        with self._turn:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
            return int(self._control.recv(16))


def server_for(digest: str, environment: Mapping[str, str]) -> Server:
    """Return the process that forks agents of the file of a digest, with what an environment has it import."""
    return _server_of(digest, tuple(sorted(shaping(environment).items())))


@functools.cache
def _server_of(digest: str, variables: tuple[tuple[str, str], ...]) -> Server:
    return Server(dict(variables))


def serve(control: socket.socket) -> NoReturn:
    """Fork what is asked for and tell how each ended, as long as there is someone to ask."""
    running: dict[int, tuple[int, int]] = {}  # (process, where to tell) by what becomes readable at its end
    poller = select.poll()
    poller.register(control, select.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready in running:
                poller.unregister(ready)
                pid, told = running.pop(ready)
                with suppress(BrokenPipeError):
                    os.write(told, b"%d" % os.waitpid(pid, 0)[1])
                os.close(ready)
                os.close(told)
                continue
            message, descriptors, *_ = socket.recv_fds(control, REQUEST_BYTES, 8)
            if not message:
                os._exit(0)
            request = Request(*json.loads(message))
            if request.argv[3] != "-c":
                import_all(str(Path(request.folder, request.argv[3])))
            pid = os.fork()
            if pid == 0:
                live(request, descriptors[:3], (), functools.partial(run, request.argv[3:]))
            for stream in descriptors[:3]:
                os.close(stream)
            one = os.pidfd_open(pid)
            running[one] = pid, descriptors[3]
            poller.register(one, select.POLLIN)
            control.send(b"%d" % pid)


@functools.cache
def import_once() -> None:
    """Import the runtimes that are installed."""
    for name in IMPORTED:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)


def import_all(agent_path: str) -> None:
    """Import all modules of an agent, the first of them that is given, and the runtimes."""
    if "device_agents" not in sys.modules:
        sys.path.insert(0, agent_path)
        with zipfile.ZipFile(agent_path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".py") and name != "__main__.py":
                    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                    importlib.import_module(module)
        import_once()
        sys.modules["device_agents.processes"].subprocess = with_popen(ForkedHere)  # type: ignore[attr-defined]
        gc.freeze()


def run(argv: list[str]) -> Any:
    """Do what Python does with these arguments: an agent's file, or `-c` and a program."""
    if argv[0] != "-c":
        return run_agent(argv)
    sys.argv[:] = ["-c", *argv[2:]]
    exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})


def run_agent(argv: list[str]) -> Any:
    """Do what an agent's file does."""
    sys.argv[:] = argv
    return sys.modules["device_agents.main"].main()


def live(request: Request, streams: Sequence[int], kept: Sequence[int], work: Callable[[], Any]) -> NoReturn:
    """Be the process that was asked for; what it raises and returns ends it as it ends one that was started."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        borders = [2, *sorted(kept), os.sysconf("SC_OPEN_MAX")]
        for before, after in pairwise(borders):
            os.closerange(before + 1, after)
        os.chdir(request.folder)
        os.sched_setaffinity(0, request.cores)
        for name in os.environ.keys() - request.environment.keys():
            del os.environ[name]
        os.environ.update(request.environment)
        be_called(request.argv)
        status = work() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else end.code is not None
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:  # noqa: BLE001 - as Python's own end does
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def be_called(argv: Sequence[str]) -> None:
    """Write a command line over this process's own, where `ps` and /proc find it."""
    places = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(places[45]), int(places[46])
    line = b"\0".join(map(os.fsencode, argv))[: end - begin - 1]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, line, len(line))


if __name__ == "__main__":
    _shaped = shaping(os.environ)
    with socket.socket(fileno=os.dup(0)) as _control:
        serve(_control)

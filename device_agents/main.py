"""The agent's command line: `python3 agent.pyz serve --root DIR`."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Callable, NoReturn

from device_agents import PROTOCOL

# Where programs lie that a login without a shell's profile does not find: nvpmodel, and nvidia-smi of WSL.
FURTHER_FOLDERS = ("/usr/bin", "/usr/sbin", "/sbin", "/usr/lib/wsl/lib")


class Interrupted(BaseException):
    """A signal asked the agent to end; every `finally` on the way out is kept."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent.pyz", description=__doc__)
    parser.add_argument("--version", action="store_true", help="print the protocol and the agent's digest")
    roles = parser.add_subparsers(dest="role")
    serve = roles.add_parser("serve", help="answer requests on standard input")
    serve.add_argument("--root", type=Path, required=True, help="the folder that the agent keeps to")
    serve.add_argument(
        "--cache-bytes", type=int, help="limit of the parts cache (default: 1 GiB, at most a third)"
    )
    serve.add_argument(
        "--memory-bytes",
        type=int,
        help="most that a worker may hold (default: what leaves the system its reserve)",
    )
    environment = roles.add_parser("environment", help="answer one request on packages for runtimes")
    environment.add_argument("--root", type=Path, required=True, help="the folder that the agent keeps to")
    describe = roles.add_parser("describe", help="(internal) import one runtime and describe it")
    describe.add_argument("name")
    worker = roles.add_parser("worker", help="(internal) do one session")
    guard = roles.add_parser("guard", help="(internal) set a board until the agent ends")
    guard.add_argument("--root", type=Path, required=True)
    for role in (describe, worker, guard):
        role.add_argument("--frames", type=int, required=True, help="the descriptor to write frames to")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one role; return the exit status."""
    agent_path = Path(sys.argv[0]).resolve()
    known = (os.environ.get("PATH") or os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*known, *(one for one in FURTHER_FOLDERS if one not in known)])
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    if chosen.version:
        sys.stdout.write("harness-agent %d %s\n" % (PROTOCOL, own_digest(agent_path)))
        return 0
    if chosen.role == "environment":
        return serve_packages(chosen.root)
    # The roles import what they need and no more: a worker's start counts.
    from device_agents.frames import claim_frames, claim_stdout

    if chosen.role == "serve":
        leave(serve_root(chosen.root, chosen.cache_bytes, chosen.memory_bytes, agent_path, claim_stdout()))
    if chosen.role == "describe":
        from device_agents.discovery import describe_runtime

        describe_runtime(chosen.name, claim_frames(chosen.frames))
        leave(0)
    if chosen.role == "worker":
        from device_agents.worker import serve_job

        serve_job(claim_frames(chosen.frames))
        return 0
    if chosen.role == "guard":
        from device_agents.board_guard import serve_guard

        heed_signals(lambda number, frame: None)  # they end its wait
        serve_guard(chosen.root, claim_frames(chosen.frames), open_wake_fd())
        return 0
    parser.error("name a role: serve")


def leave(status: int) -> NoReturn:
    """End the process without cleanup, which costs time and can crash a runtime; its answers are out."""
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def serve_root(
    root: Path, cache_bytes: int | None, memory_bytes: int | None, agent_path: Path, frames_fd: int
) -> int:
    """Serve one connection on standard input and `frames_fd`."""
    from device_agents.agent import Agent
    from device_agents.frames import FrameReader, FrameWriter
    from device_agents.parts_cache import PartsCache

    heed_signals()
    try:
        os.umask(0o077)
        root = open_root(root)
        cache = PartsCache(root, cache_bytes)
    except OSError as error:
        remedy = "; name a folder of your own" if isinstance(error, PermissionError) else ""
        sys.stderr.write("harness-agent: cannot use --root: %s%s\n" % (error, remedy))
        return 2
    try:
        writer = FrameWriter(frames_fd)
        reader = FrameReader(0, open_wake_fd())
        agent = Agent(
            root, cache, agent_path, own_digest(agent_path), reader, writer, memory_bytes=memory_bytes
        )
        return agent.serve()
    except (Interrupted, BrokenPipeError, ConnectionResetError):
        return 0


def serve_packages(root: Path) -> int:
    """Answer one request on packages for runtimes."""
    from device_agents.environment import serve_request

    heed_signals()
    os.umask(0o077)
    try:
        return serve_request(open_root(root))
    except Interrupted:
        return 1


def end(number: int, frame: FrameType | None) -> None:
    """Leave the main thread's present work."""
    raise Interrupted()


def heed_signals(handler: Callable[[int, FrameType | None], None] = end) -> None:
    """Have signals that ask for an end call a handler, which raises `Interrupted` where none is named."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


def open_wake_fd() -> int:
    """Return a descriptor that becomes readable when a signal with a handler arrives."""
    wake_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return wake_fd


def open_root(root: Path) -> Path:
    """Make the agent's folder, for its user alone; refuse one that anyone could change. Raises: OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = root.resolve()
    status = root.stat()
    if status.st_mode & stat.S_IWOTH:
        raise PermissionError("anyone may write to %s" % root)
    return root


def own_digest(agent_path: Path) -> str:
    """Return the sha256 of the agent's own file."""
    return hashlib.sha256(agent_path.read_bytes()).hexdigest()

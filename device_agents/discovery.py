"""Discovery of the runtimes that work here, by processes of their own so that a broken one breaks nothing else."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, Collection

from device_agents.frames import FrameError, FrameReader, FrameWriter
from device_agents.processes import end_group, signal_name, start_agent
from device_agents.readings import Flood, read_bounded
from device_agents.runtimes import RUNTIMES, start

DEADLINE_S = 120.0  # importing tensorflow on a small board takes half a minute
MESSAGE_CHARACTERS = 1000


def describe_runtime(name: str, frames_fd: int) -> None:
    """Write one frame: {runtime} when it is there, {} when it is not installed, {broken} when it fails."""
    runtime = RUNTIMES[name]
    answer: dict[str, Any] = {}
    try:
        package, version, _ = start(name)
        answer["runtime"] = {
            "name": name,
            "package": package,
            "version": version,
            "formats": list(runtime.FORMATS),
            "providers": runtime.providers(),
        }
    except ModuleNotFoundError as error:
        if error.name not in runtime.PACKAGES:
            answer["broken"] = "ModuleNotFoundError: %s" % error
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything at all
        answer["broken"] = ("%s: %s" % (type(error).__name__, error))[:MESSAGE_CHARACTERS]
    FrameWriter(frames_fd).write(answer)


def discover_runtimes(
    agent_path: Path, environment: dict[str, str], asked: Collection[str] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Ask each runtime in a process of its own, all at once, with further variables; return (working, broken).

    asked: names of the only ones to ask, those that this agent does not know left out; None for all.
    """
    names = [name for name in RUNTIMES if asked is None or name in asked]
    processes = {name: start_agent(agent_path, ["describe", name], environment) for name in names}
    deadline_s = time.monotonic() + DEADLINE_S
    runtimes: list[dict[str, Any]] = []
    broken: list[dict[str, str]] = []
    try:
        for name, process in processes.items():
            answer = collect(process, deadline_s)
            if "runtime" in answer:
                runtimes.append(answer["runtime"])
            if "broken" in answer:
                broken.append({"name": name, "message": answer["broken"]})
    finally:
        for process in processes.values():
            end_group(process)
    return runtimes, broken


def collect(process: subprocess.Popen[bytes], deadline_s: float) -> dict[str, Any]:
    """Return one process's answer, or how it failed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        output, stderr = read_bounded(process, max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return {"broken": "importing it took more than %d s" % DEADLINE_S}
    except Flood as error:
        return {"broken": "asked what it is, %s" % error}
    tail = stderr.decode("utf-8", "replace")[-MESSAGE_CHARACTERS:].strip()
    if process.returncode < 0:
        name = signal_name(-process.returncode)
        hint = "; its build may need a newer processor" if name == "SIGILL" else ""
        return {"broken": ("importing it ended by %s%s. %s" % (name, hint, tail)).strip()}
    try:
        frame = FrameReader.of(output).take()
    except FrameError as error:
        return {"broken": str(error)}
    if frame is None:
        return {"broken": "importing it ended with status %d. %s" % (process.returncode, tail)}
    return frame[0]

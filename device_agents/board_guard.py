"""A process that sets a board for a campaign, and restores it when the agent ends for any reason.

The agent holds one end of a pipe; the guard waits for its end at the other. It is in a session of its own and holds the agent's
locks too, so that the next campaign begins with the board as it was. What no guard survives, a loss of power or its own kill,
the next agent that takes the lock makes good (`restore`).
"""

from __future__ import annotations

import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Sequence

from device_agents.frames import FrameReader, FrameWriter
from device_agents.jetson import KIND, Jetson, Settings
from device_agents.processes import start_agent
from device_agents.refusal import Refusal

ANSWER_S = 120.0  # five programs, each with its own deadline
RESTORE_TRIES = 5
RESTORE_WAIT_S = 5.0
READ_BYTES = 1 << 12


class BoardGuard:
    """The guard of one agent, if it has one. root: the agent's folder."""

    def __init__(self, agent_path: Path, root: Path) -> None:
        self._agent_path = agent_path
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._held: tuple[Settings, dict[str, Any]] | None = None

    @property
    def is_holding(self) -> bool:
        """Return whether the board is set for this agent, and its guard lives."""
        return self._held is not None and self._process is not None and self._process.poll() is None

    def hold(self, settings: Settings, locks: Sequence[int]) -> dict[str, Any]:
        """Set the board until this process ends; return what it is set to. locks: descriptors that the guard keeps open.

        Raises: Refusal (`board`) where it cannot be set; it is then as it was.
        """
        if self._held is not None and self._held[0] == settings and self.is_holding:
            return self._held[1]
        self.release()
        process = start_agent(self._agent_path, ["guard", "--root", str(self._root)], {}, locks)
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        FrameWriter(process.stdin.fileno()).write(
            {"power_mode": settings.power_mode, "clocks": settings.clocks}
        )
        answer = read_answer(process.stdout.fileno())
        if "failure" in answer:
            self.release()
            raise Refusal(KIND, str(answer["failure"]))
        self._held = (settings, answer)
        return answer

    def release(self) -> None:
        """Have the board put back, and wait for it."""
        self._held = None
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(ANSWER_S)


def read_answer(fd: int) -> dict[str, Any]:
    """Return the guard's one frame, a failure where none comes."""
    reader = FrameReader(fd)
    frame = reader.read(ANSWER_S)
    if frame is not None:
        return frame[0]
    if reader.ended:
        return {"failure": "the process that sets the board ended without a word"}
    return {"failure": "setting the board took more than %d s" % ANSWER_S}


def serve_guard(root: Path, frames_fd: int, wake_fd: int) -> None:
    """Be the guard: set what the agent's one frame asks for, wait for the agent's end or a signal, put all back."""
    board = Jetson(root)
    reader = FrameReader(0)
    frame = reader.read()
    if frame is None:
        return
    answer: dict[str, Any]
    try:
        answer = board.apply(Settings(str(frame[0]["power_mode"]), bool(frame[0]["clocks"])))
    except Refusal as refusal:
        answer = {"failure": refusal.message}
    with suppress(OSError):  # the agent has gone meanwhile
        FrameWriter(frames_fd).write(answer)
    if "failure" not in answer:
        select.select([0, wake_fd], [], [])
    put_back(board)


def put_back(board: Jetson) -> None:
    """Restore the board, more than once where that fails."""
    for left in reversed(range(RESTORE_TRIES)):
        try:
            board.restore()
            return
        except (Refusal, OSError):
            if left:
                time.sleep(RESTORE_WAIT_S)  # the next agent tries again, and tells

"""One worker, watched: its events passed on, its silence, its death and its errors told apart."""

from __future__ import annotations

import fcntl
import os
import select
import selectors
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from device_agents.cores import kept_on
from device_agents.energy import Meter
from device_agents.frames import FrameError, FrameReader, encode_frame
from device_agents.memory_guard import MemoryGuard
from device_agents.probes import Probes
from device_agents.processes import end_group, signal_name, start_agent
from device_agents.refusal import Refusal
from device_agents.runtimes import uses_accelerator
from device_agents.sampler import Sampler

HEARTBEAT_S = 2.0
STDERR_TAIL_BYTES = 4096
PASSED_ON = ("loaded", "warm", "slice", "settled", "measured", "refused", "began", "runs", "block")
# An unprivileged process may make a pipe hold so much; a job of many networks needs a part of it.
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031  # linux/fcntl.h; Python names it from 3.10 on


class ClientGone(Exception):
    """The other end closed the connection: end the worker and leave."""


@dataclass
class Supervision:
    """Start a worker for one message and see it through.

    own_cores: where the supervisor stays while the worker runs; none: anywhere. memory_bytes: the worker's limit.
    environment: the worker's, besides this process's own. meter: a sensor of energy that is read each `energy_s`.
    """

    agent_path: Path
    client: FrameReader
    emit: Callable[[dict[str, Any]], None]
    probes: Probes
    silence_s: float
    sampler: Sampler
    own_cores: list[int]
    memory_bytes: int | None
    environment: dict[str, str]
    meter: Meter | None = None
    energy_s: float = 0.0
    _phase: str = "start"
    _is_accelerated: bool = False
    _network: int | None = None
    _stderr: bytearray = field(default_factory=bytearray)
    _outcome: dict[str, Any] | None = None

    def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the worker's answer, its `elapsed_s` added. Raises: Refusal, ClientGone."""
        start_s = time.monotonic()
        oom_kills = self.probes.oom_kills()
        self._is_accelerated = uses_accelerator(str(message["job"]["options"].get("provider", "")))
        process = start_agent(self.agent_path, ["worker"], self.environment)
        try:
            self.emit({"event": "started", "pid": process.pid})
            self._send(process, message)
            with kept_on(self.own_cores):  # the worker, started before, has the cores that it is told
                self._watch(process, start_s)
            self._await_end(process)
        except Refusal as refusal:
            end_group(process)
            raise self._with_context(refusal) from None
        finally:
            end_group(process)
            self.sampler.close()
        if self._outcome is None:
            raise self._with_context(self._death(process.returncode, oom_kills))
        if "failure" in self._outcome:
            failure = dict(self._outcome["failure"])
            failure.pop("type")
            raise self._with_context(Refusal(**failure))
        return dict(self._outcome["answer"], elapsed_s=time.monotonic() - start_s)

    def _send(self, process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert process.stdin is not None
        frame = memoryview(encode_frame(message))
        with suppress(OSError):  # not on Linux, or refused: then the write waits until the worker reads
            fcntl.fcntl(process.stdin.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
        try:
            while frame:
                frame = frame[os.write(process.stdin.fileno(), frame) :]
        except BrokenPipeError:
            pass  # it died at once; its end tells how

    def _watch(self, process: subprocess.Popen[bytes], start_s: float) -> None:
        """Pass events on until the worker's output ends."""
        assert process.stdout is not None and process.stderr is not None
        worker = FrameReader(process.stdout.fileno())
        last_sign_s = last_beat_s = time.monotonic()
        guard = MemoryGuard(process.pid, self.memory_bytes)
        with selectors.PollSelector() as selector:
            selector.register(worker.fd, selectors.EVENT_READ)
            selector.register(process.stderr.fileno(), selectors.EVENT_READ)
            selector.register(self.client.fd, selectors.EVENT_READ)
            self.sampler.open(last_beat_s, selector)
            if self.meter is not None:
                self.meter.open(last_beat_s, self.energy_s)
            while not worker.ended:
                now_s = time.monotonic()
                if now_s - last_sign_s >= self.silence_s:
                    raise self._silent()
                if now_s - last_beat_s >= HEARTBEAT_S:
                    self.emit({"event": "heartbeat", "elapsed_s": now_s - start_s, "phase": self._phase})
                    last_beat_s = now_s
                self._take_samples(now_s)
                guard.look(now_s, self._phase)
                due_s = float("inf") if self.meter is None else self.meter.due_s
                due_s = min(due_s, self.sampler.due_s, guard.due_s)
                due_s = min(due_s, last_sign_s + self.silence_s, last_beat_s + HEARTBEAT_S)
                for key, _ in selector.select(max(0.0, due_s - now_s)):
                    if key.fd == worker.fd:
                        self._read_worker(worker)
                        last_sign_s = time.monotonic()
                    elif key.fd == self.client.fd:
                        self._read_client(selector)
                    elif key.data is self.sampler:
                        self.sampler.read(key.fd)
                    elif not self._read_stderr(process):
                        selector.unregister(key.fd)

    def _take_samples(self, now_s: float) -> None:
        taken = [self.sampler.step(now_s), None if self.meter is None else self.meter.step(now_s)]
        for sample in taken:
            if sample is not None:
                self.emit(sample)

    def _read_worker(self, worker: FrameReader) -> None:
        try:
            worker.fill()
            frame = worker.take()
            while frame is not None:
                self._take_event(frame[0])
                frame = worker.take()
        except FrameError as error:
            if worker.ended:  # it died inside a frame; its end tells how
                return
            raise Refusal("worker-error", "the worker wrote what is no frame: %s" % error) from error

    def _take_event(self, header: dict[str, Any]) -> None:
        event = header.get("event")
        if event == "phase":
            self._phase, self._network = header["phase"], header.get("network")
        elif event in PASSED_ON:
            if event == "measured":  # what came since the last sample is its session's, too
                self.emit(self.sampler.look())
            self.emit(header)
        elif event != "pulse":
            self._outcome = header

    def _read_client(self, selector: selectors.BaseSelector) -> None:
        self.client.fill()
        if self.client.ended:
            raise ClientGone()
        if self.client.is_full:  # requests that came too early wait in the pipe
            selector.unregister(self.client.fd)

    def _read_stderr(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.stderr is not None
        data = os.read(process.stderr.fileno(), 1 << 16)
        self._stderr += data
        del self._stderr[:-STDERR_TAIL_BYTES]
        return bool(data)

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the exit of a worker that has closed its output; it may still be writing a core file."""
        try:
            process.wait(self.silence_s)
        except subprocess.TimeoutExpired:
            raise self._silent() from None
        assert process.stderr is not None
        while select.select([process.stderr], [], [], 0)[0] and self._read_stderr(process):
            pass

    def _silent(self) -> Refusal:
        return Refusal(
            "worker-silent",
            "no sign of life from the worker for %g s in phase %r; it was ended. A runtime that hangs, or one "
            "run that takes longer: then raise silence_s" % (self.silence_s, self._phase),
            phase=self._phase,
        )

    def _death(self, returncode: int, oom_kills: int | None) -> Refusal:
        phase = self._phase
        if returncode >= 0:
            message = "the worker ended with status %d in phase %r without an answer"
            return Refusal("worker-error", message % (returncode, phase), phase=phase)
        name, why = signal_name(-returncode), ""
        if name == "SIGKILL":
            why = "; when memory runs out the kernel ends a process like this"
            now = self.probes.oom_kills()
            if oom_kills is not None and now is not None and now > oom_kills:
                why = "; the kernel ran out of memory and ended a process meanwhile: use a smaller network"
        elif self._is_accelerated:
            why = "; an accelerator's library may end its process like this where it finds no memory there"
        message = "the worker was ended by %s in phase %r%s" % (name, phase, why)
        return Refusal("worker-killed", message, signal=name, phase=phase)

    def _with_context(self, refusal: Refusal) -> Refusal:
        """Add which network it was, and the end of what the worker printed."""
        if self._network is not None:
            refusal.details["network"] = self._network
        text = bytes(self._stderr).decode("utf-8", "replace").strip()
        if text:
            refusal.details["stderr"] = text
        return refusal

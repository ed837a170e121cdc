"""Conditions taken again and again beside a run: files at once, commands without waiting for them.

It lives in the supervisor's event loop, on other cores than the measured ones. The files stay open: reading one
again costs some microseconds. A command's answer belongs to the sample that asked; the sample is handed out
when all have answered, or without those that have not when the next is due.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Callable, Sequence

from device_agents.facts import Absent
from device_agents.processes import end_group

PERIOD_S = 1.0
SHARED_PERIOD_S = 5.0  # where there is no core but the measured ones
READ_BYTES = 1 << 16
SLOW_NS = 5000000  # some sensors answer through a radio's firmware
SLOW_READINGS = 2  # one may have been held up


@dataclass(frozen=True)
class Source:
    """A file to read each time; `group` names the object that its key stands in, empty for the sample itself.

    Of several with one key the highest value is told.
    """

    group: str
    key: str
    path: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class Question:
    """A command to ask each time; `take` returns the sample's values in its output.

    is_endless: it is started once and prints a line each period; a sample takes the last one, if it is new.
    """

    command: tuple[str, ...]
    take: Callable[[str], dict[str, Any]]
    is_endless: bool = False


class Sampler:
    """Take samples when they are due. What cannot be read is absent: the conditions before tell why."""

    def __init__(self, sources: Sequence[Source], questions: Sequence[Question], period_s: float) -> None:
        self._sources = list(sources)
        self._questions = list(questions)
        self._period_s = period_s
        self._files: list[tuple[Source, int]] = []
        self._slow: dict[str, int] = {}
        self._asked: dict[int, tuple[Question, subprocess.Popen[bytes], bytearray]] = {}
        self._endless: dict[int, tuple[Question, subprocess.Popen[bytes], bytearray]] = {}
        self._sample: dict[str, Any] | None = None
        self._selector: selectors.BaseSelector
        self.due_s = 0.0

    def open(self, now_s: float, selector: selectors.BaseSelector) -> None:
        """Open the files; the first sample is due a period from now.

        The selector will also wait for what commands print, with this sampler as the key's data.
        """
        self._selector = selector
        self.due_s = now_s + self._period_s
        for source in self._sources:
            with suppress(OSError):
                self._files.append((source, os.open(source.path, os.O_RDONLY)))
        for question in self._questions:
            if question.is_endless:
                self._start(question, self._endless)

    def close(self) -> None:
        """End what still runs, and close the files; the selector is closed already."""
        for _, process, _ in (*self._asked.values(), *self._endless.values()):
            end_group(process)
        for _, fd in self._files:
            os.close(fd)
        self._asked.clear()
        self._endless.clear()
        self._files.clear()

    def step(self, now_s: float) -> dict[str, Any] | None:
        """Begin a sample that is due; return one that is whole."""
        due = now_s >= self.due_s
        if self._sample is None and due:
            self._sample = self.look()
            self._read_endless(self._sample)
            self._ask()
            self.due_s = now_s + self._period_s
        elif self._asked and due:
            self._give_up()
        if self._sample is None or self._asked:
            return None
        sample, self._sample = self._sample, None
        return sample

    def look(self) -> dict[str, Any]:
        """Return a sample of the files alone, now."""
        sample: dict[str, Any] = {"event": "sample", "at_ns": perf_counter_ns()}
        self._read_files(sample)
        return sample

    def read(self, fd: int) -> None:
        """Take in what a command printed; at the end of its output, its answer."""
        data = os.read(fd, READ_BYTES)
        if fd in self._endless:
            self._keep_last_line(fd, data)
            return
        question, _, output = self._asked[fd]
        output += data
        if data and len(output) <= READ_BYTES:
            return
        self._forget(fd)
        if self._sample is not None:
            with suppress(Absent, ValueError):
                self._sample.update(question.take(output.decode("utf-8", "replace")))

    def _read_files(self, sample: dict[str, Any]) -> None:
        for entry in list(self._files):
            source, fd = entry
            start_ns = perf_counter_ns()
            with suppress(OSError, ValueError, IndexError):
                value = source.parse(os.pread(fd, READ_BYTES, 0).decode("utf-8", "replace"))
                group = sample.setdefault(source.group, {}) if source.group else sample
                group[source.key] = max(value, group.get(source.key, value))  # of several of one name
            if perf_counter_ns() - start_ns > SLOW_NS:
                self._slow[source.path] = self._slow.get(source.path, 0) + 1
                if self._slow[source.path] == SLOW_READINGS:
                    os.close(fd)
                    self._files.remove(entry)

    def _read_endless(self, sample: dict[str, Any]) -> None:
        for question, _, output in self._endless.values():
            lines = bytes(output).split(b"\n")
            if len(lines) > 1:
                with suppress(Absent, ValueError):
                    sample.update(question.take(lines[-2].decode("utf-8", "replace")))
                output[:] = lines[-1]

    def _keep_last_line(self, fd: int, data: bytes) -> None:
        """Keep the last whole line of a command without end, and what has come of the next."""
        output = self._endless[fd][2]
        output += data
        if data and len(output) <= READ_BYTES:
            start = output.rfind(b"\n", 0, max(0, output.rfind(b"\n")))
            del output[: start + 1]
            return
        self._selector.unregister(fd)
        end_group(self._endless.pop(fd)[1])

    def _ask(self) -> None:
        for question in self._questions:
            if not question.is_endless:
                self._start(question, self._asked)

    def _start(
        self, question: Question, processes: dict[int, tuple[Question, subprocess.Popen[bytes], bytearray]]
    ) -> None:
        with suppress(OSError):
            process = subprocess.Popen(
                question.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            assert process.stdout is not None
            fd = process.stdout.fileno()
            processes[fd] = (question, process, bytearray())
            self._selector.register(fd, selectors.EVENT_READ, self)

    def _forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        end_group(self._asked.pop(fd)[1])

    def _give_up(self) -> None:
        """Go on without the commands that take longer than a period, now and from now on."""
        for fd, (question, _, _) in list(self._asked.items()):
            self._forget(fd)
            self._questions.remove(question)

"""The link to a device that is a record: what an agent said under a packed job, told again to the client that asks the same.

The client is that of a live device, so each answer passes the same checks. What was decided on the device alone (how often it was
looked at before it was fit) is told as it was; a worker's events only to who asks for that very job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from device_agents.frames import FrameReader, encode_frame
from device_agents.names import job_digest
from harness.devices.adb.watch import PhoneWatch
from harness.devices.client import AgentClient
from harness.devices.job_files import Begun, Entry
from harness.devices.link import OnConnecting
from harness.errors import Cancelled, LinkError

_NOTHING_MISSING = {"type": "result", "missing": [], "received": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBatch:
    """A batch of networks that a job began. `again`: those measured again, of each attempt but the last; `done`: those over."""

    number: int
    begun: Begun
    again: tuple[tuple[int, ...], ...]
    done: frozenset[int]


def recorded_batches(entries: Iterable[Entry]) -> list[RecordedBatch]:
    """Return the batches of a record, in their order."""
    found: list[tuple[Begun, list[tuple[int, ...]], set[int]]] = []
    for entry in entries:
        if entry.begin is not None:
            found.append((entry.begin, [], set()))
        elif found and entry.again is not None:
            found[-1][1].append(entry.again)
        elif found and entry.done is not None:
            found[-1][2].add(entry.done[-1])
    return [
        RecordedBatch(number=number, begun=begun, again=tuple(again), done=frozenset(done))
        for number, (begun, again, done) in enumerate(found)
    ]


class RecordedLink:
    """A link to the agent of one visit's record, and the clock of its entries.

    entries: of the record, in their order. `moved`: what is added to the device's time of day. `runs`: how many jobs of workers
    were told.
    """

    def __init__(self, entries: Iterator[Entry], who: str, agent_digest: str, moved: timedelta) -> None:
        self._entries, self._moved = entries, moved
        self._ahead: Entry | None = None
        self._batch = -1
        self._last: dict[str, dict[str, Any]] = {}  # answers by verb
        self._began: tuple[float, datetime] | None = None
        self._clock_s = 0.0
        self.runs = 0
        self.agent_digest = agent_digest
        self.sent_bytes = 0
        self.client = AgentClient(_RecordedChannel(self._answers), who)
        self.hello: dict[str, Any] = {}
        self.phone: PhoneWatch | None = None  # no cable reached it

    def open(self) -> None:
        """Greet the recorded agent. Raises: LinkError, Cancelled."""
        self.hello = self.client.hello()
        self.client.lock("")

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        """Go on after the recorded agent was lost: the record does."""

    def enter(self, batch: int) -> None:
        """Go on to a batch of the record. Raises: Cancelled where the record ends before it."""
        while self._batch < batch:
            if self._take() is None:
                raise Cancelled()

    def clock_s(self) -> float:
        """Return the device's monotonic clock at the last entry."""
        return self._clock_s

    def now_utc(self) -> str:
        """Return the time in UTC at the last entry, to the millisecond, as records hold it."""
        if self._began is None:
            raise LinkError("the record does not say when it began")
        began_s, began = self._began
        now = began + self._moved + timedelta(seconds=self._clock_s - began_s)
        return now.isoformat(timespec="milliseconds")

    @property
    def was_probed_next(self) -> bool:
        """Return whether the device was asked for its conditions next, once it was noted what is over or measured again."""
        while (entry := self._peek()) is not None and (entry.done is not None or entry.again is not None):
            self._take()
        return entry is not None and entry.answer == "probe"

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on, as where the client waits for what the device waited for."""
        self._clock_s += seconds

    def _peek(self) -> Entry | None:
        if self._ahead is None:
            self._ahead = next(self._entries, None)
        return self._ahead

    def _take(self) -> Entry | None:
        entry, self._ahead = self._peek(), None
        if entry is not None:
            self._clock_s = max(self._clock_s, entry.at)
            self._batch += entry.begin is not None
            if entry.visit is not None:
                self._began = entry.at, entry.visit.utc
            if entry.answer and entry.said is not None:
                self._last[entry.answer] = entry.said
        return entry

    def _answers(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the frames that answer a request. Raises: LinkError, Cancelled."""
        verb = request["verb"]
        if verb == "missing":
            yield _NOTHING_MISSING
        elif verb in ("run", "memory", "blocks"):
            self._find_run(job_digest(request["job"]))
            yield from self._told()
        else:
            yield self._answer(verb)

    def _answer(self, verb: str) -> dict[str, Any]:
        """Return the next answer to a verb; where the device was not asked again, the last one.

        Raises: LinkError; Cancelled where the record ends before there is one.
        """
        while (entry := self._peek()) is not None and not (entry.begin or entry.run or entry.end):
            if entry.answer not in ("", verb, "probe"):
                break
            self._take()
            if entry.answer == verb:
                break
        if verb not in self._last and entry is None:
            raise Cancelled()
        if verb not in self._last:
            raise LinkError(f"the record holds no answer to {verb}")
        return self._last[verb]

    def _find_run(self, digest: str) -> None:
        """Go on to the worker of this batch that was asked the same. Raises: LinkError; Cancelled where the record ends."""
        while (entry := self._peek()) is not None:
            if entry.begin or entry.end or entry.run not in (None, digest):
                raise LinkError("the record holds no worker that was asked this")
            self._take()
            if entry.run is not None:
                self.runs += 1
                return
        raise Cancelled()

    def _told(self) -> Iterator[dict[str, Any]]:
        """Yield a worker's messages, to its end. Raises: Cancelled where the record ends before."""
        while (entry := self._peek()) is not None and not (entry.begin or entry.run or entry.end):
            self._take()
            if entry.lost is not None:
                return
            if entry.said is not None:
                after = entry.said.get("conditions_after")
                if after is not None:
                    self._last["probe"] = {"type": "result", "conditions": after}
                yield entry.said
                if entry.said.get("type") != "event":
                    return
        if entry is None:
            raise Cancelled()


class _RecordedChannel:
    """A channel whose other end is a function from requests to the frames that answer them."""

    def __init__(self, answers: Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]) -> None:
        self._answers = answers
        self._asked, self._told = bytearray(), b""
        self._present: Iterator[dict[str, Any]] = iter(())
        self._number = 0

    def write(self, data: bytes, timeout_s: float) -> None:
        self._asked += data

    def read(self, size: int, timeout_s: float) -> bytes:
        """Return bytes of the next frame; none where the agent ended. Raises: LinkError, Cancelled."""
        if frame := FrameReader.of(bytes(self._asked)).take() if self._asked else None:
            self._present, self._number = self._answers(frame[0]), frame[0]["id"]
            self._asked.clear()
        if not self._told and (said := next(self._present, None)) is not None:
            try:
                self._told = encode_frame(said | {"id": self._number})
            except ValueError as error:
                raise LinkError(f"the agent broke the protocol: {error}") from error
        piece, self._told = self._told[:size], self._told[size:]
        return piece

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        pass

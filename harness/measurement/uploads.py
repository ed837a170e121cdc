"""Uploads of a campaign's model parts: told as they go, and resumed where the connection broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.devices.link import Link
from harness.errors import AgentError, Cancelled, LinkError
from harness.measurement.events import OnProgress, Reconnecting, Sending
from space.assembly import Assembly

TOLD_AFTER_S = 1.0  # what is sent at once is no news
TOLD_EVERY_S = 1.0
RATE_S = 1.0  # the rate is of no less: answers that come together are no rate
RATE_SHARE = 0.3  # of the last second in the rate that is shown
AHEAD_MODELS = 4096  # whose parts are sent ahead: others share nearly all of theirs
AHEAD_SHARE = 0.9  # of the device's cache, so that none of them pushes another out
CACHE_BYTES = 1 << 30


@dataclass(slots=True, kw_only=True)
class UploadReport:
    """Report of an upload to people: bytes, rate and time left, once a second; ends it when the user cancels.

    What came over a connection that broke stays in its figures, though the next one has less to send.
    """

    on_progress: OnProgress
    cancel: threading.Event
    clock_s: Callable[[], float] = time.monotonic
    _begun_s: float = -1.0
    _last: tuple[float, int] = (0.0, 0)
    _told_s: float = 0.0
    _rate: float = 0.0
    _whole_bytes: int = 0  # to send, as the first connection had it

    def begin(self) -> None:
        """Begin to count the time: a connection was opened."""
        self._begun_s = self._told_s = self.clock_s()
        self._last = (self._begun_s, -1)

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Take note of the bytes that are done. Raises: Cancelled."""
        if self.cancel.is_set():
            raise Cancelled()
        now_s = self.clock_s()
        self._whole_bytes = max(self._whole_bytes, total_bytes)
        done_bytes += self._whole_bytes - total_bytes
        last_s, last_bytes = self._last
        if last_bytes < 0:
            self._last = (now_s, done_bytes)
        elif now_s - last_s >= RATE_S:
            rate = (done_bytes - last_bytes) / (now_s - last_s)
            self._rate += (rate - self._rate) * (RATE_SHARE if self._rate else 1.0)
            self._last = (now_s, done_bytes)
        if now_s - self._begun_s >= TOLD_AFTER_S and now_s - self._told_s >= TOLD_EVERY_S and self._rate > 0:
            self._told_s = now_s
            self.on_progress(
                Sending(total_bytes=self._whole_bytes, done_bytes=done_bytes, bytes_per_s=self._rate)
            )


def send_parts(
    link: Link, models: Sequence[Assembly], on_progress: OnProgress, cancel: threading.Event
) -> None:
    """Send the parts of models that the device lacks, over as many connections as that takes.

    Raises: Cancelled; LinkError when a connection breaks before anything came across; AgentError, also for models that the
    device's cache cannot hold together.
    """
    size_bytes, room_bytes = sum(model.size_bytes for model in models), _cache_bytes(link.hello)
    if size_bytes > room_bytes:
        raise AgentError(
            "too-large",
            f"the model and its reference take {size_bytes / 1e6:,.0f} MB, and the device keeps {room_bytes / 1e6:,.0f} MB of "
            "models, a third of its free disk space at most; free some there, or use a smaller model",
        )
    report = UploadReport(on_progress=on_progress, cancel=cancel)
    while True:
        before = link.sent_bytes
        report.begin()
        try:
            link.client.send_models(models, report)
            return
        except LinkError as error:
            if link.sent_bytes == before:
                raise
            on_progress(Reconnecting(reason=error.reason))
            link.reopen(on_progress, cancel)


def send_ahead(
    link: Link,
    models: Iterable[Callable[[], Assembly]],
    on_progress: OnProgress,
    cancel: threading.Event,
) -> None:
    """Send parts of models before they are measured, so that the upload is seen as what it is; workers send what is left.

    models: assemble each. Raises: Cancelled; DeviceError when the device stays away.
    """
    chosen = _fitting(models, AHEAD_SHARE * _cache_bytes(link.hello))
    try:
        send_parts(link, chosen, on_progress, cancel)
    except LinkError:
        link.reopen(on_progress, cancel)
    except AgentError:
        return  # a disk that is full, say: workers send less at once, and know the remedy


def _fitting(models: Iterable[Callable[[], Assembly]], limit_bytes: float) -> list[Assembly]:
    """Return the first models, as many as fit with their parts."""
    chosen: list[Assembly] = []
    seen: set[str] = set()
    for assemble, _ in zip(models, range(AHEAD_MODELS), strict=False):
        model = assemble()
        new = set(model.shared) - seen
        limit_bytes -= len(model.skeleton) + sum(len(model.read_part(digest)) for digest in new)
        if limit_bytes < 0:
            break
        seen |= new
        chosen.append(model)
    return chosen


def _cache_bytes(hello: Mapping[str, Any]) -> int:
    limits = hello.get("limits")
    told = limits.get("cache_bytes") if isinstance(limits, Mapping) else None
    return told if type(told) is int and told > 0 else CACHE_BYTES

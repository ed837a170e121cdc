"""Uploads of a campaign's parts: told with rate and time left, sent before the first session, resumed, ended by the user."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from factories.sent_models import assembly_of
from rigs.scripted_link import ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from harness.devices.link import OnConnecting
from harness.errors import AgentError, Cancelled, DeviceError, LinkError
from harness.measurement import uploads
from harness.measurement.events import Event, Reconnecting, Sending
from harness.measurement.uploads import UploadReport, send_ahead, send_parts
from harness.store import Store
from space.assembly import Assembly


class Link:
    """A link whose client follows a script: numbers are bytes that come across, errors end a connection."""

    def __init__(self, *steps: int | Exception) -> None:
        self._steps = list(steps)
        self.client: Any = self
        self.hello: dict[str, Any] = {}
        self.sent_bytes = self.reopened = 0
        self.models: list[Sequence[Assembly]] = []

    def send_models(self, models: Sequence[Assembly], on_progress: Callable[[int, int], None]) -> int:
        self.models.append(models)
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            self.sent_bytes += step
            on_progress(self.sent_bytes, 1000)
        return 0

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        self.reopened += 1


def test_bytes_rate_and_time_left_are_shown() -> None:
    begin = Sending(total_bytes=24_000_000, done_bytes=0, bytes_per_s=20_000)
    assert str(begin) == "sending 0.0 of 24.0 MB, 20:00 left, 20 KB/s"
    assert str(replace(begin, done_bytes=12_000_000, bytes_per_s=2_000)).endswith("1:40:00 left, 2 KB/s")
    assert str(Sending(total_bytes=24_000_000)) == "sending 24.0 MB"


def test_an_upload_is_told_once_a_second_when_it_takes_longer_than_one() -> None:
    clock, said = [0.0], list[str]()
    report = UploadReport(
        on_progress=lambda event: said.append(str(event)), cancel=threading.Event(), clock_s=lambda: clock[0]
    )
    report.begin()
    for step in range(51):
        clock[0] = step / 10
        report(step * 2000, 100_000)
    assert said[0] == "sending 0.0 of 0.1 MB, 0:04 left, 20 KB/s"
    assert len(said) == 5
    assert said[-1].endswith("0:00 left, 20 KB/s")


def test_answers_that_come_together_are_no_faster_link() -> None:
    clock, said = [0.0], list[str]()
    report = UploadReport(
        on_progress=lambda event: said.append(str(event)), cancel=threading.Event(), clock_s=lambda: clock[0]
    )
    report.begin()
    for burst in range(6):  # 20 KB come each second, of parts of 2 KB
        for number in range(10):
            clock[0] = burst + number * 1e-4
            report(burst * 20_000 + number * 2000, 200_000)
    assert said and all(line.endswith(("19 KB/s", "20 KB/s")) for line in said), said


def test_after_a_link_broke_the_figures_go_on_from_where_they_were() -> None:
    clock, said = [0.0], list[str]()
    report = UploadReport(
        on_progress=lambda event: said.append(str(event)), cancel=threading.Event(), clock_s=lambda: clock[0]
    )
    for done_bytes, total_bytes in ((2_000_000, 10_000_000), (500_000, 8_000_000)):  # 2 MB are there for good
        report.begin()
        for step in range(3):
            clock[0] += 1.0
            report(done_bytes + step * 500_000, total_bytes)
    assert said == [
        "sending 2.5 of 10.0 MB, 0:15 left, 500 KB/s",
        "sending 3.0 of 10.0 MB, 0:14 left, 500 KB/s",
        "sending 2.5 of 10.0 MB, 0:15 left, 500 KB/s",
        "sending 3.0 of 10.0 MB, 0:14 left, 500 KB/s",
        "sending 3.5 of 10.0 MB, 0:13 left, 500 KB/s",
    ]


def test_a_link_that_breaks_again_and_again_goes_on_as_long_as_bytes_come_across() -> None:
    cut = LinkError("cut")
    link, said = Link(100, cut, 50, cut, 1, cut, 849), list[Event]()
    send_parts(link, [], said.append, threading.Event())  # type: ignore[arg-type]
    assert (link.sent_bytes, link.reopened) == (1000, 3)
    assert said == [Reconnecting(reason="cut")] * 3
    link = Link(100, cut, cut, 900)
    with pytest.raises(LinkError):
        send_parts(link, [], said.append, threading.Event())  # type: ignore[arg-type]


def test_the_user_ends_an_upload_between_two_chunks() -> None:
    cancel = threading.Event()
    cancel.set()
    link = Link(100, 900)
    with pytest.raises(Cancelled):
        send_parts(link, [], lambda text: None, cancel)  # type: ignore[arg-type]
    assert link.sent_bytes == 100


def test_what_cannot_be_sent_ahead_is_left_to_the_workers() -> None:
    for error in (AgentError("disk-full", "full"), LinkError("gone")):
        link = Link(error)
        send_ahead(link, [], lambda text: None, threading.Event())  # type: ignore[arg-type]
        assert link.reopened == (1 if isinstance(error, LinkError) else 0)


def test_no_more_is_sent_ahead_than_the_devices_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [lambda n=n: assembly_of(bytes([n]) * 10, b"shared" * 10, bytes([n]) * 30) for n in range(5)]
    for told, count in ((None, 5), (180, 2), ("1", 5), (-1, 5), (True, 5)):
        link = Link()
        link.hello = {"limits": {"cache_bytes": told}}
        send_ahead(link, models, lambda text: None, threading.Event())  # type: ignore[arg-type]
        assert [len(sent) for sent in link.models] == [count], told
    monkeypatch.setattr(uploads, "AHEAD_MODELS", 3)
    link = Link()
    send_ahead(link, models, lambda text: None, threading.Event())  # type: ignore[arg-type]
    assert [len(sent) for sent in link.models] == [3]


def test_a_campaigns_parts_are_sent_before_the_first_session(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    seen: list[tuple[int, int]] = []

    def note(models: Sequence[Assembly], *_: object) -> int:
        seen.append((len(models), len(link.jobs)))
        return 0

    monkeypatch.setattr(link, "send_models", note)
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)))
    assert outcome.measured == 3
    assert seen[0] == (4, 0), "three networks and the reference, before any job"
    seen.clear()
    assert run_scripted(link, store, ScriptedSource(networks=(1, 2, 3))).reused == 3
    assert seen == [], "nothing to measure, nothing to send"


def test_a_device_that_is_lost_in_an_upload_ends_the_campaign_and_a_cancel_stops_it(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.send_errors = [LinkError("gone")]
    link.on_reopen = lambda: _raise(DeviceError("lost"))
    with pytest.raises(DeviceError, match="lost"):
        run_scripted(link, store, observer=observer)
    cancel = StubEvent()
    link = ScriptedLink()
    link.send_errors = [LinkError("gone")]
    link.on_reopen = cancel.set
    with pytest.raises(Cancelled):
        run_scripted(link, store, cancel=cancel)


def _raise(error: Exception) -> None:
    raise error

"""Ctrl-C ends campaigns soon, whatever they wait for, and what was measured stays."""

from __future__ import annotations

import _thread
import threading
import time
from typing import Any

import pytest
from rigs.lying_device import LyingDevice
from rigs.scripted_link import PLAN, ScriptedSource
from rigs.watcher import Watcher

from harness.devices.config import LocalDevice
from harness.devices.link import Waiting
from harness.errors import LinkError
from harness.measurement import campaign, campaigns, session_builder
from harness.measurement.plan import Level, Options
from harness.measurement.session_runner import Cancelled
from harness.store import Store


class Unreachable:
    """A transport that never connects."""

    def __init__(self, is_waiting: threading.Event) -> None:
        self._is_waiting = is_waiting

    def connect(self) -> None:
        self._is_waiting.set()
        threading.Event().wait(60)
        raise LinkError("nobody is there")

    def close(self) -> None:
        pass


def test_a_device_that_is_waited_for_is_left_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    is_waiting = threading.Event()
    monkeypatch.setattr(session_builder, "CLOCKS_TOLERANCE_S", 100.0)  # the device's clock is made up
    real = campaign.run_campaign

    def run(device: LocalDevice, *arguments: Any, **options: Any) -> campaign.Outcome:
        transport: Any = Unreachable(is_waiting) if device.name == "far" else LyingDevice()
        return real(device, *arguments, **options, connect=lambda _: transport)

    monkeypatch.setattr(campaigns, "run_campaign", run)
    observer = Watcher()

    def interrupt() -> None:
        is_waiting.wait(10)
        while not observer.ended:
            time.sleep(0.01)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    options = Options(level=Level(name="made-up", sessions=1, plan=PLAN))
    chosen = [(LocalDevice(name=name), options) for name in ("far", "near")]
    started_s = time.monotonic()
    far, near = campaigns.run_all(chosen, ScriptedSource(), store, observer)
    assert time.monotonic() - started_s < 30
    assert isinstance(far.error, Cancelled)
    assert near.measured == 1 and store.session_counts(near.uses[0].configuration)
    assert set(observer.notes) == {"stopping: the session under way is given up, what was measured is stored"}


def test_a_fault_of_the_harness_in_a_campaign_reaches_the_caller(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> campaign.Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr(campaigns, "run_campaign", run)
    with pytest.raises(ZeroDivisionError):
        campaigns.run_all([(LocalDevice(name="near"), Options())], ScriptedSource(), store, Watcher())


def test_the_trouble_of_one_device_is_told_while_the_others_measure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def run(device: LocalDevice, *_: Any, **__: Any) -> campaign.Outcome:
        if device.name == "far":
            raise LinkError("device 'far'", "nobody is there")
        if device.name == "odd":
            raise ZeroDivisionError("no")
        if device.name == "near":
            return campaign.Outcome(device=device.name)
        assert told.wait(10), "it is told only when all have ended"
        return campaign.Outcome(device=device.name)

    monkeypatch.setattr(campaigns, "run_campaign", run)
    observer = Watcher(lambda event: told.set() if len(observer.ended) == 3 else None)
    chosen = [(LocalDevice(name=name), Options()) for name in ("far", "near", "odd", "slow")]
    with pytest.raises(ZeroDivisionError):
        campaigns.run_all(chosen, ScriptedSource(), store, observer)
    troubles = dict(observer.ended)
    assert set(troubles) == {"far", "near", "odd"}, "the last of all has nobody to wait for"
    assert (troubles["far"], troubles["near"]) == ("nobody is there", "")
    assert "a fault of harness" in troubles["odd"] and "ZeroDivisionError: no" in troubles["odd"]


def test_one_device_alone_ends_without_being_told_of_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> campaign.Outcome:
        raise LinkError("nobody is there")

    monkeypatch.setattr(campaigns, "run_campaign", run)
    observer = Watcher()
    (outcome,) = campaigns.run_all([(LocalDevice(name="far"), Options())], ScriptedSource(), store, observer)
    assert str(outcome.error) == "nobody is there"
    assert observer.ended == []


def test_ctrl_c_while_campaigns_are_being_started_ends_those_that_were(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def run(device: LocalDevice, *_: Any, cancel: threading.Event, **options: Any) -> campaign.Outcome:
        assert cancel.wait(10), "it is told to end"
        ended.append(device.name)
        raise Cancelled

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr(campaigns, "run_campaign", run)
    monkeypatch.setattr(campaigns.threading, "Thread", Interrupted)
    monkeypatch.setattr(campaigns, "GRACE_S", 1.0)  # for the one that was not started
    devices = [(LocalDevice(name=name), Options()) for name in ("first", "second")]
    outcomes = campaigns.run_all(devices, ScriptedSource(), store, Watcher())
    assert ended == ["first"]
    assert all(isinstance(one.error, Cancelled) for one in outcomes) and len(outcomes) == 2


def test_ctrl_c_ends_the_wait_for_a_device_in_use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = campaign.run_campaign

    def lie(name: str, message: dict[str, Any]) -> dict[str, Any]:
        busy = {
            "type": "error",
            "id": message.get("id"),
            "kind": "busy",
            "message": "in use",
            "owner": "night",
        }
        return busy if name == "answer lock" else message

    def run(device: LocalDevice, *arguments: Any, **options: Any) -> campaign.Outcome:
        transport: Any = LyingDevice(lie)
        return real(device, *arguments, **options, connect=lambda _: transport)

    monkeypatch.setattr(campaigns, "run_campaign", run)

    hasty = Watcher(lambda event: _thread.interrupt_main() if isinstance(event, Waiting) else None)
    monkeypatch.setattr(campaigns, "GRACE_S", 20.0)  # in which it ends by itself
    started_s = time.monotonic()
    (outcome,) = campaigns.run_all(
        [(LocalDevice(name="far"), Options())], ScriptedSource(), store, hasty, wait_s=float("inf")
    )
    assert isinstance(outcome.error, Cancelled)
    assert time.monotonic() - started_s < 15

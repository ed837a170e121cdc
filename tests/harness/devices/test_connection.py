"""A device in use: for how long it is waited for, whom for, and what ends the wait."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from factories.jetson import FakeJetson, await_lock
from rigs.lying_device import LyingDevice

from harness.devices import connection
from harness.devices.config import LocalDevice, SshDevice
from harness.devices.connection import Connection, new_owner
from harness.devices.transports.local import LocalTransport
from harness.errors import Cancelled, DeviceError, LinkError
from harness.measurement.plan import parse_time
from space.errors import ConfigError
from space.text import clock

NIGHT = "harness on another machine, process 7, 12ab"


def busy(number: int, owner: str = NIGHT) -> dict[str, Any]:
    """Return what an agent answers while `owner` holds the device."""
    text = f"the device is in use by {owner!r}; wait for it, or end that process"
    return {"type": "error", "id": number, "kind": "busy", "message": text, "owner": owner, "pid": 7}


class Queue:
    """A device whose lock others hold: `answers` to a request for it, one after another, then it is free.

    An answer is who holds it, or None for a link that breaks.
    """

    def __init__(self, answers: Sequence[str | None]) -> None:
        self._answers = list(answers)
        self.asked = self.connected = 0
        self.transport = LyingDevice(self._lie)
        connect = self.transport.connect

        def count() -> None:
            self.connected += 1
            connect()

        self.transport.connect = count  # type: ignore[method-assign]

    def _lie(self, name: str, message: dict[str, Any]) -> Any:
        if name != "answer lock":
            return message
        self.asked += 1
        if not self._answers:
            return message
        answer = NIGHT if self._answers == ["for ever"] else self._answers.pop(0)
        return None if answer is None else busy(message["id"], answer)

    def open(
        self,
        wait_s: float = 0.0,
        said: list[str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """Open a connection to the device."""
        link = Connection(LocalDevice(name="pi4"), self.transport, owner=new_owner(), wait_s=wait_s)
        link.open(on_progress=lambda event: None if said is None else said.append(str(event)), cancel=cancel)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "POLL_S", 0.001)
    monkeypatch.setattr(connection, "GRACE_S", 0.01)


def test_who_waits_is_told_whom_for_and_goes_on_when_it_is_free() -> None:
    queue, said = Queue([NIGHT, NIGHT, NIGHT]), list[str]()
    queue.open(math.inf, said)
    assert said == [f"waiting: in use by {NIGHT!r}; 0:00"]
    assert (queue.asked, queue.connected) == (4, 1)


def test_it_is_said_again_from_time_to_time_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SAY_S", 0.0)
    queue, said = Queue([NIGHT, NIGHT, NIGHT]), list[str]()
    queue.open(5400.0, said)
    assert [text.partition("; ")[2] for text in said] == ["0:00 of 1:30:00"] * 3


def test_without_being_asked_to_wait_a_device_in_use_is_given_up_and_the_option_named() -> None:
    queue, said = Queue(["for ever"]), list[str]()
    with pytest.raises(DeviceError, match=r"in use by .*process 7.*; --wait waits for it"):
        queue.open(said=said)
    assert said == []
    assert queue.asked > 1, "an agent that ends is waited for"


def test_a_limit_ends_the_wait() -> None:
    with pytest.raises(DeviceError, match=r"in use by .*process 7.*; waited 0:00 for it"):
        Queue(["for ever"]).open(0.02)


def test_ctrl_c_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "POLL_S", 60.0)
    cancel = threading.Event()
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(Cancelled):
        Queue(["for ever"]).open(math.inf, cancel=cancel)


def test_another_campaign_of_this_command_on_the_same_machine_is_always_waited_for() -> None:
    owner = new_owner()
    other = Connection(LocalDevice(name="the-same"), LyingDevice(), owner=owner)
    other.open()
    queue, said = Queue([owner] * 30), list[str]()
    queue.open(said=said)
    assert queue.asked == 31
    assert len(said) == 1 and "in use by" in said[0]
    other.close()
    with pytest.raises(DeviceError, match="in use by"):
        Queue([owner] * 3000).open()


def test_a_device_that_claims_to_be_in_use_by_this_command_is_not_waited_for_for_ever() -> None:
    with pytest.raises(DeviceError, match="in use by"):
        Queue([new_owner()] * 3000).open()


@pytest.mark.parametrize(
    ("likely", "asked"),
    [
        (["onnxruntime", "tflite"], [["onnxruntime", "tflite"]]),
        (["tflite"], [["tflite"], None]),
        ([], [None]),
    ],
)
def test_a_device_is_asked_about_the_likely_runtimes_alone_unless_it_has_none_of_them(
    likely: list[str], asked: list[list[str] | None]
) -> None:
    def lie(name: str, message: dict[str, Any]) -> Any:
        lacks = name == "answer hello" and "onnxruntime" not in device.requests[-1].get(
            "runtimes", ["onnxruntime"]
        )
        return {**message, "runtimes": []} if lacks else message

    device = LyingDevice(lie)
    link = Connection(LocalDevice(name="pi4"), device, owner=new_owner(), runtimes=likely)
    link.open()
    assert [one.get("runtimes") for one in device.requests if one["verb"] == "hello"] == asked
    assert [found["name"] for found in link.hello["runtimes"]] == ["onnxruntime"]


def test_a_link_that_breaks_while_waiting_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "GRACE_S", 60.0)  # longer than a busy machine takes to ask again
    queue = Queue([NIGHT, None, NIGHT])
    queue.open(math.inf)
    assert (queue.asked, queue.connected) == (4, 2)
    with pytest.raises(LinkError):
        Queue([NIGHT, None]).open()


def test_an_error_that_is_no_wait_is_raised_at_once() -> None:
    queue = Queue([])
    queue.transport._lie = lambda name, message: (  # type: ignore[method-assign]
        message
        if name != "answer lock"
        else busy(message["id"]) | {"kind": "internal", "message": "the disk is full"}
    )
    with pytest.raises(DeviceError, match="the disk is full"):
        queue.open(math.inf)


def test_limits_are_read_as_people_write_them() -> None:
    assert [parse_time(text, "--wait-limit") for text in ("90s", "30m", " 1.5 h", "2min")] == [
        90.0,
        1800.0,
        5400.0,
        120.0,
    ]
    for text in ("30", "half an hour", "-3m", "", "1e3s", "9" * 400 + "h"):
        with pytest.raises(ConfigError, match=r"--wait-limit .*30m"):
            parse_time(text, "--wait-limit")


def test_a_duration_is_shown_as_a_clock_shows_it() -> None:
    assert [clock(seconds) for seconds in (0, 5.4, 65, 3600, 36061)] == [
        "0:00",
        "0:05",
        "1:05",
        "1:00:00",
        "10:01:01",
    ]


@pytest.mark.device
def test_a_jetson_is_set_for_as_long_as_a_connection_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetson = FakeJetson(tmp_path / "jetson")
    monkeypatch.setenv("PATH", str(jetson.bin), prepend=":")
    device = LocalDevice(name="nano", root=str(tmp_path / "root"), jetson_power_mode="2", jetson_clocks=True)
    link = Connection(device, LocalTransport(), owner=new_owner(), runtimes=["litert"])
    link.open()
    assert link.board == {"power_mode": "MAXN_SUPER", "before": "15W", "clocks": True}
    assert link.client.probe()["power_mode"] == "MAXN_SUPER"
    assert jetson.now == (2, 1728000)
    link.close()
    # The first agent's guard has the lock until all is put back.
    monkeypatch.setattr(connection, "GRACE_S", 20.0)
    other = device.model_copy(update={"jetson_power_mode": "3"})
    again = Connection(other, LocalTransport(), owner=new_owner(), runtimes=["litert"])
    with pytest.raises(DeviceError, match="wants a reboot"):
        again.open()
    again.close()
    await_lock()
    assert jetson.now == (0, 729600)


def test_cores_that_a_power_mode_turns_on_are_there_after_the_lock() -> None:
    def lie(name: str, message: dict[str, Any]) -> Any:
        return {**message, "cores": [0, 1, 2], "clusters": [[0, 1, 2]]} if name == "answer lock" else message

    link = Connection(LocalDevice(name="nano", jetson_clocks=True), LyingDevice(lie), owner=new_owner())
    link.open()
    assert (link.hello["cores"], link.hello["clusters"]) == ([0, 1, 2], [[0, 1, 2]])


class Shaky:
    """A device whose links break `breaks` times while the agent starts, at the answer to one verb, after saying `said`."""

    def __init__(self, verb: str, breaks: int) -> None:
        self.transport = LyingDevice(self._lie)
        self._verb, self._breaks = verb, breaks

    def _lie(self, name: str, message: dict[str, Any]) -> Any:
        if name != f"answer {self._verb}" or not self._breaks:
            return message
        self._breaks -= 1
        return iter(())


@pytest.mark.parametrize("verb", ["hello", "lock"])
def test_a_first_connection_that_breaks_while_the_agent_starts_is_opened_again_as_later_ones_are(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RECONNECT_WAITS_S", (0.0, 0.0))
    said: list[str] = []
    link = Connection(LocalDevice(name="pi4"), Shaky(verb, 2).transport, owner=new_owner())
    link.open(retry=True, on_progress=lambda event: said.append(str(event)))
    assert link.machine_lock == "held"
    assert [text.partition(":")[0] for text in said] == ["attempt 1 of 3"]
    link.close()
    link = Connection(LocalDevice(name="pi4"), Shaky(verb, 9).transport, owner=new_owner())
    with pytest.raises(DeviceError, match=r"3 attempts to reconnect failed, the last with: no sign of life"):
        link.open(retry=True)
    with pytest.raises(LinkError, match="no sign of life"):
        Connection(LocalDevice(name="pi4"), Shaky(verb, 1).transport, owner=new_owner()).open()


def test_a_device_that_is_not_there_at_first_is_told_at_once() -> None:
    device = LyingDevice()

    def connect() -> None:
        raise LinkError("nobody is there")

    device.connect = connect  # type: ignore[method-assign]
    with pytest.raises(LinkError, match="nobody is there"):
        Connection(LocalDevice(name="pi4"), device, owner=new_owner()).open(retry=True)


def test_ctrl_c_ends_the_attempts_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = threading.Event()
    link = Connection(LocalDevice(name="pi4"), Shaky("hello", 9).transport, owner=new_owner())
    with pytest.raises(Cancelled):
        link.open(retry=True, on_progress=lambda _: cancel.set(), cancel=cancel)
    cancel.clear()
    with pytest.raises(Cancelled):
        link.reopen(lambda _: cancel.set(), cancel)


class Cable:
    """The adb of a phone whose first `cuts` answers break off; `is_in`: whether adb sees the phone at all."""

    def __init__(self, cuts: int, is_in: bool = True) -> None:
        self.serial, self.who = "R5CT10ABCDE", "device 'pixel'"
        self._cuts, self._is_in = cuts, is_in

    def check(self) -> None:
        if not self._is_in:
            raise LinkError(self.who, "adb sees no device")

    def script(self, script: str, *arguments: str, timeout_s: float = 1.0) -> str:
        self._cuts -= 1
        if self._cuts >= 0:
            raise LinkError(self.who, "adb: the answer to 'sh' broke off")
        return "off"


def test_a_phone_that_is_lost_as_its_watch_begins_is_connected_again_and_one_that_is_not_there_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "RECONNECT_WAITS_S", (0.0, 0.0))
    said: list[str] = []
    device = SshDevice(name="pixel", transport="ssh", adb="R5CT10ABCDE", address="192.0.2.1")

    def opened(cable: Cable) -> None:
        link = Connection(device, LyingDevice(), owner=new_owner())
        link._adb = cable  # type: ignore[assignment]
        link.open(retry=True, on_progress=lambda event: said.append(str(event)))
        link.close()

    opened(Cable(2))
    assert [text.partition(":")[0] for text in said] == ["attempt 1 of 3"]
    with pytest.raises(DeviceError, match="3 attempts to reconnect failed, the last with: adb: the answer"):
        opened(Cable(9))
    said.clear()
    with pytest.raises(LinkError, match="adb sees no device"):
        opened(Cable(0, is_in=False))
    assert said == []

"""What a doctor waits for is told within seconds, and then each half minute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from harness.devices import doctor
from harness.devices.config import Device, SshDevice
from harness.devices.doctor import Check, diagnose_all
from harness.output import devices as output
from harness.output.devices import DoctorSteps, print_diagnoses
from harness.output.heartbeat import due_lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: now.s))
    yield now


def test_a_device_that_takes_long_is_named_with_what_is_done_there(clock: SimpleNamespace) -> None:
    steps = DoctorSteps()
    steps("far", "connecting")
    steps("near", "connecting")
    clock.s += 2
    assert steps.due() == [], "not yet long"
    steps("near", "")
    clock.s += 2
    assert steps.due() == ["waiting for far (connecting, 0:00:04)"]
    clock.s += 29
    assert steps.due() == [], "said already"
    steps("far", "running a small model in each runtime")
    clock.s += 1
    assert steps.due() == ["waiting for far (running a small model in each runtime, 0:00:01)"]
    steps("far", "")
    clock.s += 60
    assert steps.due() == []


def test_many_devices_that_take_long_are_counted(clock: SimpleNamespace) -> None:
    steps = DoctorSteps()
    for name in "abcde":
        steps(name, "connecting")
    clock.s += 3
    (line,) = steps.due()
    assert line.endswith("c (connecting, 0:00:03), 2 others")


def test_a_slow_first_device_is_told_of_while_the_others_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others_are_known, is_told = threading.Barrier(4, timeout=10), threading.Event()
    monkeypatch.setattr(output, "FIRST_S", 0.0)

    def diagnosed(device: Device, on_step: Callable[[str], None]) -> list[Check]:
        on_step("connecting")
        if device.name == "a":
            others_are_known.wait()
            assert is_told.wait(10)
        return [Check(status="ok", name="reach", found=device.name)]

    def on_step(name: str, step: str) -> None:
        steps(name, step)
        if not step and name != "a":
            others_are_known.wait()

    def ask_what_is_due() -> None:  # as the heartbeat does each second
        others_are_known.wait()
        lines.extend(due_lines(0.0, 0.0))
        is_told.set()

    lines: list[str] = []
    monkeypatch.setattr(doctor, "diagnose", diagnosed)
    steps = DoctorSteps()
    asking = threading.Thread(target=ask_what_is_due)
    asking.start()
    found = diagnose_all([SshDevice(name=name, address=name) for name in "abc"], on_step)
    assert print_diagnoses(found, steps, json_output=False) == 0
    asking.join()
    assert lines == ["waiting for a (connecting, 0:00:00)"]
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) == 1] == ["a", "b", "c"]

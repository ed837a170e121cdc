"""What a doctor waits for is told within seconds, and then each half minute."""

from __future__ import annotations

import json
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


def named(*names: str) -> list[Device]:
    return [SshDevice(name=name, address=name) for name in names]


def test_a_slow_first_device_is_told_of_while_the_others_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    is_told = threading.Event()
    monkeypatch.setattr(output, "FIRST_S", 0.0)

    def diagnosed(device: Device, on_progress: Callable[[str], None]) -> list[Check]:
        on_progress("connecting")
        if device.name == "a":
            assert is_told.wait(10)
        return [Check(status="ok", name="reach", found=device.name)]

    def shown() -> Iterator[tuple[str, list[Check]]]:  # asks for the next one when the last is printed
        for number, (name, checks) in enumerate(diagnose_all(devices, steps)):
            yield name, checks
            if number == 1:  # two are printed, and the heartbeat asks what is due
                lines.append(capsys.readouterr().out)
                lines.extend(due_lines(0.0, 0.0))
                is_told.set()

    lines: list[str] = []
    monkeypatch.setattr(doctor, "diagnose", diagnosed)
    steps, devices = DoctorSteps(), named("a", "b", "c")
    assert print_diagnoses(devices, shown(), steps, json_output=False) == 0
    assert [line for line in lines[0].splitlines() if len(line) == 1] in (["b", "c"], ["c", "b"])
    assert lines[1:] == ["waiting for a (connecting, 0:00:00)"]
    assert capsys.readouterr().out.startswith("a\n")


def checks_of(*names: str) -> list[tuple[str, list[Check]]]:
    """Return checks of devices: what is called `bad` fails, `hot` is warned of."""
    failed = Check(status="FAIL", name="runtime", found="none is installed", remedy="pip install onnxruntime")
    warned = Check(status="warn", name="temperature", found="80 C", remedy="let it cool down first")
    ready = Check(status="ok", name="python", found="3.11.2")
    more = {"bad": [failed, warned], "hot": [warned]}
    return [(name, [ready, *more.get(name.split("-")[0], [])]) for name in names]


def test_devices_in_trouble_are_told_again_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    devices = named("bad-1", "ok-1", "bad-2", "hot-1")
    found = checks_of("ok-1", "bad-2", "hot-1", "bad-1")
    assert print_diagnoses(devices, found, DoctorSteps(), json_output=False) == 3
    text = capsys.readouterr().out
    head, _, rest = text.partition("4 devices: 2 in trouble, 1 with warnings, 1 ready\n")
    assert [line for line in head.splitlines() if "-" in line[:5]] == ["ok-1", "bad-2", "hot-1", "bad-1"]
    again = "FAIL  runtime  none is installed\n               -> pip install onnxruntime\n"
    assert rest == f"bad-1\n{again}bad-2\n{again}", "what fails, with its remedy, in the order asked for"
    assert print_diagnoses(named("ok-1"), checks_of("ok-1"), DoctorSteps(), json_output=False) == 0
    assert "ready" not in capsys.readouterr().out, "of one device all is said already"


def test_json_has_devices_in_the_order_that_they_were_given_in(capsys: pytest.CaptureFixture[str]) -> None:
    found = checks_of("c", "b", "a")
    print_diagnoses(named("a", "b", "c"), found, DoctorSteps(), json_output=True)
    assert list(json.loads(capsys.readouterr().out)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (80, ["warn  core: autogroup  refused: the", f"{'':23}-> sudo tee -a /etc/x"]),
        (40, ["warn  core: autogroup", "  -> sudo tee -a /etc/x"]),
    ],
)
def test_what_is_found_stands_beside_the_check_or_below_it_and_what_is_to_be_pasted_is_whole(
    width: int, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "width_of", lambda stream: width)
    path = "/home/someone/.cache/harness-agent/agent-0123456789abcdef.pyz"
    found = f"refused: the system does not let this user raise it, whatever is asked for; see {path} there"
    checks = [
        Check(status="warn", name="core: autogroup", found=found, remedy="sudo tee -a /etc/x"),
        Check(status="ok", name="agent", found=f"{path} answers"),
    ]
    print_diagnoses(named("a"), [("a", checks)], DoctorSteps(), json_output=False)
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith(lines[0]) and lines[-1] in shown
    assert [line for line in shown if len(line) > width] == [path] * 2 * (width < len(path))
    assert shown[shown.index("ok    agent") + 1].strip() == path

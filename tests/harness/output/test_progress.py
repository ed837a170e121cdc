"""The view of campaigns: bars that fit a terminal, and where there is none lines for a log, one each half minute at least."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Group
from rigs.terminals import screen

from harness.devices.link import Attempt, Waiting
from harness.measurement.events import (
    Activity,
    BusyCores,
    Calibrating,
    Connecting,
    Ended,
    Event,
    FirstNumbers,
    Measuring,
    Note,
    Preparing,
    Reconnecting,
    Repeating,
    Sending,
    SessionDone,
    SessionsPlanned,
    Unready,
)
from harness.output import device_rows, progress
from harness.output.progress import ProgressView
from harness.output.terminal import console

CALIBRATING = Calibrating(runtime="onnxruntime", number=1, sessions=5)


def measuring(architecture: str) -> Measuring:
    return Measuring(runtime="onnxruntime", architecture=architecture)


def in_use(waited_s: float) -> Waiting:
    return Waiting(reason="in use by 'the night run'", waited_s=waited_s, limit_s=math.inf)


class Clock:
    """A clock that a test moves on, for the view and for rich's estimate of the time left."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        patch.setattr(progress.time, "monotonic", lambda: self.now_s)
        patch.setattr("rich.console.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    return Clock(monkeypatch)


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def test_an_upload_is_told_at_first_and_then_every_half_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    with ProgressView() as view:
        for second in range(65):
            clock.now_s = 1000.0 + second
            for device in ("pi4", "pixel"):
                done = second * 100_000
                view.event(device, Sending(total_bytes=24_100_000, done_bytes=done, bytes_per_s=98_000))
            told += view.due() or []
    lines = capsys.readouterr().err.splitlines() + told
    assert [line.split(" of")[0] for line in lines if "pi4" in line] == [
        f"pi4: sending {megabytes}" for megabytes in ("0.0", "3.0", "6.0")
    ]
    assert len(lines) == 6


def test_a_slow_board_has_a_line_each_half_minute_with_count_and_time_left_once_it_is_known(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView() as view:
        view.event("board", CALIBRATING)
        assert view.due() == []
        clock.now_s += 31
        assert view.due() == ["board: calibrating onnxruntime, 1 of 5, 0:00:31 so far"]
        view.event("board", SessionsPlanned(sessions=20))
        for _ in range(3):
            clock.now_s += 60
            view.event("board", SessionDone())
        clock.now_s += 29
        left = "0:04:00 so far, 0:17:00 left: calibrating onnxruntime, 1 of 5"
        assert view.due() == [f"board: 3 of 20 sessions, {left}"]
        assert view.due() == []
    assert capsys.readouterr().err.splitlines() == [
        "board: calibrating onnxruntime, 1 of 5",
        "board: 20 sessions to measure",
        "board: 1 of 20 sessions, 0:01:31 so far",
    ]


def test_no_time_is_left_while_a_later_runtime_has_sessions_that_are_not_counted_yet(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView() as view:
        said = []
        for planned in (
            SessionsPlanned(sessions=20, later=("tflite",)),
            SessionsPlanned(sessions=20),
            SessionsPlanned(sessions=0, later=("memory",)),
        ):
            view.event("board", planned)
            for _ in range(3):
                clock.now_s += 60
                view.event("board", SessionDone())
            clock.now_s += 31
            said += view.due() or []
    assert said[0] == "board: 3 of 20 sessions and those of tflite, 0:03:31 so far"
    assert said[1].startswith("board: 6 of 40 sessions, 0:07:02 so far, 0:") and said[1].endswith(" left")
    assert said[2] == "board: 9 of 40 sessions and those of memory, 0:10:33 so far"


def test_where_nothing_is_under_way_the_command_itself_may_say_that_it_is_at_work(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProgressView() as view:
        assert view.due() is None
        view.event("board", Connecting())
        clock.now_s += 31
        assert view.due() == ["board: connecting, 0:00:31 so far"]
        monkeypatch.setattr(console, "is_quiet", True)
        assert view.due() == []


def test_a_terminal_without_bars_leaves_the_word_to_the_command(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    with ProgressView() as view:
        assert view.due() is None
        view.event("board", Connecting())
        clock.now_s += 31
        assert view.due() == [], "its bar moves"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_bar_shows_count_and_time_left_whole_in_any_terminal(
    width: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = Terminal()
    for name, value in (("TERM", "xterm"), ("COLUMNS", str(width))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", errors)
    with ProgressView() as view:
        view.event("local", Connecting())
        view.event("local", SessionsPlanned(sessions=60))
        for _ in range(3):
            clock.now_s += 10
            view.event("local", SessionDone())
        view.event("local", measuring("mbconv-mbconv+in/mbconv-mbconv+out/bconv-mbconv+out"))
        assert view.due() == []
    shown = [line for line in screen(errors.getvalue()) if line.strip()]
    assert len(shown) == 1 and len(shown[0]) <= width
    assert " 3/60 " in shown[0] and " 0:09:30 left" in shown[0]


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}, {"FORCE_COLOR": "1"}]
)
def test_a_terminal_that_cannot_write_over_lines_and_a_colored_log_get_plain_lines(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = Terminal() if "TERM" in environment else io.StringIO()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", errors)
    with ProgressView() as view:
        view.event("local", Connecting())
        view.event("local", SessionsPlanned(sessions=60))
    assert errors.getvalue() == "local: connecting\nlocal: 60 sessions to measure\n"
    assert not re.search(r"\x1b", errors.getvalue())


@pytest.mark.parametrize("quiet", [False, True])
def test_the_trouble_of_a_device_is_a_line_at_once_even_where_progress_is_not_shown(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "is_quiet", quiet)
    with ProgressView() as view:
        for name in ("pi4", "pixel"):
            view.event(name, Connecting())
        capsys.readouterr()
        view.event("pi4", Ended(trouble="cannot be reached"))
        view.event("pixel", Ended())
        lines = capsys.readouterr().err.splitlines()
    assert lines == ["pi4: cannot be reached", *([] if quiet else ["pixel: done"])]


def test_a_trouble_that_was_told_is_not_told_again_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView() as view:
        view.event("pi4", Note(text="5 networks failed in a row"))
        view.event("pi4", Ended(trouble="5 networks failed in a row"))
    assert capsys.readouterr().err.splitlines() == ["pi4: 5 networks failed in a row"]


class View:
    """A view on a terminal of a size, and what stands on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def open(self, columns: int, lines: int) -> ProgressView:
        """Return a view that is not refreshed by itself."""
        self._errors = Terminal()
        for name, value in (("TERM", "xterm"), ("COLUMNS", str(columns)), ("LINES", str(lines))):
            self._monkeypatch.setenv(name, value)
        self._monkeypatch.setattr("sys.stderr", self._errors)
        self.view = ProgressView(lambda use, most: ["network", *["network"] * (most - 1)])
        return self.view

    def shown(self) -> list[str]:
        """Return the lines that stand on the terminal, without the spaces at their ends."""
        bars = self.view._progress
        rendered = bars.console.render_lines(Group(*bars.get_renderables()))
        return ["".join(one.text for one in line).rstrip() for line in rendered]

    def printed(self) -> list[str]:
        """Return the lines that were printed above."""
        return self._errors.getvalue().splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> View:
    monkeypatch.setattr(device_rows, "CHOICE_S", 0.0)
    return View(monkeypatch)


def begin(view: ProgressView, count: int) -> list[str]:
    """Begin campaigns of 60 sessions on so many devices."""
    names = [f"phone-{number:02}" for number in range(count)]
    for name in names:
        view.event(name, measuring("bconv-bconv+in/conv-conv+out/bconv-bconv+in+out"))
        view.event(name, SessionsPlanned(sessions=60))
    return names


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 40), (60, 10)])
def test_fifty_devices_fit_the_terminal_those_in_trouble_first(
    terminal: View, columns: int, lines: int
) -> None:
    view = terminal.open(columns, lines)
    names = begin(view, 50)
    view.export("onnx", 3, 82, "stem")
    view.event(names[3], Ended(trouble="cannot be reached: no route to host"))
    view.event(names[40], Attempt(number=2, attempts=5, reason="the link is lost", next_s=5.0))
    view.event(names[20], SessionDone(failure="the runtime crashed"))
    view.event(names[49], SessionDone())
    shown = terminal.shown()
    assert len(shown) < lines
    assert all(len(line) <= columns for line in shown)
    assert shown[0].startswith("export onnx")
    assert [line.split()[0] for line in shown[1:4]] == ["phone-03", "phone-20", "phone-40"]
    assert "ended: ca" in shown[1]
    assert all(" 0/60 " in line or " 1/60 " in line for line in shown[1:-1]), "counts are whole"
    assert any(line.startswith("phone-49") for line in shown[4:-1])
    assert shown[-1].startswith(
        f"{50 - len(shown) + 2} more: {50 - len(shown) + 2} at work; of all 2 of 3,000"
    )


@pytest.mark.parametrize(("columns", "lines"), [(40, 24), (40, 10)])
@pytest.mark.parametrize("count", [7, 12, 50])
def test_devices_whose_names_need_lines_of_their_own_fit_the_terminal(
    terminal: View, columns: int, lines: int, count: int
) -> None:
    view = terminal.open(columns, lines)
    names = [f"phone-{number:02}-on-the-second-shelf-in-the-lab" for number in range(count)]
    for name in names:
        view.event(name, measuring("bconv-bconv+in/conv-conv+out/bconv-bconv+in+out"))
        view.event(name, SessionsPlanned(sessions=60))
    view.export("onnx", 3, 82, "stem")
    view.event(names[-1], in_use(0.0))
    for _ in range(2):
        view.event(names[0], SessionDone())
    shown = terminal.shown()
    assert len(shown) < lines
    assert all(len(line) <= columns for line in shown)
    devices = [number for number, line in enumerate(shown) if line.endswith("-in-the-lab")]
    assert all("/60" in shown[number + 1] for number in devices), "each above its count"
    assert len(devices) == count or shown[devices[0]] == names[-1], "in trouble, so the first"
    assert len(devices) == count or shown[-1].startswith(f"{count - len(devices)} more")
    assert (len(devices) == count) == ((count, lines) == (7, 24))


def test_first_numbers_leave_room_for_many_devices(terminal: View) -> None:
    view = terminal.open(80, 24)
    begin(view, 50)
    use: Any = SimpleNamespace(title="onnxruntime int8")
    view.event("phone-07", FirstNumbers(plan=use, left=30))
    shown = terminal.shown()
    assert len(shown) < 24
    assert shown[0].startswith("phone-07, onnxruntime int8: first numbers")
    assert sum("network" in line for line in shown) >= 8
    assert sum(line.startswith("phone") for line in shown) >= 8


def test_few_devices_are_all_shown_in_their_order(terminal: View) -> None:
    view = terminal.open(80, 24)
    names = begin(view, 6)
    view.event(names[4], Ended(trouble="gone"))
    assert [line.split()[0] for line in terminal.shown()] == names


def test_a_trouble_that_a_bar_has_no_room_for_is_told_above_it_once(terminal: View) -> None:
    view = terminal.open(80, 24)
    lost = Attempt(number=1, attempts=3, reason="the link is lost", next_s=1.0)
    for event in (
        Connecting(),
        in_use(0.0),
        in_use(30.0),
        measuring("conv/conv/conv"),
        in_use(0.0),
        lost,
        replace(lost, number=2, next_s=5.0),
        replace(lost, number=3, next_s=None),
    ):
        view.event("pi4", event)
    assert terminal.printed() == [
        "pi4: waiting: in use by 'the night run'; 0:00",
        "pi4: waiting: in use by 'the night run'; 0:00",
        "pi4: attempt 1 of 3: the link is lost; next in 1 s",
        "pi4: attempt 3 of 3: the link is lost",
    ]


def test_a_hot_device_is_told_above_its_bar_once_and_again_when_another_part_is_hot(terminal: View) -> None:
    view = terminal.open(80, 24)
    cpu = {"cpu": "cpu at 60.0 C"}
    for closed in (
        cpu,
        {"cpu": "cpu at 59.5 C"},
        cpu | {"GPU 0": "GPU 0 at 70.0 C"},
        {"cpu": "cpu at 58.0 C"},
    ):
        view.event("pi4", Unready(closed=closed))
    assert terminal.printed() == [
        "pi4: waiting for the device: cpu at 60.0 C",
        "pi4: waiting for the device: cpu at 60.0 C; GPU 0 at 70.0 C",
        "pi4: waiting for the device: cpu at 58.0 C",
    ]


@pytest.mark.parametrize(
    ("event", "in_trouble", "has_line"),
    [
        (Connecting(), False, True),
        (Connecting(by="adb"), False, True),
        (Preparing(precisions=("fp32",), model_format="onnx"), False, True),
        (Sending(total_bytes=3_000_000), False, True),
        (CALIBRATING, False, True),
        (in_use(0.0), True, True),
        (Attempt(number=1, attempts=5, reason="it is lost", next_s=1.0), True, True),
        (Reconnecting(reason="it is lost"), True, True),
        (Unready(closed={"cpu": "cpu at 60.0 C"}), True, True),
        (BusyCores(), True, True),
        (measuring("waiting/attempt/reconnecting"), False, False),
        (Repeating(sessions=1, throttled=True, wait_s=90.0), False, False),
        (Activity(text="connecting two things, reconnecting them"), False, False),
    ],
)
def test_what_an_event_is_decides_whether_a_log_has_a_line_and_a_device_is_in_trouble(
    event: Event, in_trouble: bool, has_line: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView() as view:
        for _ in range(2):
            view.event("pi4", event)
        assert view._progress.rows._rows["pi4"].in_trouble == in_trouble
    assert capsys.readouterr().err == (f"pi4: {event}\n" if has_line else "")


def test_an_upload_after_something_else_that_was_told_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressView() as view:
        for event in (Sending(total_bytes=1_000_000), BusyCores(), Sending(total_bytes=1_000_000)):
            view.event("pi4", event)
    assert capsys.readouterr().err.count("sending") == 2


def test_what_a_terminal_would_obey_is_written_out_above_the_bars(terminal: View) -> None:
    terminal.open(80, 24).event("pi4", Note(text="a\x1b[2Jb\u202ec"))
    assert terminal.printed() == ["pi4: a\\x1b[2Jb\\u202ec"]

"""The view of campaigns: bars that fit a terminal, and where there is none lines for a log, one each half minute at least."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Group
from rigs.terminals import screen

from harness.output import device_rows, progress
from harness.output.progress import ProgressView


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
    with ProgressView(quiet=False) as view:
        for second in range(65):
            clock.now_s = 1000.0 + second
            for device in ("pi4", "pixel"):
                view.state(device, f"sending {second / 10:.1f} of 24.1 MB, 3:32 left, 98 KB/s")
            told += view.due() or []
    lines = capsys.readouterr().err.splitlines() + told
    assert [line.split(" of")[0] for line in lines if "pi4" in line] == [
        f"pi4: sending {megabytes}" for megabytes in ("0.0", "3.0", "6.0")
    ]
    assert len(lines) == 6


def test_a_slow_board_has_a_line_each_half_minute_with_count_and_time_left_once_it_is_known(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView(quiet=False) as view:
        view.state("board", "calibrating")
        assert view.due() == []
        clock.now_s += 31
        assert view.due() == ["board: calibrating, 0:00:31 so far"]
        view.begin("board", 20)
        for _ in range(3):
            clock.now_s += 60
            view.advance("board", "")
        clock.now_s += 29
        assert view.due() == ["board: 3 of 20 sessions, 0:04:00 so far, 0:17:00 left: calibrating"]
        assert view.due() == []
    assert capsys.readouterr().err.splitlines() == [
        "board: calibrating",
        "board: 20 sessions to measure",
        "board: 1 of 20 sessions, 0:01:31 so far",
    ]


def test_where_nothing_is_under_way_the_command_itself_may_say_that_it_is_at_work(clock: Clock) -> None:
    with ProgressView(quiet=False) as view:
        assert view.due() is None
        view.state("board", "connecting")
        clock.now_s += 31
        assert view.due() == ["board: connecting, 0:00:31 so far"]
    assert ProgressView(quiet=True).due() == []


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_bar_shows_count_and_time_left_whole_in_any_terminal(
    width: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = Terminal()
    for name, value in (("TERM", "xterm"), ("COLUMNS", str(width))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", errors)
    with ProgressView(quiet=False) as view:
        view.state("local", "connecting")
        view.begin("local", 60)
        for _ in range(3):
            clock.now_s += 10
            view.advance("local", "")
        view.state("local", "onnxruntime mbconv-mbconv+in/mbconv-mbconv+out/bconv-mbconv+out")
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
    with ProgressView(quiet=False) as view:
        view.state("local", "connecting")
        view.begin("local", 60)
    assert errors.getvalue() == "local: connecting\nlocal: 60 sessions to measure\n"
    assert not re.search(r"\x1b", errors.getvalue())


@pytest.mark.parametrize("quiet", [False, True])
def test_the_trouble_of_a_device_is_a_line_at_once_even_where_progress_is_not_shown(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView(quiet=quiet) as view:
        for name in ("pi4", "pixel"):
            view.state(name, "connecting")
        capsys.readouterr()
        view.end("pi4", "device 'pi4' (me@pi4:22): cannot be reached")
        view.end("pixel", "")
        lines = capsys.readouterr().err.splitlines()
    assert lines == ["pi4 (me@pi4:22): cannot be reached", *([] if quiet else ["pixel: done"])]


def test_a_trouble_that_was_told_is_not_told_again_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView(quiet=False) as view:
        view.tell("pi4", "device 'pi4': 5 networks failed in a row")
        view.end("pi4", "device 'pi4': 5 networks failed in a row")
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
        self.view = ProgressView(
            quiet=False, first_numbers=lambda use, most: ["network", *["network"] * (most - 1)]
        )
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
        view.state(name, "onnxruntime bconv-bconv+in/conv-conv+out/bconv-bconv+in+out")
        view.begin(name, 60)
    return names


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 40), (60, 10)])
def test_fifty_devices_fit_the_terminal_those_in_trouble_first(
    terminal: View, columns: int, lines: int
) -> None:
    view = terminal.open(columns, lines)
    names = begin(view, 50)
    view.export("onnx", 3, 82, "stem")
    view.end(names[3], "device 'phone-03': cannot be reached: no route to host")
    view.state(names[40], "attempt 2 of 5: the link is lost; next in 5 s")
    view.advance(names[20], "failed: the runtime crashed")
    view.advance(names[49], "")
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
        view.state(name, "onnxruntime bconv-bconv+in/conv-conv+out/bconv-bconv+in+out")
        view.begin(name, 60)
    view.export("onnx", 3, 82, "stem")
    view.state(names[-1], "waiting: in use by 'the night run'; 0:00")
    for _ in range(2):
        view.advance(names[0], "")
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
    view.refine("phone-07", use, 30)
    shown = terminal.shown()
    assert len(shown) < 24
    assert shown[0].startswith("phone-07, onnxruntime int8: first numbers")
    assert sum("network" in line for line in shown) >= 8
    assert sum(line.startswith("phone") for line in shown) >= 8


def test_few_devices_are_all_shown_in_their_order(terminal: View) -> None:
    view = terminal.open(80, 24)
    names = begin(view, 6)
    view.end(names[4], "device 'phone-04': gone")
    assert [line.split()[0] for line in terminal.shown()] == names


def test_a_trouble_that_a_bar_has_no_room_for_is_told_above_it_once(terminal: View) -> None:
    view = terminal.open(80, 24)
    for text in (
        "connecting",
        "waiting: in use by 'the night run'; 0:00",
        "waiting: in use by 'the night run'; 0:30",
        "onnxruntime conv/conv/conv",
        "waiting: in use by 'the night run'; 0:00",
        "attempt 1 of 5: the link is lost",
    ):
        view.state("pi4", text)
    assert terminal.printed() == [
        "pi4: waiting: in use by 'the night run'; 0:00",
        "pi4: waiting: in use by 'the night run'; 0:00",
        "pi4: attempt 1 of 5: the link is lost",
    ]


def test_what_a_terminal_would_obey_is_written_out_above_the_bars(terminal: View) -> None:
    terminal.open(80, 24).tell("pi4", "a\x1b[2Jb\u202ec")
    assert terminal.printed() == ["pi4: a\\x1b[2Jb\\u202ec"]

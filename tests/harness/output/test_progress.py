"""The view of campaigns: bars that fit a terminal, and where there is none lines for a log, one each half minute at least."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rigs.terminals import screen

from harness.output import progress
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
def test_a_terminal_that_cannot_write_over_lines_and_a_coloured_log_get_plain_lines(
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

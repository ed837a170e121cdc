"""Progress of campaigns: lines for a log where there is no terminal, and as much as fits where there is one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, Group
from rich.table import Table

from harness.output import device_rows, progress
from harness.output.progress import ProgressView


def test_an_upload_is_told_at_first_and_then_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with ProgressView(quiet=False) as view:
        for second in range(65):
            now[0] = 1000.0 + second
            for device in ("pi4", "pixel"):
                view.state(device, f"sending {second / 10:.1f} of 24.1 MB, 3:32 left, 98 KB/s")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of")[0] for line in lines if "pi4" in line] == [
        f"pi4: sending {megabytes}" for megabytes in ("0.0", "3.0", "6.0")
    ]
    assert len(lines) == 6


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


class Terminal:
    """A view on a terminal of a size, and what stands on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def open(self, columns: int, lines: int) -> ProgressView:
        """Return a view that is not refreshed by itself."""
        console = Console(
            file=io.StringIO(), force_terminal=True, width=columns, height=lines, color_system=None
        )
        self._monkeypatch.setattr(progress, "Console", lambda **_: console)
        self._console = console

        def first_numbers(use: Any, most: int) -> Table:
            few = Table("network", box=None)
            for number in range(most - 1):
                few.add_row(f"network {number}")
            return few

        self.view = ProgressView(quiet=False, first_numbers=first_numbers)
        return self.view

    def shown(self) -> list[str]:
        """Return the lines that stand on the terminal, without the spaces at their ends."""
        rendered = self._console.render_lines(Group(*self.view._progress.get_renderables()))
        return ["".join(one.text for one in line).rstrip() for line in rendered]

    def printed(self) -> list[str]:
        """Return the lines that were printed above."""
        return self._console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(device_rows, "CHOICE_S", 0.0)
    return Terminal(monkeypatch)


def begin(view: ProgressView, count: int) -> list[str]:
    """Begin campaigns of 60 sessions on so many devices."""
    names = [f"phone-{number:02}" for number in range(count)]
    for name in names:
        view.state(name, "onnxruntime bconv-bconv+in/conv-conv+out/bconv-bconv+in+out")
        view.begin(name, 60)
    return names


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 40), (60, 10)])
def test_fifty_devices_fit_the_terminal_those_in_trouble_first(
    terminal: Terminal, columns: int, lines: int
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


def test_first_numbers_leave_room_for_many_devices(terminal: Terminal) -> None:
    view = terminal.open(80, 24)
    begin(view, 50)
    use: Any = SimpleNamespace(configuration=SimpleNamespace(runtime="onnxruntime"))
    view.refine("phone-07", use, 30)
    shown = terminal.shown()
    assert len(shown) < 24
    assert shown[0].startswith("phone-07, onnxruntime: first numbers")
    assert sum("network" in line for line in shown) >= 8
    assert sum(line.startswith("phone") for line in shown) >= 8


def test_few_devices_are_all_shown_in_their_order(terminal: Terminal) -> None:
    view = terminal.open(80, 24)
    names = begin(view, 6)
    view.end(names[4], "device 'phone-04': gone")
    assert [line.split()[0] for line in terminal.shown()] == names


def test_a_trouble_that_a_bar_has_no_room_for_is_told_above_it_once(terminal: Terminal) -> None:
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

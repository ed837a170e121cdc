"""Tables in terminals of any width: names and numbers stay whole, and what a narrow one leaves out is named."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from harness.output.tables import SPARE_COLUMNS, print_table

NETWORK = "mbconv-mbconv+in/mbconv-mbconv+out/bconv-mbconv+out"
COLUMNS = ["network", "latency ms", "95 % interval", "+-", "grade", "ratio", "wall ms", "p90 ms", "sessions"]
ROW = [NETWORK, "2.943", "2.875 .. 3.015", "2.4%", "B", "1.2441", "3.105", "3.254", "3"]
Show = Callable[..., tuple[str, str]]


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return what a terminal of some width, or a pipe for 0, gets of a table, and what stands on standard error."""

    def show(
        width: int, columns: list[str] = COLUMNS, row: list[str] = ROW, **rest: object
    ) -> tuple[str, str]:
        output, errors = (Terminal() if width else io.StringIO()), io.StringIO()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width or 40))
        monkeypatch.setattr("sys.stdout", output)
        monkeypatch.setattr("sys.stderr", errors)
        print_table("title", columns, [row], **rest)  # type: ignore[arg-type]
        return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()), errors.getvalue()

    return show


def test_in_80_columns_a_table_of_latencies_keeps_the_network_the_latency_and_its_grade(shown: Show) -> None:
    table, note = shown(80, spare=SPARE_COLUMNS)
    assert table.splitlines()[-1].split() == [NETWORK, "2.943", "2.4%", "B"]
    assert max(map(len, table.splitlines())) <= 80
    assert all(column in note for column in SPARE_COLUMNS)


@pytest.mark.parametrize("width", [0, 130])
def test_a_pipe_and_a_wide_terminal_get_every_column(shown: Show, width: int) -> None:
    table, note = shown(width, spare=SPARE_COLUMNS)
    assert [word for word in table.splitlines()[-1].split() if word != ".."] == [
        word for cell in ROW for word in cell.split() if word != ".."
    ]
    assert note == ""


def test_of_columns_that_can_be_spared_a_terminal_lacks_only_those_that_do_not_fit(shown: Show) -> None:
    _, note = shown(105, spare=SPARE_COLUMNS)
    assert note.endswith("p90 ms, wall ms, ratio\n")


def test_a_name_is_whole_however_narrow_the_terminal(shown: Show) -> None:
    for width in (20, 80):
        assert NETWORK in shown(width)[0]


def test_beside_a_whole_name_long_text_is_folded_to_the_terminal(shown: Show) -> None:
    message = "the agent ended " * 20
    table, _ = shown(80, ["network", "message"], [NETWORK, message], right=())
    assert NETWORK in table
    assert max(map(len, table.splitlines())) <= 80
    assert " ".join(table.replace(NETWORK, "").split()).count("agent ended") == 20


def test_a_word_within_a_text_is_not_folded(shown: Show) -> None:
    columns = ["name", "transport", "where", "runtimes", "threads", "description"]
    row = ["pi4", "ssh", "pi@192.168.1.40:22", "onnxruntime:cuda, tflite", "4", "Raspberry Pi 4, 4 GB"]
    table, note = shown(80, columns, row, right=(), spare=("description",))
    assert "pi@192.168.1.40:22" in table and "onnxruntime:cuda," in table
    assert max(map(len, table.splitlines())) <= 80 and note == ""
    table, note = shown(60, columns, row, right=(), spare=("description",))
    assert "onnxruntime:cuda," in table and "Raspberry" not in table and "description" in note


def test_a_column_s_name_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title [b]", ["network", "acc[test]"], [["a[red]", "[1]"]])
    shown = capsys.readouterr().out
    for text in ("title [b]", "acc[test]", "a[red]", "[1]"):
        assert text in shown

"""Tables in terminals of any width: names and numbers stay whole, and what a narrow one leaves out is named."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import pytest

from harness.output.layout import PrintedTable, lay_out
from harness.output.tables import SPARE_COLUMNS, interval_text, ms_text, print_table, ratio_text, with_error
from harness.output.terminal import console

NETWORK = "mbconv-mbconv+in/mbconv-mbconv+out/bconv-mbconv+out"
LONGEST = "mbconv-mbconv+in+out/mbconv-mbconv+in+out/mbconv-mbconv+in+out"
COLUMNS = [
    "network",
    "latency ms",
    "95 % interval",
    "+-",
    "grade",
    "ratio",
    "ratio +-",
    "wall ms",
    "p90 ms",
    "sessions",
]
ROW = [NETWORK, "2.943", "2.875 .. 3.015", "2.4%", "B", "1.2441", "0.9%", "3.105", "3.254", "3"]
Show = Callable[..., tuple[str, str]]


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def table(columns: Sequence[str] = COLUMNS, *rows: Sequence[str], **rest: Sequence[int]) -> PrintedTable:
    return PrintedTable(title="title", columns=columns, rows=rows or [ROW], spare=SPARE_COLUMNS, **rest)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return what a terminal of some width, or a pipe for 0, gets of a table, and what stands on standard error."""

    def show(width: int, one: PrintedTable, *, wide: bool = False) -> tuple[str, str]:
        output, errors = (Terminal() if width else io.StringIO()), io.StringIO()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width or 40))
        monkeypatch.setattr("sys.stdout", output)
        monkeypatch.setattr("sys.stderr", errors)
        monkeypatch.setattr(console, "is_wide", wide)
        print_table(one)
        return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()), errors.getvalue()

    return show


def test_in_80_columns_a_table_of_latencies_keeps_the_network_the_latency_and_its_grade(shown: Show) -> None:
    text, note = shown(80, table())
    assert text.splitlines()[-1].split() == [NETWORK, "2.943", "2.4%", "B"]
    assert max(map(len, text.splitlines())) <= 80
    assert all(column in note for column in SPARE_COLUMNS[:-2] if column in COLUMNS) and "--wide" in note


def test_the_longest_name_of_blox_has_its_latency_and_grade_beside_it_in_80_columns(shown: Show) -> None:
    text, note = shown(80, table(COLUMNS, [LONGEST, *ROW[1:]]))
    assert text.splitlines()[-1].split() == [LONGEST, "2.943", "B"]
    assert text.splitlines()[1:3] == [f"{'network':62}  latency  grade", " " * 69 + "ms"]
    assert "+-" in note


@pytest.mark.parametrize(("width", "wide"), [(0, False), (140, False), (80, True), (20, True)])
def test_a_pipe_a_wide_terminal_and_wide_get_every_column(shown: Show, width: int, wide: bool) -> None:
    text, note = shown(width, table(), wide=wide)
    assert text.splitlines()[-1].split() == [word for cell in ROW for word in cell.split()]
    assert note == ""


def test_of_columns_that_can_be_spared_a_terminal_lacks_only_those_that_do_not_fit(shown: Show) -> None:
    assert (
        shown(105, table())[1]
        == "left out for lack of room: ratio, ratio +-, wall ms, p90 ms (--wide shows all)\n"
    )


def test_in_a_terminal_narrower_than_the_names_the_numbers_stand_below_them(shown: Show) -> None:
    text, note = shown(40, table(COLUMNS, [LONGEST, *ROW[1:]], ROW))
    lines = text.splitlines()
    assert lines[1:4] == ["network", "  latency   95 % interval    +-  grade", "       ms"]
    numbers = "    2.943  2.875 .. 3.015  2.4%      B"
    assert lines[4:] == [LONGEST, numbers, NETWORK, numbers]
    assert all(len(line) <= 40 for line in lines if line not in (LONGEST, NETWORK))
    assert "p90 ms" in note


def test_where_not_even_that_fits_each_number_stands_behind_its_title(shown: Show) -> None:
    columns = ["network", *(f"a-device-with-a-name-{number} ms" for number in range(3))]
    text, note = shown(
        40, PrintedTable(title="", columns=columns, rows=[[NETWORK, "1.234", "2.345", "3.456"]])
    )
    assert text.splitlines()[-4:] == [
        NETWORK,
        *(f"  {a} {b}" for a, b in zip(columns[1:], ["1.234", "2.345", "3.456"], strict=True)),
    ]
    assert note == ""


def test_long_text_is_folded_between_words_and_none_is_lost() -> None:
    message = "the agent ended " * 20
    for width in (40, 80, 200):
        found = lay_out(table(["network", "message"], [NETWORK, message], right=(), folds=(1,)), width)
        lines = found.head + found.body
        assert sum(NETWORK in line for line in lines) == 1
        assert all(len(line) <= width or line == NETWORK for line in lines)
        assert " ".join(" ".join(lines).replace(NETWORK, "").split()).count("agent ended") == 20


def test_a_name_or_a_command_line_within_a_text_is_not_folded() -> None:
    command = f"harness measure --device pi4 --models {LONGEST}"
    row = ["pi4", f"{NETWORK} was not measured, nor was {LONGEST}; measure them: {command}"]
    for width in (30, 60, 100):
        body = "\n".join(lay_out(table(["device", "problem"], row, folds=(1,)), width).body)
        assert NETWORK in body and command in body


def test_of_two_texts_neither_is_narrower_than_its_longest_word() -> None:
    row = ["pi4", "word " * 30, "onnxruntime:cuda-with-tensorrt-8.6"]
    found = lay_out(table(["device", "problem", "runtimes"], row, right=(), folds=(1, 2)), 80)
    assert max(map(len, found.head + found.body)) <= 80 and row[2] in "\n".join(found.body)
    assert found.head[0].startswith("device  problem")


TITLES = ("fp32 ms", "95 % interval", "p90 ms", "first run ms", "in 10 %", "int8 of fp32", "stage 3 ms apart")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_titles_of_several_words_make_no_line_wider_than_the_terminal(count: int) -> None:
    for titles in (permutations if count < 4 else combinations)(TITLES, count):
        columns = ["network", *titles]
        cells = [["conv/conv", *["1.5"] * count], ["bconv/bconv+in", *["12.25"] * count]]
        for width in range(16, 64, 5):
            found = lay_out(PrintedTable(title="", columns=columns, rows=cells), width)
            lines = [*found.head, *found.body]
            assert max(map(len, lines)) <= width, (titles, lines)
            told = " ".join(" ".join(lines).split())
            assert all(number in told for number in ("1.5", "12.25"))


def test_a_column_with_nothing_in_it_takes_no_room_in_a_terminal() -> None:
    one = PrintedTable(title="", columns=["network", "prior", "ms"], rows=[["a", "", "1"], ["b", "", "2"]])
    assert lay_out(one, 80).head == ["network  ms"]
    assert lay_out(one, None).head == ["network  prior  ms"]


def test_texts_are_texts_and_no_markup_and_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(
        PrintedTable(title="title [b]", columns=["network", "acc[test]"], rows=[["a[red]", "[1]\x1b[31m\n"]])
    )
    shown = capsys.readouterr().out
    for text in ("title [b]", "acc[test]", "a[red]", "[1]", r"\x1b[31m"):
        assert text in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        (45.0, 0.0031, "45.0000 +- 0.0031"),
        (45.26, 1.34, "45.3 +- 1.3"),
        (1234.5, 120.0, "1234 +- 120"),
        (2.0, 0.0, "2.000 +- 0.000"),
    ],
)
def test_a_value_has_the_digits_that_its_error_leaves_it(value: float, error: float, told: str) -> None:
    assert with_error(value, error) == told


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (12.3456, "12.346"),
        (0.5, "0.500"),
        (0.09999, "0.1000"),
        (0.0204, "0.0204"),
        (0.000913, "0.000913"),
        (0, "0.000"),
    ],
)
def test_short_latencies_have_three_digits(ms: float, text: str) -> None:
    assert ms_text(ms) == text
    assert interval_text(0.0198, 0.0204) == "0.0198 .. 0.0204"


def test_ratios_of_models_a_thousand_times_apart_keep_their_digits() -> None:
    assert [ratio_text(one) for one in (1.2441, 0.8337, 0.00017086, 5852.66679)] == [
        "1.2441",
        "0.8337",
        "0.0001709",
        "5852.6668",
    ]

"""A line of progress in any width: the count and the time left are whole, the text comes last."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.output.bars import Bars, Standing, bar_lines, sentence

ONE = Standing(
    name="local",
    done=21,
    total=60,
    noun="sessions",
    elapsed_s=372.4,
    left_s=860,
    text="onnxruntime conv/conv/conv-conv+in",
)


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", ["local", "a-board-in-the-lab-of-the-second-floor"])
def test_count_and_time_left_are_whole_and_no_line_is_wider(name: str, width: int) -> None:
    lines = bar_lines(replace(ONE, name=name), width, unicode=True)
    text = "\n".join(lines)
    assert "21/60" in text and "0:14:20 left" in text and name in text
    assert all(len(line) <= width or line == name for line in lines)
    assert len(lines) == 1 or (len(name) > 20 and width < 60)


def test_80_columns_hold_the_bar_all_numbers_and_some_of_the_text() -> None:
    (line,) = bar_lines(ONE, 80, unicode=True)
    assert line == "local ━━━━━━━━──────────────── 21/60 0:06:12 0:14:20 left onnxruntime …"
    (line,) = bar_lines(ONE, 80, unicode=False)
    assert line == "local ========---------------- 21/60 0:06:12 0:14:20 left onnxruntime ..."


def test_nothing_is_called_left_before_it_is_known() -> None:
    for width in (40, 80, 200):
        for one in (replace(ONE, left_s=None), replace(ONE, left_s=None, total=None, done=0)):
            assert "left" not in bar_lines(one, width, unicode=True)[-1]
            assert "left" not in sentence(one)
    assert bar_lines(replace(ONE, left_s=None, total=None, text="calibrating"), 80, unicode=True) == [
        "local 0:06:12 calibrating"
    ]


def test_sessions_of_another_runtime_that_are_not_counted_yet_are_named_in_place_of_a_time_left() -> None:
    one = replace(ONE, left_s=None, later=("tflite", "memory"))
    assert bar_lines(one, 80, unicode=True) == [
        "local ━━━━━━━━──────────────── 21/60 + tflite sessions 0:06:12 onnxruntime …"
    ]
    assert sentence(one).startswith("local: 21 of 60 sessions and those of tflite, 0:06:12 so far: onnx")


def test_a_log_has_the_same_in_words() -> None:
    assert sentence(ONE) == (
        "local: 21 of 60 sessions, 0:06:12 so far, 0:14:20 left: onnxruntime conv/conv/conv-conv+in"
    )
    assert (
        sentence(replace(ONE, left_s=None, total=None, text="calibrating"))
        == "local: calibrating, 0:06:12 so far"
    )


def test_what_a_name_would_do_to_a_terminal_is_written_out() -> None:
    bars = Bars()
    bars.update(bars.begin("local", "sessions"), description="onnxruntime e\x1b[31mvil\u202e.onnx")
    assert bars.standing(bars.tasks[0]).text == r"onnxruntime e\x1b[31mvil\u202e.onnx"

"""Which devices a terminal shows where not all fit."""

from __future__ import annotations

import pytest

from harness.output.device_rows import DeviceRow, choose_rows, rest_text


def rows(count: int) -> list[DeviceRow]:
    """Return devices at work, the later the newer their news."""
    return [DeviceRow(name=f"d{number}", news=number, done=1, total=3) for number in range(count)]


def names(chosen: list[DeviceRow]) -> list[str]:
    return [row.name for row in chosen]


def test_all_are_shown_where_they_fit_and_nothing_is_counted() -> None:
    every = rows(5)
    every[3].in_trouble = True
    assert names(choose_rows(every, 5)) == ["d0", "d1", "d2", "d3", "d4"]
    assert rest_text(every, choose_rows(every, 5), 80) == ""


def test_those_in_trouble_come_first_then_those_with_news_in_their_order() -> None:
    every = rows(9)
    every[7].in_trouble = every[0].in_trouble = True
    shown = choose_rows(every, 6)
    assert names(shown) == ["d0", "d7", "d5", "d6", "d8"]
    assert rest_text(every, shown, 80) == "4 more: 4 at work; of all 9 of 27 sessions"


def test_of_many_in_trouble_the_latest_are_shown_and_some_at_work_beside_them() -> None:
    every = rows(20)
    for row in every[:15]:
        row.in_trouble = True
    every[14].has_ended = True
    every[19].has_ended = True
    shown = choose_rows(every, 7)
    assert names(shown) == ["d10", "d11", "d12", "d13", "d17", "d18"]
    assert (
        rest_text(every, shown, 80) == "14 more: 11 in trouble, 2 at work, 1 done; of all 20 of 60 sessions"
    )


def test_the_line_on_the_rest_is_never_cut() -> None:
    every = rows(20)
    for row in every[:15]:
        row.in_trouble = True
    every[19].has_ended = True
    whole = "20 more: 15 in trouble, 4 at work, 1 done; of all 20 of 60 sessions"
    for width in range(1, 80):
        text = rest_text(every, [], width)
        assert len(text) <= max(width, len("20 more"))
        assert text in (whole, whole.partition(";")[0], "20 more: 15 in trouble", "20 more")
    assert rest_text(every, [], 40) == "20 more: 15 in trouble"


def test_those_that_are_done_give_way() -> None:
    every = rows(6)
    for row in every[3:]:
        row.has_ended = True
    assert names(choose_rows(every, 4)) == ["d0", "d1", "d2"]


@pytest.mark.parametrize("lines", [0, 1])
def test_without_room_all_are_counted(lines: int) -> None:
    every = rows(3)
    for row in every:
        row.done = row.total = 0
    assert choose_rows(every, lines) == []
    assert rest_text(every, [], 80) == "3 more: 3 at work"

"""A command says at least every half minute that it is at work, unless it shows bars or has said something else."""

from __future__ import annotations

import pytest

from harness.output import heartbeat
from harness.output.heartbeat import due_lines, speaking
from harness.output.terminal import console


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "last_line_s", 100.0)
    monkeypatch.setattr(heartbeat, "_speakers", [])
    monkeypatch.setattr(heartbeat, "_under_way_s", [0.0])


@pytest.mark.usefixtures("silent")
def test_what_has_printed_nothing_for_half_a_minute_says_that_it_is_at_work() -> None:
    assert due_lines(125.0, 60.0) == []
    assert due_lines(130.0, 60.0) == ["at work, 0:01:10 so far"]
    assert due_lines(130.0, 110.0) == [], "it has just begun"


@pytest.mark.usefixtures("silent")
def test_a_view_speaks_for_the_command_while_it_is_shown() -> None:
    with speaking(lambda: ["local: 1 of 3 sessions"]):
        assert due_lines(101.0, 60.0) == ["local: 1 of 3 sessions"]
        with speaking(lambda: []):
            assert due_lines(400.0, 60.0) == [], "bars move, nothing is to be said"
        with speaking(lambda: None):
            assert due_lines(429.0, 60.0) == [], "bars moved until just now"
            assert due_lines(430.0, 60.0) == ["at work, 0:06:10 so far"]
    assert due_lines(101.0, 60.0) == []

"""Words of messages."""

from __future__ import annotations

from space.text import counted


def test_a_number_and_what_it_counts_agree() -> None:
    assert [counted(count, "finalist") for count in (0, 1, 2)] == ["0 finalists", "1 finalist", "2 finalists"]
    assert counted(1, "library", "libraries") == "1 library"
    assert counted(1024, "library", "libraries") == "1,024 libraries"

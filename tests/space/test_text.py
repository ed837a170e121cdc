"""Words of messages."""

from __future__ import annotations

import zipfile

from space.text import agreeing, counted, reason_of


def test_a_number_and_what_it_counts_agree() -> None:
    assert [counted(count, "finalist") for count in (0, 1, 2)] == ["0 finalists", "1 finalist", "2 finalists"]
    assert counted(1, "library", "libraries") == "1 library"
    assert [agreeing(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]
    assert counted(1024, "library", "libraries") == "1,024 libraries"


def test_what_a_library_says_is_told_in_one_printable_line_of_some_length() -> None:
    quoted = zipfile.BadZipFile(f"File name in directory 'a' and header {bytes(5000)!r} differ.")
    assert reason_of(quoted).startswith("File name in directory 'a' and header")
    assert len(reason_of(quoted)) == 200
    assert reason_of(ValueError("\x1b[2J\nmore")) == r"\x1b[2J"
    assert reason_of(EOFError()) == "EOFError"

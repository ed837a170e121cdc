"""Files are there whole or not at all: a writer that fails leaves the former file and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from space.whole_files import partials, write_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    write_whole(path, b"old")
    write_whole(path, memoryview(b"new content"))
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_writer_that_fails_leaves_the_former_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "data.bin"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if fault == "fsync" else Path, fault, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writers_own_traces_are_found_where_it_cannot_remove_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", gone)
    monkeypatch.setattr(Path, "unlink", gone)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "data.bin", b"new")
    (left,) = tmp_path.iterdir()
    assert partials(tmp_path / "data.bin") == [left]


def test_what_a_killed_writer_left_is_found_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "data[1].bin"
    left = tmp_path / ".data[1].bin.0123abcd.partial"
    for other in (left, tmp_path / ".data2.bin.0123abcd.partial", tmp_path / "data[1].bin"):
        other.write_bytes(b"half")
    assert partials(path) == [left]

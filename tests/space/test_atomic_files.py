"""Files are there whole or not at all: a writer that fails leaves the former file and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from space.atomic_files import new_folder, partials, write_file, write_whole
from space.errors import ConfigError, DatasetError


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


def test_a_file_that_cannot_be_written_is_refused_with_reason_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "none" / "data.bin"
    with pytest.raises(
        ConfigError, match=r"none/data\.bin: cannot be written: No such .*; check the folder$"
    ):
        write_file(path, b"new")
    write_file(path, b"old", make_folder=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"the disk is full: free 3 bytes there.*; the former file stays"):
        write_file(path, b"new", error=DatasetError)
    assert path.read_bytes() == b"old"


def test_a_folder_is_there_when_all_of_it_is_written(tmp_path: Path) -> None:
    output = tmp_path / "answer"
    with new_folder(output) as folder:
        (folder / "file").write_text("all")
        assert not output.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["answer", "file"]


def test_a_folder_of_which_a_part_fails_is_not_there_at_all(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"answer: cannot be written: .*; name another folder")
    with refused, new_folder(tmp_path / "answer") as folder:
        (folder / "file").write_text("some")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), new_folder(tmp_path / "answer") as folder:
        raise KeyError
    assert list(tmp_path.iterdir()) == []

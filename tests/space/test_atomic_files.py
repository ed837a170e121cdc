"""Files are there whole or not at all: a writer that fails leaves the former file and nothing beside it."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from rigs.read_only import read_only

from space.atomic_files import check_output_file, holds_file, new_folder, partials, write_file, write_whole
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


def test_what_could_not_be_written_is_refused_before_its_content_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "fifo")
    for path in (
        None,
        *(tmp_path / name for name in ("new", "no/such/new", "file", "link", "fifo")),
        Path("/dev/null"),
    ):
        check_output_file(path)
    for path, reason in (
        (tmp_path, "Is a directory; name another file"),
        (tmp_path / "file" / "new", "Not a directory"),
        (tmp_path / "file" / "no" / "new", "Not a directory"),
        (tmp_path / "circle", "Too many levels of symbolic links"),
    ):
        with pytest.raises(ConfigError, match=reason):
            check_output_file(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="new: cannot be written: Permission denied; this account may not"):
        check_output_file(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "fifo", "file", "link"]


@pytest.mark.parametrize(
    "content",
    [b"SQLite format 3\0", b"\x1c\0\0\0TFL3", b"\x08\x0a\x12\x05torch", b"PK\x03\x04", b"\x1f\x8b\x08"],
)
def test_text_takes_the_place_of_no_model_store_or_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"mine: is there and is no text: .* would be lost; name another file"
    ):
        check_output_file(path)
    if content.startswith(b"SQLite"):
        with pytest.raises(ConfigError, match="a store"):
            check_output_file(path, is_text=False)
    else:
        check_output_file(path, is_text=False)
    path.write_text("a,b\n\tä\r\n")
    check_output_file(path)
    assert path.read_text() == "a,b\n\tä\n"


def test_what_is_read_is_not_replaced_by_what_is_made_of_it(tmp_path: Path) -> None:
    read = tmp_path / "accuracies.csv"
    read.write_text("architecture,accuracy\n")
    (tmp_path / "link").symlink_to(read)
    for path in (read, tmp_path / "link"):
        with pytest.raises(ConfigError, match="is read here, and would be replaced; name another file"):
            check_output_file(path, inputs=["synthetic", str(read)], is_text=False)
    check_output_file(tmp_path / "other.csv", inputs=[read])


def test_a_file_named_as_of_another_kind_than_is_written_is_refused(tmp_path: Path) -> None:
    for name in ("mine.csv", "a.JSON", "report.png"):
        with pytest.raises(
            ConfigError, match=r"what is written is no \.\w+; name a file that ends in \.html"
        ):
            check_output_file(tmp_path / name, ".html")
    for name in ("a.html", "a.htm", "a", "a.txt", "v1.2"):
        check_output_file(tmp_path / name, ".html")


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
    path = tmp_path / "new" / "data.bin"
    write_file(path, b"old")
    with pytest.raises(
        ConfigError, match=r"bin/under: cannot be written: Not a directory; check the folder$"
    ):
        write_file(path / "under", b"new")

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
    refused = pytest.raises(ConfigError, match=r"answer: cannot be written: .*; the disk is full")
    with refused, new_folder(tmp_path / "answer") as folder:
        (folder / "file").write_text("some")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), new_folder(tmp_path / "answer") as folder:
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_fifo_is_written_through_and_stays_one(tmp_path: Path) -> None:
    path, got = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_whole(path, b"content")
    reader.join(10)
    assert got == [b"content"] and path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_through_and_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for path in (Path("/dev/null"), link):
        write_whole(path, b"content")
        assert path.is_char_device() and not holds_file(path)
    with pytest.raises(ConfigError, match=r"/dev/full: cannot be written: .*the disk is full"):
        write_file(Path("/dev/full"), b"content")


def test_the_shell_s_redirected_output_is_appended_to(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as file:
        file.write(b"first,")
        file.flush()
        write_whole(Path(f"/proc/self/fd/{file.fileno()}"), b"then")
    assert (tmp_path / "log").read_bytes() == b"first,then"


def test_a_former_files_mode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    for mode in (0o600, 0o644, 0o755):
        path.chmod(mode)
        write_whole(path, b"new")
        assert path.stat().st_mode & 0o7777 == mode


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    link.symlink_to(target.name)
    dangling.symlink_to("made")
    for path in (link, dangling):
        write_whole(path, b"new")
        assert path.is_symlink() and path.read_bytes() == b"new"
    assert target.read_bytes() == (tmp_path / "made").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_fsync_is_written_to(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unsupported)
    write_whole(tmp_path / "data.bin", b"new")
    assert (tmp_path / "data.bin").read_bytes() == b"new"


def test_a_folder_that_may_not_be_read_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def open_files(path: str | Path, *rest: int) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", open_files)
    write_whole(tmp_path / "data.bin", b"new")
    assert (tmp_path / "data.bin").read_bytes() == b"new"


def test_what_is_there_is_told_or_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert holds_file(tmp_path / "file")
    assert not any(map(holds_file, (tmp_path, tmp_path / "none", tmp_path / "file" / "below")))
    with pytest.raises(ConfigError, match="xxx: cannot be written: File name too long; give it a shorter"):
        holds_file(tmp_path / ("x" * 300))


def test_a_read_only_file_system_is_not_told_as_a_matter_of_the_account(tmp_path: Path) -> None:
    reason = "Read-only file system" if os.geteuid() == 0 else "Permission denied"
    with read_only(tmp_path), pytest.raises(ConfigError, match=reason):
        check_output_file(tmp_path / "page.html")

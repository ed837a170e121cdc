"""Text is read as people keep it: with or without a mark, CRLF, packed, or from standard input."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest

from harness.devices.config import load_devices
from space import BLOX
from space.accuracies import load_accuracies
from space.dataset import bench_dataset, read_dataset, write_dataset
from space.dataset.files import read_header
from space.errors import ArchitectureError, ConfigError, DatasetError
from space.selection import select_models
from space.text_files import lines_of_list, read_text

TEXT = "a,b\n1,2\n"
WAYS = {
    "plain": TEXT.encode(),
    "marked": b"\xef\xbb\xbf" + TEXT.encode(),
    "crlf": TEXT.replace("\n", "\r\n").encode(),
    "packed.GZ": gzip.compress(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_text_is_the_same_however_it_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WAYS[name])
    assert read_text(tmp_path / name) == TEXT


def test_standard_input_is_read_as_a_file_and_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, WAYS["marked"])
    assert read_text(Path("-")) == read_text(Path("-")) == TEXT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\n\xff\xfe", r"is not UTF-8 text \(line 2: byte 0xff\); save it as plain text"),
        (b"x" * 11, "holds more than 10 bytes; check that it is the right file"),
    ],
)
def test_what_is_no_text_is_refused_by_name(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigError, match=f"x: .*{reason}"):
        read_text(tmp_path / "x", most=10)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"a" * 5, mtime=0)[:-9], b"\x1f\x8b\x08" + bytes(20)],
    ids=["no gzip", "cut", "empty"],
)
def test_a_packed_text_that_is_damaged_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.gz: cannot be read: .+; check the path"):
        read_text(tmp_path / "x.gz")


def test_a_packed_text_is_unpacked_no_further_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(ConfigError, match="holds more than 1000 bytes"):
        read_text(tmp_path / "x.gz", most=1000)


def test_a_list_has_comments_and_empty_lines() -> None:
    assert lines_of_list("# all\n\n a # first\nb\n") == [(3, "a"), (4, "b")]


def test_a_selection_is_read_from_a_packed_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\ufeff# mine\r\n7\r\n\r\n9 # second\r\n".encode()
    (tmp_path / "nets.txt.gz").write_bytes(gzip.compress(text))
    expected = select_models("7,9")
    assert select_models(f"file:{tmp_path}/nets.txt.gz") == expected
    stdin(monkeypatch, text)
    assert select_models("file:-") == expected
    monkeypatch.setenv("NETS", str(tmp_path))
    assert select_models("file:$NETS/nets.txt.gz") == expected
    with pytest.raises(ArchitectureError, match="line 1"):
        stdin(monkeypatch, b"not/a/network\n")
        select_models("file:-")


@pytest.mark.parametrize("name", ["mine.CSV", "mine.csv.gz", "-"])
def test_an_own_table_is_read_whatever_its_suffix_looks_like(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\ufeffindex,acc\r\n3,90\r\n4,91\r\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    stdin(monkeypatch, text)
    found = load_accuracies("-" if name == "-" else tmp_path / name)
    assert found.values[[3, 4]].tolist() == [90, 91]


@pytest.mark.parametrize("suffix", ["csv", "CSV", "csv.gz"])
def test_a_published_csv_that_went_through_an_editor_is_read(suffix: str, tmp_path: Path) -> None:
    data = bench_dataset("pi4", [3, 4], [0.25, 0.5], BLOX)
    path = tmp_path / f"blox-bench-pi4.{suffix}"
    write_dataset(tmp_path / "x.csv", data)
    content = (tmp_path / "x.csv").read_bytes()
    edited = b"\xef\xbb\xbf" + content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(gzip.compress(edited) if suffix.endswith("gz") else edited)
    assert read_header(path).dataset_type == "benchmarking"
    found = read_dataset(path)
    assert found.indices.tolist() == [3, 4] and found.array("latency").tolist() == [0.25, 0.5]


def test_a_packed_published_file_may_not_hold_more_than_its_rows(tmp_path: Path) -> None:
    write_dataset(tmp_path / "x.csv", bench_dataset("pi4", [3], [0.25], BLOX))
    packed = gzip.compress((tmp_path / "x.csv").read_bytes() + bytes(100 << 20), 1)
    (tmp_path / "x.csv.gz").write_bytes(packed)
    with pytest.raises(DatasetError, match=r"or more bytes, and 91125 rows .* do not trust"):
        read_dataset(tmp_path / "x.csv.gz")


def test_a_devices_file_may_begin_with_a_mark_and_have_crlf(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_bytes('\ufeff[devices.a]\r\ntransport = "ssh"\r\naddress = "a"\r\n'.encode())
    assert "a" in load_devices(path)


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

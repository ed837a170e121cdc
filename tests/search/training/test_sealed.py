"""Sealed files: what is written reads back, nothing else does, and equal content has one digest."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rigs.no_plain_files import KINDS, no_plain_file

from search.training.sealed import content_digest, read_sealed, seal, unseal, write_sealed
from space.errors import ConfigError

CONTENT: dict[str, Any] = {
    "name": "m\u00e4\u00dfig",
    "numbers": [1, 2.5, True, None, -0.0],
    "states": ({"a.weight": torch.arange(6.0).reshape(2, 3)}, {3: torch.tensor(7)}),
    "none": torch.zeros(0, 4),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
}


def test_what_is_sealed_reads_back_equal_and_has_the_same_digest() -> None:
    found = unseal("thing", seal("thing", CONTENT), "it")
    assert found["name"] == CONTENT["name"] and found["numbers"] == CONTENT["numbers"]
    assert torch.equal(found["states"][0]["a.weight"], CONTENT["states"][0]["a.weight"])
    assert found["states"][1][3].shape == () and found["half"].dtype == torch.bfloat16
    assert content_digest(found) == content_digest(CONTENT)
    assert unseal("thing", memoryview(seal("thing", CONTENT)), "it").keys() == CONTENT.keys()


def test_a_file_is_headed_by_its_kind_and_the_digest_of_the_rest() -> None:
    first, second, rest = seal("block library", CONTENT).split(b"\n", 2)
    assert first == b"harness block library 1"
    assert second.decode() == hashlib.sha256(rest).hexdigest()


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": (1, 2)}, {"a": [1, 2]}, True),
        ({"a": torch.arange(6).view(2, 3).T}, {"a": torch.arange(6).view(2, 3).T.contiguous()}, True),
        ({"a": torch.nn.Parameter(torch.ones(2))}, {"a": torch.ones(2)}, True),
        ({"a": torch.arange(9.0)[2:4]}, {"a": torch.tensor([2.0, 3.0])}, True),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 0.0}, {"a": -0.0}, False),
        ({"a": [1, [2]]}, {"a": [[1], 2]}, False),
        ({"a": "bc"}, {"ab": "c"}, False),
        ({1: "a"}, {"1": "a"}, False),
        ({"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}, False),
        ({"a": torch.zeros(2)}, {"a": torch.zeros(2, dtype=torch.int32)}, False),
        ({"a": torch.zeros(1)}, {"a": [0.0]}, False),
        ({"a": []}, {"a": {}}, False),
    ],
)
def test_the_digest_is_that_of_the_content(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    assert (content_digest(one) == content_digest(other)) is equal


def test_a_part_of_a_large_tensor_takes_the_room_of_the_part() -> None:
    large = torch.randn(100_000)
    sealed = seal("thing", {"part": large[5:9]})
    assert len(sealed) < 10_000
    assert torch.equal(unseal("thing", sealed, "it")["part"], large[5:9])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": [np.float64(1)]}, r"thing\['a'\]\[0\] is numpy.float64"),
        ({"a": np.zeros(2)}, r"thing\['a'\] is numpy.ndarray"),
        ({"a": Path("x")}, "Path"),
        ({(1, 2): 3}, r"key \(1, 2\)"),
    ],
)
def test_what_would_not_read_back_is_refused_before_it_is_written(
    content: dict[Any, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        seal("thing", content)
    with pytest.raises(TypeError, match=message.replace("thing", "content")):
        content_digest(content)


def test_a_cut_or_changed_file_is_refused_wherever_it_is_hurt() -> None:
    sealed = seal("thing", {"weights": torch.arange(50.0)})
    for at in (0, 9, 16, 17, 50, 81, 82, 83, len(sealed) // 2, len(sealed) - 1):
        for hurt in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]):
            with pytest.raises(ConfigError, match=r"FILE: is .*; make it again"):
                unseal("thing", hurt, "FILE")


def test_a_file_of_another_kind_is_refused_and_named() -> None:
    with pytest.raises(ConfigError, match=r"is no thing of this version.* is headed 'harness other 1'; go"):
        unseal("thing", seal("other", CONTENT), "FILE", remedy="go")
    with pytest.raises(ConfigError, match="does not begin as one does; make"):
        unseal("thing", b"harness", "FILE")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    hostile, archives = Hostile(tmp_path / "ran"), []
    for value in ({"a": hostile}, torch.zeros(1), [1]):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        archives.append(buffer.getvalue())
    for payload in (*archives, pickle.dumps(hostile), b"", b"PK"):
        digest = hashlib.sha256(payload).hexdigest().encode()
        with pytest.raises(ConfigError, match=r"FILE: holds other things [^\n]*; do not trust it"):
            unseal("thing", b"harness thing 1\n" + digest + b"\n" + payload, "FILE")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="is no plain file"):
        read_sealed(no_plain_file(kind, tmp_path / "teacher"), "thing")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent: cannot be read: No such file"):
        read_sealed(tmp_path / "absent", "thing")


def test_a_full_disk_is_named_and_leaves_the_former_file_whole(small_folder: Path) -> None:
    path = small_folder / "folder" / "file"
    write_sealed(path, "thing", {"weights": torch.arange(100.0)})
    before = path.read_bytes()
    with pytest.raises(
        ConfigError,
        match=r"file: cannot be written: No space left on device; the disk is full: free [0-9,]{7,} bytes.*"
        "the former file stays as it was",
    ):
        write_sealed(path, "thing", {"weights": torch.randn(100_000)})
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["file"]
    with pytest.raises(
        ConfigError, match=r"the disk is full: free [0-9,]* bytes there, or name another folder$"
    ):
        write_sealed(small_folder / "new", "thing", {"weights": torch.randn(100_000)})
    assert torch.equal(read_sealed(path, "thing")["weights"], torch.arange(100.0))

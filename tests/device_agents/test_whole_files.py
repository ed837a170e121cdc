"""A file is there whole or not at all, and what killed or failed writers left does not stand in the way."""

from __future__ import annotations

import os

import pytest
from rigs.agent_client import sha256

from device_agents.processes import left_behind
from device_agents.whole_files import file_digest, replacing


def test_a_file_is_replaced_when_its_new_content_is_whole(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        with replacing(path) as partial:
            partial.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"old"
        assert path.read_bytes() == content and file_digest(path) == sha256(content)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_file_whose_writing_failed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), replacing(path) as partial:
        partial.write_bytes(b"ne")
        raise OSError("disk full")
    assert [one.name for one in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_what_a_killed_process_of_the_same_number_left_is_replaced(tmp_path):
    path, part = tmp_path / "file", tmp_path / "part"
    part.write_bytes(b"part")
    with replacing(path) as left:
        left.write_bytes(b"first")
    left.write_bytes(b"left")
    with replacing(path) as partial:
        os.link(part, partial)  # which a file of that name would refuse
    assert path.read_bytes() == b"part" and not left.exists()


def test_only_what_processes_left_that_are_gone_is_left_behind(tmp_path):
    for name in (f"{os.getpid()}-mine", "999999999-theirs", "other"):
        (tmp_path / name).touch()
    assert {path.name for path in left_behind(tmp_path)} == {"999999999-theirs", "other"}

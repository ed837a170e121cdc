"""Journals of packed jobs, as a loss of power leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.packed_agent import whole_entries

WHOLE = b'{"at":1}\n{"at":2,"done":[0,0,0]}\n'


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b'{"answer":"pro',  # torn
        b'{"at":3}',  # whole but for its end
        b"\0" * 5000,  # a block that was never written
        b"\0\0\0\n" + b'{"at":3}\n',  # of which one byte is a line's end
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"[1]\n",
        b"null\n",
    ],
)
def test_a_journal_ends_before_its_first_entry_that_is_damaged(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "visit-0001.jsonl"
    path.write_bytes(WHOLE + rest)
    assert list(whole_entries(path)) == [{"at": 1}, {"at": 2, "done": [0, 0, 0]}]
    assert path.read_bytes() == WHOLE
    assert len(list(whole_entries(path))) == 2

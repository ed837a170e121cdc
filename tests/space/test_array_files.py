"""Files of arrays: read whole, or refused in one sentence, however they are damaged."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from rigs.no_plain_files import KINDS, no_plain_file

from space.array_files import read_arrays
from space.errors import ConfigError

LIMIT = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, x=np.arange(600.0).reshape(20, 30), y=np.ones(3, np.int8))
    return path


def test_arrays_come_by_name_and_those_that_are_not_asked_for_are_not_read(path: Path) -> None:
    found = read_arrays(path, LIMIT)
    assert sorted(found) == ["x", "y"] and found["x"].shape == (20, 30)
    assert list(read_arrays(path, 4000, ["y", "z"])) == ["y"], "the limit is of what is read"
    with pytest.raises(ConfigError, match="more than 4000"):
        read_arrays(path, 4000)


def test_a_damaged_file_gives_arrays_or_one_error(path: Path) -> None:
    whole, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            assert all(isinstance(one, np.ndarray) for one in read_arrays(path, LIMIT).values())
        except ConfigError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 200


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no plain file"):
        read_arrays(no_plain_file(kind, tmp_path / "arrays.npz"), LIMIT)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match=r"no \.npz of plain arrays"):
        read_arrays(path, LIMIT)

"""Files of arrays: what is written is read, and what is no task is refused by the array that is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.training.images import Images
from search.training.own_data.arrays import read_parts, write_parts
from space.errors import ConfigError

X = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)
Y = np.array([0, 1, 1, 0])


def written(folder: Path, **arrays: Any) -> Path:
    path = folder / "a.npz"
    np.savez(path, **arrays)
    return path


def test_what_is_written_is_read_and_equal_parts_are_equal_files(tmp_path: Path) -> None:
    parts = {part: Images(images=X, labels=Y) for part in ("train", "val", "test")}
    for name in "ab":
        write_parts(tmp_path / "new" / name, ("cat", "dög"), parts)
    assert (tmp_path / "new/a").read_bytes() == (tmp_path / "new/b").read_bytes()
    classes, found = read_parts(tmp_path / "new" / "a")
    assert classes == ("cat", "dög") and list(found) == ["train", "val", "test"]
    assert all((one.images == X).all() and (one.labels == Y).all() for one in found.values())


def test_arrays_that_are_not_split_are_one_part_and_gray_ones_have_a_channel(tmp_path: Path) -> None:
    classes, parts = read_parts(written(tmp_path, x=X[..., 0], y=Y.astype(np.uint8), other="not read"))
    assert classes == ("0", "1") and list(parts) == ["all"]
    assert parts["all"].images.shape == (4, 3, 3, 1) and parts["all"].labels.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X}, "holds none of the arrays of a task; give x and y"),
        ({"x": X}, "has x and no y; write both"),
        ({"y_train": Y}, "has y_train and no x_train"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "holds x, x_test, y, y_test; give x and y, or"),
        ({"x_test": X, "y_test": Y}, "holds x_test, y_test; give x and y, or x_train"),
        ({"x": X / 255, "y": Y}, r"x is float64 of shape \(4, 3, 3, 3\); give uint8"),
        ({"x": X[:0], "y": Y[:0]}, "x is uint8 of shape"),
        ({"x": X, "y": Y[:3]}, r"y is int64 of shape \(3,\); give whole numbers of \(4,\)"),
        ({"x": X, "y": Y[:, None]}, r"y is int64 of shape \(4, 1\)"),
        ({"x": X, "y": Y / 1}, "y is float64"),
        ({"x": X, "y": Y - 1}, "y holds -1; number the classes from 0"),
        ({"x": X, "y": Y.astype(np.uint64) + np.uint64(2**63)}, "number the classes from 0"),
        ({"x": X, "y": Y * 0}, "labels are up to 0, of 1 class;"),
        ({"x": X, "y": Y, "classes": ["a"]}, "labels are up to 1, of 1 class;"),
        ({"x": X, "y": Y, "classes": ["a", "a"]}, "give different texts"),
        ({"x": X, "y": Y, "classes": [1, 2]}, "give different texts"),
        ({"x": X, "y": Y, "classes": ["a", "\x1b"]}, r"class '\\x1b' cannot be shown"),
    ],
)
def test_arrays_that_are_no_task_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_parts(written(tmp_path, **arrays))
    assert "a.npz" in str(caught.value)


def test_nothing_is_unpickled_and_no_damaged_file_is_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = written(tmp_path, x=np.array([Evil()], dtype=object), y=Y)
    for content in (path.read_bytes(), path.read_bytes()[:100], pickle.dumps(Evil()), b""):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"write it with numpy\.savez"):
            read_parts(path)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_parts(path)
    assert not (tmp_path / "ran").exists()

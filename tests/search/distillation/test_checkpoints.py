"""What is done of a distillation, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.distillation.checkpoints import NAME, DistilProgress
from space.errors import ConfigError


def test_what_is_done_is_on_disk_at_once_and_of_one_identity(tmp_path: Path) -> None:
    progress = DistilProgress(tmp_path, {"stage": "0"})
    progress.finish(0, {"mse": [1.0]})
    progress.finish(4, {"mse": [2.0]})
    again = DistilProgress(tmp_path, {"stage": "0"})
    assert again.done == {0: {"mse": [1.0]}, 4: {"mse": [2.0]}} and again.unfinished is None
    with pytest.raises(ConfigError, match="is of another distillation: teacher is None in it, and abc now"):
        DistilProgress(tmp_path, {"stage": "0", "teacher": "abc"})
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-9])
    with pytest.raises(ConfigError, match="remove it to distill from the start"):
        DistilProgress(tmp_path, {"stage": "0"})
    again.remove()
    assert list(tmp_path.iterdir()) == []

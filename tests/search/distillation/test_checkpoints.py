"""What is done of a distillation, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from search.distillation.checkpoints import NAME, DistilProgress
from space.errors import ConfigError


def test_what_is_done_is_on_disk_at_once_and_of_one_identity(tmp_path: Path) -> None:
    progress = DistilProgress(tmp_path, {"stage": "0"})
    progress.finish(0, {"mse": [1.0]})
    progress.finish(4, {"mse": [2.0]})
    again = DistilProgress(tmp_path, {"stage": "0"})
    assert again.done == {0: {"mse": [1.0]}, 4: {"mse": [2.0]}}
    network = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters())
    assert again.resume(network, optimizer) == []
    again.keep(network, optimizer, [[0.5]])
    other = nn.Linear(1, 1)
    history = DistilProgress(tmp_path, {"stage": "0"}).resume(other, torch.optim.Adam(other.parameters()))
    assert history == [[0.5]] and torch.equal(other.weight, network.weight)
    with pytest.raises(ConfigError, match="is of another distillation: teacher is None in it, and abc now"):
        DistilProgress(tmp_path, {"stage": "0", "teacher": "abc"})
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-9])
    with pytest.raises(ConfigError, match="remove it to distill from the start"):
        DistilProgress(tmp_path, {"stage": "0"})
    again.remove()
    assert list(tmp_path.iterdir()) == []

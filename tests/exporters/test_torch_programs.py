"""A torch module of the person's own is exported as it infers, and handed back as it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporters.torch_programs import save_program
from space.errors import ConfigError

pytestmark = pytest.mark.converter


def half_trained() -> Any:
    """Return a module that trains but for its first part, with a dropout, which shows in outputs whether it trains."""
    from torch import nn

    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    module[0].eval()
    return module


def modes(module: Any) -> list[bool]:
    return [one.training for one in module.modules()]


def test_a_module_is_exported_for_inference_and_each_part_keeps_its_mode(tmp_path: Path) -> None:
    import torch

    module, tensor = half_trained(), torch.ones(2, 4)
    assert modes(module) == [True, False, True, True]
    save_program(module, (tensor,), tmp_path / "net.pt2")
    assert modes(module) == [True, False, True, True]
    exported = torch.export.load(tmp_path / "net.pt2").module()
    assert torch.equal(exported(tensor), module.eval()(tensor))


def test_a_module_that_is_not_exported_keeps_its_modes_too(tmp_path: Path) -> None:
    import torch

    class Picky(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = half_trained()

        def forward(self, tensor: Any) -> Any:
            return self.net(tensor) if float(tensor.sum()) > 0 else tensor

    module = Picky()
    with pytest.raises(ConfigError, match=r"torch\.export does not take it"):
        save_program(module, (torch.ones(2, 4),), tmp_path / "net.pt2")
    assert modes(module) == [True, True, False, True, True]

"""Torch modules of a user's own as TFLite models, against torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.candidates import CANDIDATES, ConvNeXt, Excite, candidate, unit
from rigs.model_runs import run_model
from torch import Tensor, nn
from torch.nn import functional

from exporters import FragmentLibrary, link
from exporters.cache import FragmentCache
from exporters.errors import ConversionError
from exporters.fragments import Fragment
from exporters.networks import torch_network
from exporters.weights import Weights
from space import Architecture, Space

pytestmark = pytest.mark.converter

Shape = tuple[int, ...]
MAP = (1, 8, 9, 12)
EVEN = (1, 8, 12, 12)


class Compute(nn.Module):
    """Run a function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def side_by_side(**layers: nn.Module) -> nn.Module:
    """Join what layers that keep the shape make of one input, so that one conversion tries them all."""
    return Compute(lambda x: torch.cat([layer(x) for layer in layers.values()], dim=1))

"""Spaces smaller than any that is known by name: two ops, so that all blocks of a stage are distilled in a moment."""

from __future__ import annotations

import pytest

import space.registry
from space import SPACES, Space

TWO_OPS = Space(name="two-ops", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=10)


def make_known(patch: pytest.MonkeyPatch, config: Space) -> None:
    """Make a space known by its name, to commands and units that run in this process."""
    patch.setattr(space.registry, "SPACES", {**SPACES, config.name: config})

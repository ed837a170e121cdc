"""Refusal of a batch that would leave one image alone where a BatchNorm, at 1 x 1 pixel, would see one value of a channel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import nn

from space import SpaceConfig
from space.errors import ConfigError


def check_lone_image(
    recipe: str,
    batch: int,
    images: int,
    config: SpaceConfig,
    shape: tuple[int, ...],
    modules: Iterable[tuple[str, nn.Module]],
) -> None:
    """Refuse a batch size that leaves one image for the last batch where a module cannot train on one; `recipe` is for messages.

    Each of `modules`, with its name, is run on one image of `shape` (C, H, W), of Blox's the first, as all end in one reduction;
    they are built only where one image is left.

    Raises:
        ConfigError: one image is left, and a BatchNorm cannot take it.
    """
    if images % batch != 1 and batch != 1:
        return
    tried = islice(modules, 1) if config.chain is None else modules
    for name in (name for name, module in tried if not _takes_one(module, shape)):
        raise ConfigError(
            f"{recipe}: batch = {batch} leaves a batch of one of {images} images, and a BatchNorm of {name} of space "
            f"{config.name!r}, at 1 x 1 pixel, has no variance of one value; choose another batch"
        )


def _takes_one(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether a module can run on one image in training; torch's generator stays as it was."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module.train()(torch.zeros(1, *shape))
    except ValueError as e:
        if "more than 1 value per channel" not in str(e):
            raise
        return False
    return True

"""Programs of torch.export as .pt2 files, and the same with what a hostile file would say."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def convolution(width: int = 8) -> Any:
    """Return a small convolutional module of images (n, 3, 16, 16)."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), *pooled, nn.Linear(width, 10)
    ).eval()


def save_program(path: Path, module: Any = None, *inputs: Any, free_batch: bool = False) -> Path:
    """Export a module, `convolution` if none is given, and save it."""
    import torch

    inputs = inputs or (torch.randn(2, 3, 16, 16),)
    free = {"dynamic_shapes": ({0: torch.export.Dim("n", min=1, max=64)},)} if free_batch else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of recurrent layers
        torch.export.save(torch.export.export(module or convolution(), inputs, **free), path)
    return path


def rewritten(path: Path, to: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> Path:
    """Write an archive's copy, each entry changed (None leaves it out) by its name without the root, and `more` entries."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(to, "w") as target:
        for entry in source.infolist():
            root, _, name = entry.filename.partition("/")
            data = change(name, source.read(entry))
            if data is not None:
                target.writestr(entry.filename, data)
        for name, data in more.items():
            target.writestr(f"{root}/{name}", data)
    return to


def saying(path: Path, to: Path, change: Callable[[Any], None]) -> Path:
    """Write an archive's copy with its program's document changed in place."""

    def edit(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return rewritten(path, to, edit)

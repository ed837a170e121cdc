"""Folders and files of images, drawn by a rule or of scikit-learn's digits, as a user would have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from search.training.images import Task

COLORS = {
    "blue": (0, 0, 200),
    "green": (0, 180, 0),
    "red": (220, 0, 0),
}  # a class each, in the order of their labels


def draw(color: tuple[int, int, int], seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """Return an image, (width, height) pixels, of a color with noise, which no other seed has."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 36, (height, width, 3))
    return Image.fromarray((np.array(color) + noise).astype(np.uint8))


def write_folder(root: Path, counts: Mapping[str, int] | int = 10, size: tuple[int, int] = (8, 8)) -> Path:
    """Write a folder for each class of `COLORS` with so many PNG images; return the root."""
    for label, (name, color) in enumerate(COLORS.items()):
        (root / name).mkdir(parents=True)
        for number in range(counts if isinstance(counts, int) else counts[name]):
            draw(color, 1000 * label + number, size).save(root / name / f"{number:03}.png")
    return root


def write_task(root: Path, task: Task) -> Path:
    """Write a task's images as PNG files in folders `train`, `val` and `test`, a folder for each class; return the root."""
    for part in ("train", "val", "test"):
        images = getattr(task, part)
        for place, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
            folder = root / part / f"class {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{place:05}.png")
    return root

"""The plain loop that training is timed against does the same work: the same ops, on images of the same kind."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from search.training.augment import OPS
from search.training.pixel_ops import apply_op
from search.training.recipe import Recipe
from space import TINY


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return import_module("training")
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("op", [op for op in OPS if op != "identity"])
def test_its_ops_give_the_bytes_of_ours(benchmark: ModuleType, op: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    for sign in (1, -1):
        theirs = np.asarray(benchmark.changed(Image.fromarray(image), op, sign))
        ours = apply_op(op, tensor, benchmark.STRENGTH, torch.tensor([sign]))[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(theirs, ours)


def test_its_images_are_normalized_and_cut_out_as_ours_are(benchmark: ModuleType) -> None:
    plain = benchmark.PlainImages(benchmark.random_task(TINY, 40), Recipe())
    assert (plain.padding, plain.hole) == (1, 4)
    images = torch.stack([plain[place][0] for place in range(40)])
    assert images.shape == (40, 3, 8, 8) and images.dtype == torch.float32
    holes = (images == 0).all(dim=1).sum(dim=(1, 2))  # pixels of the mean color in all channels
    assert ((holes >= 4) & (holes <= 16)).all()  # a quarter of the square is inside, at least

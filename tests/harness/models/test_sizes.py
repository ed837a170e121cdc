"""File sizes of the whole space: those of files that are really linked."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters import FORMATS, Format, FragmentLibrary, Weights
from harness.models.sizes import sizes_by_block
from space import BLOX, Architecture
from space.indexing import of_all_networks

pytestmark = pytest.mark.converter


@pytest.mark.parametrize("model_format", FORMATS)
def test_the_size_of_every_file_is_that_of_the_linked_model(
    model_format: Format, harness_cache: Path
) -> None:
    cache = harness_cache / "fragments"
    sizes = of_all_networks(BLOX, *sizes_by_block(model_format, cache, BLOX)[::-1])
    library = FragmentLibrary.open(model_format, cache_dir=cache, config=BLOX, weights=Weights.seeded(0))
    slack = 0 if model_format == "onnx" else 128
    for index in (0, 7, 44, 45, 2137, 45_777, 61_500, 91_124):
        model = library.assembly(Architecture.from_index(index)).whole()
        assert abs(len(model) - sizes[index]) <= slack

"""A property of every definition: a model linked from parts is the conversion of the whole network, operator by operator."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from factories.random_spaces import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rigs.model_runs import operators, random_image, run_model
from rigs.whole_networks import convert_networks

from exporters import Format, FragmentLibrary
from space import Space

pytestmark = pytest.mark.converter

TOLERANCE = 1e-5


@pytest.mark.long
@pytest.mark.parametrize("format", ["onnx", "tflite"])
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(space=spaces(most_sites=1), seed=st.integers(0, 2**32 - 1))
def test_a_linked_model_is_the_conversion_of_the_whole_network(
    format: Format, space: Space, seed: int
) -> None:
    network = space[int(np.random.default_rng(seed).integers(len(space)))]
    with tempfile.TemporaryDirectory() as folder:
        library = FragmentLibrary.open(format, cache_dir=Path(folder), config=space)
        linked = library.assembly(network).whole()
    (whole,) = convert_networks([network], format)
    assert operators(format, linked) == operators(format, whole.model)
    image = random_image(space, seed % 100)
    expected = run_model(format, whole.model, image)
    assert np.abs(run_model(format, linked, image) - expected).max() <= TOLERANCE * np.abs(expected).max()

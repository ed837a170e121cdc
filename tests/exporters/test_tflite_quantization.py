"""Scales of values between TFLite fragments, against those that LiteRT's quantizer gives the same ranges."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from import_graph import imports_of, modules, package_of

from exporters import Weights
from exporters.fragments import STEM
from exporters.tflite_export import export_fragment
from exporters.tflite_quantization import quantize, scale_of
from space import TINY

pytestmark = pytest.mark.converter


def test_a_range_has_the_scale_and_zero_point_of_the_quantizer() -> None:
    from litert_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor import (
        tensor_zp_scale_from_min_max,
    )
    from litert_quantizer.qtyping import QuantGranularity

    rng = np.random.default_rng(0)
    lows, highs = -rng.exponential(4, 3000), rng.exponential(9, 3000)
    lows[::3], highs[1::9] = 0, 0
    ranges = [*zip(lows, highs, strict=True), (0.0, 0.0), (-1.0, 1.0), (0.0, 1e-12), (-1e6, 3.0)]
    for low, high in ranges:
        zero_point, scale = tensor_zp_scale_from_min_max(
            *(np.array(one, np.float32) for one in (low, high)),
            num_bits=8,
            symmetric=False,
            granularity=QuantGranularity.TENSORWISE,
        )
        assert scale_of(float(np.float32(low)), float(np.float32(high))) == (float(scale), int(zero_point))


def test_other_precisions_need_no_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `int8` is not installed."""
    files = modules()
    for name, path in files.items():
        at_once = imports_of(path.read_text(), package_of(name, files)).at_once
        assert not [one for one in at_once if one.startswith("litert_quantizer")], name
    for name in {"litert_quantizer", *(one for one in sys.modules if one.startswith("litert_quantizer."))}:
        monkeypatch.setitem(sys.modules, name, None)
    assert export_fragment(STEM, TINY, Weights.seeded(0), "fp32").part
    with pytest.raises(ModuleNotFoundError, match="litert_quantizer"):
        quantize(b"", {})

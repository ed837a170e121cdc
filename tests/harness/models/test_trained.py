"""Models of finished networks: whose sessions are kept apart, and on what int8 is calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters import ConversionError, FragmentLibrary, Weights
from exporters.calibration_images import named_images, save_images
from harness.models.trained import Finished, FinishedModels
from space import TINY, Architecture


def finished(folder: Path, seed: int | None) -> Finished:
    """Return a network of some file, with random calibration images where there is a seed."""
    images = None
    if seed is not None:
        path = folder / f"images-{seed}.npz"
        shape = (16, TINY.in_channels, TINY.image_size, TINY.image_size)
        save_images(path, np.random.default_rng(seed).normal(size=shape).astype(np.float32))
        images = named_images(path, TINY)
    (folder / "weights.pt").write_bytes(b"weights")
    return Finished(
        architecture=Architecture.parse("conv/mbconv", TINY),
        path=folder / "weights.pt",
        digest="d" * 64,
        calibration=images,
    )


def test_sessions_in_int8_belong_to_the_calibration_images_too(tmp_path: Path) -> None:
    plain, one, other = (finished(tmp_path, seed) for seed in (None, 1, 2))
    assert len({plain.key("int8"), one.key("int8"), other.key("int8")}) == 3
    assert one.key("int8") == finished(tmp_path, 1).key("int8")
    assert plain.key("fp32") == one.key("fp32") == other.key("fp16") == plain.key("int8"), (
        "other precisions need no images: what is stored of them is found again"
    )


def test_a_finished_network_is_exported_in_int8_with_the_ranges_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Weights] = []

    def open_library(*_: object, weights: Weights, **__: object) -> FragmentLibrary:
        opened.append(weights)
        raise ConversionError("far enough")

    monkeypatch.setattr(FragmentLibrary, "open", open_library)
    one = finished(tmp_path, 1)
    models = FinishedModels([one], TINY, tmp_path, on_progress=lambda *_: None)
    for precision in ("int8", "fp32", "fp16"):
        with pytest.raises(ConversionError):
            models.models("onnx", precision)  # type: ignore[arg-type]
    sources = [weights.checkpoint for weights in opened]
    assert [source and source.calibration for source in sources] == [one.calibration, None, None]

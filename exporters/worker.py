"""The converter's process (see `exporters.processes`): exports or runs, reported one by one.

torch and tensorflow write to stdout and stderr from C++ as they please and keep hundreds of megabytes; in a process
of their own they disturb nobody. Answers are {"done": name} or {"error": message}.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exporters.cache import FragmentCache
from exporters.calibration_images import CalibrationImages
from exporters.fragments import Fragment
from exporters.processes import serve
from exporters.weights import Weights, WeightsFile
from space import Architecture, SpaceConfig
from space.errors import HarnessError


def answers(request: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Do what a request asks for, and tell of each thing done."""
    config = SpaceConfig(**request["config"])
    try:
        weights = read_weights(request["weights"], config)
        yield from _run(request, config, weights) if "run" in request else _export(request, config, weights)
    except HarnessError as error:
        yield {"error": str(error)}


def _run(request: dict[str, Any], config: SpaceConfig, weights: Weights) -> Iterator[dict[str, object]]:
    from exporters.model_runs import model_logits, network_logits

    job = request["run"]
    architecture, images = Architecture.parse(job["architecture"], config), np.load(job["images.npy"])
    np.save(job["torch.npy"], network_logits(architecture, weights, images))
    np.save(job["model.npy"], model_logits(request["format"], Path(job["model"]).read_bytes(), images))
    yield {"done": str(architecture)}


def _export(request: dict[str, Any], config: SpaceConfig, weights: Weights) -> Iterator[dict[str, object]]:
    if request["format"] == "onnx":
        from exporters import onnx_export as exporter
    else:
        from exporters import tflite_export as exporter  # type: ignore[no-redef]
    cache = FragmentCache(root=Path(request["cache"]))
    for job in request["fragments"]:
        fragment = Fragment(**job["fragment"])
        cache.save(job["key"], exporter.export_fragment(fragment, config, weights, request["precision"]))
        yield {"done": str(fragment)}


def read_weights(source: dict[str, Any], config: SpaceConfig) -> Weights:
    """Return the weights that `exporters.conversion.weights_document` has written."""
    if source["seed"] is not None:
        return Weights.seeded(source["seed"])
    images = source["calibration"]
    return Weights(
        checkpoint=WeightsFile(
            path=Path(source["path"]),
            sha256=source["sha256"],
            architecture=Architecture.parse(source["architecture"], config),
            calibration=images and CalibrationImages(path=Path(images["path"]), sha256=images["sha256"]),
            code=source["code"],
        )
    )


if __name__ == "__main__":
    sys.exit(serve(answers))

"""Have converters run in a process of their own, and turn what goes wrong there into one error."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ConversionError
from exporters.formats import Format, Precision
from exporters.fragments import Fragment
from exporters.processes import ProcessEnded, give_back, take
from exporters.weights import Weights
from space import Architecture, SpaceConfig

EXPORTER_VERSION = 7  # raise it whenever exported bytes change for the same converters
# Raise it whenever weights or modules of a user's are refused or exported otherwise: what is cached was checked then.
CHECKS_VERSION = 5

# The distributions that a format's converter needs; their versions are part of every cache key.
CONVERTERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("torch", "onnx"),
    "tflite": ("torch", "tensorflow", "ai-edge-litert"),
}
# Those that int8 needs, too.
QUANTIZERS: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnxruntime",), "tflite": ("litert-quantizer",)}
# Those that running a model and its network takes.
RUNNERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("torch", "onnxruntime"),
    "tflite": ("torch", "ai-edge-litert"),
}
_TAIL_LINES = 8


def convert_fragments(
    fragments: Sequence[tuple[Fragment, str]],
    format: Format,
    *,
    precision: Precision,
    config: SpaceConfig,
    weights: Weights,
    cache_dir: Path,
    on_progress: Callable[[str], None],
) -> None:
    """Export fragments, each with its cache key, into a cache; call `on_progress` with the name of each.

    Raises:
        ConversionError: a converter is not installed or fails, or the cache cannot be written.
    """
    check_installed(format, precision)
    jobs = [{"fragment": dataclasses.asdict(fragment), "key": key} for fragment, key in fragments]
    request = {"precision": precision, "cache": str(cache_dir.absolute()), "fragments": jobs}
    _run(format, config, weights, request, on_progress)


def run_network(
    model: bytes,
    format: Format,
    architecture: Architecture,
    weights: Weights,
    images: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the logits (n, classes) of images (n, C, H, W): of a network in torch, in fp32, and of its stand-alone model.

    Raises:
        ConversionError: torch or the runtime is not installed or fails.
    """
    _refuse_absent(_versions(RUNNERS[format]), f"running {format}")
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / name) for name in ("model", "images.npy", "torch.npy", "model.npy")}
        Path(paths["model"]).write_bytes(model)
        np.save(paths["images.npy"], images)
        _run(format, architecture.config, weights, {"run": {"architecture": str(architecture), **paths}})
        return np.load(paths["torch.npy"]), np.load(paths["model.npy"])


def converter_versions(format: Format, precision: Precision = "fp32") -> dict[str, str | None]:
    """Return the installed version of each package that exporting takes, None where there is none; imports none."""
    return _versions(CONVERTERS[format] + (QUANTIZERS[format] if precision == "int8" else ()))


def check_installed(format: Format, precision: Precision, *, runs: bool = False) -> None:
    """Refuse an export whose packages are not all installed, with `runs` also those that run the model; imports none.

    Raises: ConversionError.
    """
    needed = converter_versions(format, precision) | (_versions(RUNNERS[format]) if runs else {})
    _refuse_absent(needed, f"exporting to {format} in {precision}")


def _refuse_absent(needed: Mapping[str, str | None], doing: str) -> None:
    absent = [name for name, version in needed.items() if version is None]
    if absent:
        raise ConversionError(
            f"{doing} needs {' and '.join(absent)}, not installed here; pip install {' '.join(absent)}"
        )


def _versions(names: Sequence[str]) -> dict[str, str | None]:
    return {name: installed_version(name) for name in names}


def weights_document(weights: Weights) -> dict[str, object]:
    """Return weights as plain values; `exporters.worker.read_weights` reads them back."""
    source = weights.checkpoint
    images = source and source.calibration
    return {
        "seed": weights.seed,
        "path": source and str(source.path),
        "sha256": source and source.sha256,
        "architecture": source and str(source.architecture),
        "calibration": images and {"path": str(images.path), "sha256": images.sha256},
        "code": source and source.code,
    }


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution that is installed here, None where there is none."""
    candidates = (distribution, f"{distribution}-cpu") if distribution == "tensorflow" else (distribution,)
    for name in candidates:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _run(
    format: Format,
    config: SpaceConfig,
    weights: Weights,
    request: Mapping[str, object],
    on_progress: Callable[[str], None] = lambda name: None,
) -> None:
    facts = {"format": format, "config": config.to_plain(), "weights": weights_document(weights)}
    problem = None
    process = take("exporters.worker")
    try:
        for answer in process.ask({**facts, **request}):
            if "error" in answer:
                problem = str(answer["error"])
            else:
                on_progress(answer["done"])
    except ProcessEnded as ended:
        problem = f"the {format} converter ended with status {ended.status}: " + "\n".join(
            ended.said[-_TAIL_LINES:]
        )
    finally:
        give_back(process)
    if problem is not None:
        raise ConversionError(problem)

"""Run the converters in a process of their own, and turn what goes wrong there into one error."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ConversionError
from exporters.fragments import Fragment
from exporters.recipe import Format, Precision
from exporters.weights import Weights
from space import Architecture, SpaceConfig

EXPORTER_VERSION = 3  # raise it whenever exported bytes change for the same converters

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
_PACKAGE_ROOT = str(Path(__file__).parent.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedNetwork:
    """Hold a model file made by a whole-network conversion, and how long the conversion alone took."""

    model: bytes
    elapsed_s: float


def convert_networks(
    architectures: Sequence[Architecture],
    format: Format,
    weights: Weights | None = None,
    precision: Precision = "fp32",
) -> list[ConvertedNetwork]:
    """Convert whole networks of one space with torch.onnx or TFLiteConverter: what linked models are held against.

    Raises:
        ConversionError: a converter is not installed or fails.
    """
    if not architectures:
        return []
    times = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(k) for k in range(len(architectures))]
        _run(
            format,
            precision,
            architectures[0].config,
            weights or Weights.seeded(0),
            networks=[
                {"architecture": str(a), "path": str(path)}
                for a, path in zip(architectures, paths, strict=True)
            ],
            report=lambda name, elapsed_s: times.append(elapsed_s),
        )
        models = [path.read_bytes() for path in paths]
    return [ConvertedNetwork(model=m, elapsed_s=t) for m, t in zip(models, times, strict=True)]


def convert_fragments(
    fragments: Sequence[tuple[Fragment, str]],
    format: Format,
    *,
    precision: Precision,
    config: SpaceConfig,
    weights: Weights,
    cache_dir: Path,
    done: Callable[[str], None],
) -> None:
    """Export fragments, each with its cache key, into a cache; call `done` with the name of each.

    Raises:
        ConversionError: a converter is not installed or fails, or the cache cannot be written.
    """
    _run(
        format,
        precision,
        config,
        weights,
        cache_dir=cache_dir,
        fragments=[{"fragment": dataclasses.asdict(f), "key": key} for f, key in fragments],
        report=lambda name, elapsed_s: done(name),
    )


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
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / name) for name in ("model", "images.npy", "torch.npy", "model.npy")}
        Path(paths["model"]).write_bytes(model)
        np.save(paths["images.npy"], images)
        _run(
            format,
            "fp32",
            architecture.config,
            weights,
            runs=[{"architecture": str(architecture), **paths}],
            report=lambda name, elapsed_s: None,
        )
        return np.load(paths["torch.npy"]), np.load(paths["model.npy"])


def converter_versions(format: Format, precision: Precision = "fp32") -> dict[str, str | None]:
    """Return the installed version of each package that exporting takes, None where there is none; imports none."""
    return _versions(CONVERTERS[format] + (QUANTIZERS[format] if precision == "int8" else ()))


def _versions(names: Sequence[str]) -> dict[str, str | None]:
    return {name: _version(name) for name in names}


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
    }


def converter_environment() -> dict[str, str]:
    """Return the environment of a process that imports torch or TensorFlow."""
    return (
        os.environ
        | {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": "1",  # torch's sums are then the same wherever they are made; threads gain nothing here
            "PYTHONWARNINGS": "",  # the converters warn of themselves: no errors, whatever the user made of warnings
            "PYTHONPATH": os.pathsep.join(filter(None, [_PACKAGE_ROOT, os.environ.get("PYTHONPATH")])),
        }
    )


def _version(distribution: str) -> str | None:
    candidates = (distribution, f"{distribution}-cpu") if distribution == "tensorflow" else (distribution,)
    for name in candidates:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _run(
    format: Format,
    precision: Precision,
    config: SpaceConfig,
    weights: Weights,
    *,
    report: Callable[[str, float], None],
    networks: Sequence[Mapping[str, object]] = (),
    fragments: Sequence[Mapping[str, object]] = (),
    runs: Sequence[Mapping[str, object]] = (),
    cache_dir: Path = Path(),
) -> None:
    needed = _versions(RUNNERS[format]) if runs else converter_versions(format, precision)
    absent = [name for name, version in needed.items() if version is None]
    if absent:
        doing = f"running {format}" if runs else f"exporting to {format} in {precision}"
        raise ConversionError(
            f"{doing} needs {' and '.join(absent)}, not installed here; pip install {' '.join(absent)}"
        )
    request = {
        "format": format,
        "precision": precision,
        "config": dataclasses.asdict(config),
        "weights": weights_document(weights),
        "cache": str(cache_dir.absolute()),
        "networks": list(networks),
        "fragments": list(fragments),
        "runs": list(runs),
    }
    answers_fd, their_answers_fd = os.pipe()
    with os.fdopen(answers_fd) as answers, tempfile.TemporaryFile() as noise:
        try:
            worker = subprocess.Popen(
                # -P: nothing from the working folder
                [sys.executable, "-P", "-m", "exporters.worker", str(their_answers_fd)],
                stdin=subprocess.PIPE,
                stdout=noise,
                stderr=noise,
                pass_fds=(their_answers_fd,),
                env=converter_environment(),
                text=True,
                start_new_session=True,  # Ctrl-C is the harness's to handle
            )
        finally:
            os.close(their_answers_fd)
        with worker:
            atexit.register(worker.kill)  # for a thread that Ctrl-C leaves behind
            try:
                problem = _follow(worker, json.dumps(request), answers, report)
            except BaseException:
                worker.kill()
                raise
            finally:
                atexit.unregister(worker.kill)
        if problem is None and worker.returncode != 0:
            noise.seek(0)
            tail = noise.read().decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
            problem = f"the {format} converter ended with status {worker.returncode}: " + "\n".join(tail)
    if problem is not None:
        raise ConversionError(problem)


def _follow(
    worker: subprocess.Popen[str], request: str, answers: TextIO, report: Callable[[str, float], None]
) -> str | None:
    """Send the request and read answers to the end; return the error that the worker reported, if any."""
    assert worker.stdin is not None
    problem = None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit status and stderr say why
        worker.stdin.write(request)
        worker.stdin.close()
    for line in answers:
        answer = json.loads(line)
        if "error" in answer:
            problem = str(answer["error"])
        else:
            report(answer["done"], answer["elapsed_s"])
    worker.wait()
    return problem

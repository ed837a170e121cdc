"""Models of trained networks, each exported with the weights of its own checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from exporters import ExpectedOutputs, Format, FragmentLibrary, Weights
from exporters.calibration_images import CalibrationImages
from harness.devices.config import DEFAULT_PRECISION, Precision
from harness.measurement.workload import Model
from harness.models.exported import ExportedModels, to_model
from space import Architecture, SpaceConfig

# Of sessions: they belong to one set of weights, and are never merged with those of another.
PURPOSE = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A network with trained weights: a checkpoint's `path`, and the `digest` of the weights in it, which names them.

    `calibration`: images of its task, on which int8 is calibrated; other precisions need none.
    """

    architecture: Architecture
    path: Path
    digest: str
    calibration: CalibrationImages | None = None

    def key(self, precision: str) -> str:
        """Return the key of its sessions in a precision, in place of a graph hash: 32 hex characters."""
        text = f"{self.architecture.config.name} {self.architecture} {self.digest}"
        if self.calibration is not None and precision == "int8":
            text += f", calibrated on images {self.calibration.sha256}"
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class FinishedModels:
    """A campaign's source of finished networks, timed against the reference that their space's networks are timed against."""

    def __init__(
        self,
        finished: Sequence[Finished],
        config: SpaceConfig,
        cache_dir: Path,
        on_progress: Callable[[str, int, int, str], None],
    ) -> None:
        self._finished, self._cache_dir, self._on_progress = finished, cache_dir, on_progress
        self._seeded = ExportedModels([], on_progress=on_progress, config=config)
        self._batch = 1

    def at_batch(self, batch: int) -> FinishedModels:
        """Return the same networks, and their reference, for runs of `batch` images."""
        found = copy(self)
        found._seeded, found._batch = self._seeded.at_batch(batch), batch
        return found

    def models(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Sequence[Model]:
        """Return the models, exported with their own weights."""
        return [self._model(one, model_format, precision) for one in self._finished]

    def reference(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Model:
        """Return the reference network's model, with its usual weights."""
        return self._seeded.reference(model_format, precision)

    def _model(self, one: Finished, model_format: Format, precision: Precision) -> Model:
        config = one.architecture.config
        images = one.calibration.path if one.calibration is not None and precision == "int8" else None
        weights = Weights.from_checkpoint(one.path, one.architecture, calibration=images)
        library = FragmentLibrary.open(
            model_format,
            cache_dir=self._cache_dir,
            config=config,
            weights=weights,
            precision=precision,
            on_progress=lambda done, total, name: self._on_progress(model_format, done, total, name),
        )
        expected = ExpectedOutputs(cache_dir=self._cache_dir, config=config, weights=weights)
        model = to_model(library, one.architecture, f"trained {one.digest}", expected, self._batch)
        return replace(model, graph_hash=one.key(precision), purpose=PURPOSE)

"""Models of trained networks, each exported with the weights of its own checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters import ExpectedOutputs, Format, FragmentLibrary, Weights
from harness.devices.config import DEFAULT_PRECISION, Precision
from harness.measurement.workload import Model
from harness.models.exported import ExportedModels, to_model
from space import Architecture, SpaceConfig

# Of sessions: they belong to one set of weights, and are never merged with those of another.
PURPOSE = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A network with trained weights: a checkpoint's `path`, and the `digest` of the weights in it, which names them."""

    architecture: Architecture
    path: Path
    digest: str

    @property
    def key(self) -> str:
        """The name of its sessions where another network's have the graph hash: 32 hex characters."""
        text = f"{self.architecture.config.name} {self.architecture} {self.digest}"
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class FinishedModels:
    """A campaign's source of finished networks, timed against the reference that their space's networks are timed against."""

    def __init__(
        self,
        finished: Sequence[Finished],
        config: SpaceConfig,
        cache_dir: Path,
        progress: Callable[[str, int, int, str], None],
    ) -> None:
        self._finished, self._cache_dir, self._progress = finished, cache_dir, progress
        self._seeded = ExportedModels([], progress=progress, config=config)

    def models(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Sequence[Model]:
        """Return the models, exported with their own weights."""
        return [self._model(one, model_format, precision) for one in self._finished]

    def reference(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Model:
        """Return the reference network's model, with the weights that it always has."""
        return self._seeded.reference(model_format, precision)

    def _model(self, one: Finished, model_format: Format, precision: Precision) -> Model:
        config, weights = one.architecture.config, Weights.from_checkpoint(one.path, one.architecture)
        library = FragmentLibrary.open(
            model_format,
            cache_dir=self._cache_dir,
            config=config,
            weights=weights,
            precision=precision,
            progress=lambda done, total, name: self._progress(model_format, done, total, name),
        )
        expected = ExpectedOutputs(cache_dir=self._cache_dir, config=config, weights=weights)
        model = to_model(library, one.architecture, f"trained {one.digest}", expected)
        return replace(model, graph_hash=one.key, purpose=PURPOSE)

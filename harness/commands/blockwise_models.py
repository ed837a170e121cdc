"""Finished networks on devices: the very model of the trained weights is measured, at level final."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.campaigns import run_all, summarise
from harness.commands.sources import ExportedModels, to_model
from harness.commands.verify import final_options, turns
from harness.models import Model
from harness.records import Configuration
from space.errors import ConfigError

if TYPE_CHECKING:
    from exporters import Format
    from harness.estimates.latency import Latency
    from space import Architecture, SpaceConfig

PURPOSE = (
    "trained"  # of sessions: they belong to one set of weights, and are never merged with those of another
)


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

    def models(self, model_format: Format) -> Sequence[Model]:
        """Return the models, exported with their own weights."""
        return [self._model(one, model_format) for one in self._finished]

    def reference(self, model_format: Format) -> Model:
        """Return the reference network's model, with the weights that it always has."""
        return self._seeded.reference(model_format)

    def _model(self, one: Finished, model_format: Format) -> Model:
        from exporters import FragmentLibrary, Weights

        library = FragmentLibrary.open(
            model_format,
            cache_dir=self._cache_dir,
            config=one.architecture.config,
            weights=Weights.from_checkpoint(one.path, one.architecture),
            progress=lambda done, total, name: self._progress(model_format, done, total, name),
        )
        model = to_model(library, one.architecture, f"trained {one.digest}")
        return replace(model, graph_hash=one.key, purpose=PURPOSE)


def measure_finished(
    finished: Sequence[Finished],
    configurations: Mapping[str, Configuration],
    *,
    devices_file: Path | None,
    store_url: str,
    cache_dir: Path,
    coverage: float,
    quiet: bool,
) -> tuple[dict[str, dict[str, Latency]], int]:
    """Measure finished networks under each device's configuration; return latencies by device and key, and the exit status.

    A network that could not be measured is absent.
    Raises: ConfigError when no device of the store is searched, or one is not in devices.toml.
    """
    from harness.commands.progress import ProgressView
    from harness.devices import load_devices, select_device
    from harness.estimates.latency import latencies
    from harness.store.opening import open_store

    if not configurations:
        raise ConfigError(
            "--verify measures on devices, and no device of the store is searched; name one with --device"
        )
    known = load_devices(devices_file)
    devices = {c.device: select_device(known, c.device) for c in configurations.values()}
    store, status = open_store(store_url), 0
    try:
        with ProgressView(quiet=quiet) as view:
            source = FinishedModels(
                finished, finished[0].architecture.config, cache_dir, progress=view.export
            )
            outcomes = [
                outcome
                for turn in turns(configurations.values())
                for outcome in run_all(
                    [(devices[c.device], final_options(c)) for c in turn], source, store, view, None
                )
            ]
        for outcome in outcomes:
            status = max(status, summarise(outcome))
        keys = [one.key for one in finished]
        found = {
            name: {
                row.graph_hash: row
                for row in latencies(store, configuration, keys, purpose=PURPOSE, coverage=coverage)
            }
            for name, configuration in configurations.items()
        }
    finally:
        store.close()
    return found, status

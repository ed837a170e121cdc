"""Campaigns of networks that sleep: for tests of what becomes of a campaign, whatever its devices run.

Neither agents nor workers import a runtime, which takes them longer than all else, and no network is exported.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint

import pytest
from factories.sent_models import assembly_of, made_model

from harness.devices.config import Device
from harness.measurement.campaign import Outcome
from harness.measurement.plan import Options
from harness.measurement.workload import Model
from harness.store import Store
from rigs import short_campaigns
from rigs.short_campaigns import NETWORKS, ONNX
from rigs.sleeping_runtime import NAME
from rigs.watcher import Watcher
from space.plugins import RUNTIMES, plugins

SLEEPING = replace(ONNX, runtimes=(NAME,))
NETWORK_US, REFERENCE_US = 10_000, 5_000


@dataclass(frozen=True)
class SleepingModels:
    """Source of networks by name; they and the reference share weights of so many bytes."""

    names: Sequence[str] = NETWORKS
    weight_bytes: int = 300_000

    def models(self, model_format: str, precision: str) -> Sequence[Model]:
        """Return the networks."""
        return [self.model(name, NETWORK_US) for name in self.names]

    def reference(self, model_format: str = "onnx", precision: str = "fp32") -> Model:
        """Return the reference."""
        return self.model("reference", REFERENCE_US)

    def model(self, name: str, sleep_us: int) -> Model:
        """Return a model whose runs sleep for so many microseconds."""
        skeleton, weights = f"{sleep_us} {name} ".encode(), weights_of(self.weight_bytes)
        return made_model(name, lambda: assembly_of(skeleton, weights))


@cache
def weights_of(size_bytes: int) -> bytes:
    """Return bytes that no compression makes fewer, without the word by which an output is no number."""
    return random.Random(0).randbytes(size_bytes).replace(b"nan", b"NAN")


@contextmanager
def sleeping_installed() -> Iterator[None]:
    """Have the runtime that sleeps as another package's, and no other package's."""
    point = EntryPoint(name=NAME, value="rigs.sleeping_runtime", group=RUNTIMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("space.plugins.entry_points", lambda group: [point] if group == RUNTIMES else [])
        plugins.cache_clear()
        yield
    plugins.cache_clear()


def measure(
    device: Device,
    store: Store,
    networks: Sequence[str] = NETWORKS,
    *,
    options: Options = SLEEPING,
    observer: Watcher | None = None,
    weight_bytes: int = SleepingModels.weight_bytes,
) -> Outcome:
    """Run a campaign of networks that sleep on any core, where the runtime is installed."""
    return short_campaigns.measure(
        device,
        store,
        options=options,
        observer=observer,
        source=SleepingModels(networks, weight_bytes),
        forked=False,  # by a process that imports what these do without
    )

"""Measure networks that a person names on a device: what `harness measure` does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.devices.config import Device
from harness.estimates.latency import LatencyTable
from harness.measurement.campaigns import run_all
from harness.measurement.plan import LEVELS, Level, Options
from harness.measurement.workload import RuntimePlan
from harness.models.exported import ExportedModels
from harness.models.names import select_models
from harness.store import Store
from harness.store.latencies import latencies
from space import find_space
from space.errors import ConfigError, did_you_mean


def measure(
    device: Device,
    models: str | Sequence[str] = "sample:20",
    *,
    store: Store,
    level: str = "screen",
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    cores: Sequence[int] = (),
    sessions: int | None = None,
    fresh: bool = False,
    space: str = "blox",
    seed: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> LatencyTable:
    """Time networks on a device, keep the raw times in a store, and return the latencies, fastest first in each runtime.

    models: `all`, `sample:N[@SEED]`, `design:K[@SEED]`, an architecture, hash or index, `file:PATH`, or `segments`, one or
    several. What is stored already is not measured again, unless `fresh`. level: `quick` (1 session a network), `screen` (3)
    or `final` (5); `sessions` gives another number. runtimes, threads and cores: of the device where nothing is given. `log` is
    given a line of progress at a time.

    A network that failed has no row; its failure is in the table's `failures`, and in the store.
    Raises: ConfigError when what is asked for does not fit; DeviceError and others when the campaign had to be given up: what
    was measured until then is stored.

    >>> table = measure(device, "conv/conv/conv", store=store, runtimes=["onnxruntime"], level="quick", sessions=1)
    >>> for row in table:
    ...     print(row.architecture, row.configuration.runtime, row.latency_ms > 0)
    conv/conv/conv onnxruntime True
    """
    config = find_space(space)
    networks = select_models([models] if isinstance(models, str) else models, config)
    options = Options(
        runtimes=tuple(runtimes),
        threads=threads,
        cores=tuple(cores),
        level=_find_level(level),
        sessions=sessions,
        fresh=fresh,
    )
    progress = _Progress(log)
    source = ExportedModels(networks, progress=progress.export, config=config)
    (outcome,) = run_all([(device, options)], source, store, progress, seed)
    if outcome.error is not None:
        raise outcome.error
    rows = [
        row
        for use in outcome.uses
        for row in latencies(
            store, use.configuration, [model.graph_hash for model in use.models if model.purpose == "network"]
        )
    ]
    return LatencyTable(rows=tuple(rows), failures=tuple(outcome.failures))


def _find_level(name: str) -> Level:
    if name not in LEVELS:
        raise ConfigError(f"no level {name!r}{did_you_mean(name, LEVELS)}; known levels: {', '.join(LEVELS)}")
    return LEVELS[name]


class _Progress:
    """An Observer that gives lines of text to a function."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._done: dict[str, int] = {}
        self._units: dict[str, int] = {}

    def state(self, device: str, text: str) -> None:
        self._log(f"{device}: {text}")

    def tell(self, device: str, text: str) -> None:
        self._log(f"{device}: {text}")

    def begin(self, device: str, units: int) -> None:
        self._units[device] = self._units.get(device, 0) + units

    def advance(self, device: str, text: str) -> None:
        self._done[device] = self._done.get(device, 0) + 1
        ended = f"{self._done[device]} of {self._units[device]} sessions"
        self._log(f"{device}: {ended}{': ' if text else ''}{text}")

    def refine(self, device: str, use: RuntimePlan, left: int) -> None:
        self._log(
            f"{device}: every network has a session in {use.configuration.runtime}, {left} sessions left"
        )

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        if done in (0, total):
            self._log(f"export {model_format}: {done} of {total} fragments")

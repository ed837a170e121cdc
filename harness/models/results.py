"""Stored latencies and failures of the devices, runtimes and networks that a person names."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.devices.config import Device
from harness.estimates.latency import Latency, LatencyTable
from harness.estimates.sustained import Sustained, sustained
from harness.models.file_names import split_names
from harness.models.names import Network, in_spaces, listed_networks, some
from harness.records import FILE_SPACE, BlockRun, Configuration, Failure
from harness.store import Store
from harness.store.configurations import ANY, ConfigurationChoice, select_configurations, several
from harness.store.latencies import latencies
from harness.store.opening import check_store
from space import Architecture
from space.selection import select_models


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Requested results: `everything`, or graph hashes of networks by space, and model files by name or pattern."""

    everything: bool
    networks: Mapping[str, Sequence[str]]
    files: Sequence[str]

    def is_of(self, configuration: Configuration) -> bool:
        """Return whether a configuration may hold any wanted result."""
        is_files = configuration.space == FILE_SPACE
        return self.everything or (bool(self.files) if is_files else configuration.space in self.networks)

    def hashes(self, configuration: Configuration) -> Sequence[str] | None:
        """Return the graph hashes wanted of a configuration, None for all that it has."""
        return self.networks.get(configuration.space)

    def has(self, one: Latency | Failure | BlockRun) -> bool:
        """Return whether a result is of a wanted network or file; of a file with any given inputs."""
        if self.everything:
            return True
        if one.configuration.space != FILE_SPACE:
            return one.graph_hash in self.networks[one.configuration.space]
        names = [name for text in self.files for name in (text, Path(text).name)]
        return any(
            one.architecture == name
            or one.architecture.startswith(f"{name} ")
            or fnmatch.fnmatch(one.architecture, name)
            for name in names
        )


def results(
    store: Store,
    *,
    device: str | Device | Sequence[str | Device] | None = None,
    runtime: str | Sequence[str] | None = None,
    models: Network | Iterable[Network] | None = None,
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    configuration: str = "",
    devices_file: str | Path | None = None,
) -> LatencyTable:
    """Return stored latencies with 95 % intervals, those of a configuration together, fastest first; and what failed.

    Without arguments it is all that is stored. `device`, `runtime` and `models` take one or several: devices by name, pattern
    or group of `devices_file`, models as for `measure`, files by name or pattern. `threads`, `precision` (fp32, fp16 or
    int8), `batch` (images of a run) and the id of a `configuration` narrow the choice.
    Raises: ConfigError for a device of which nothing is stored, an unknown runtime, precision or id, names of no network, or an
    empty list.

    >>> table = results(store, device="made-up", runtime="onnxruntime")
    >>> row = table[0]
    >>> row.interval_ms[0] < row.latency_ms < row.interval_ms[1], row.grade in "ABCD"
    (True, True)
    """
    check_store(store)
    named = some("models", models)
    spaces = {one.config.name if isinstance(one, Architecture) else "" for one in named}
    choice = ConfigurationChoice(
        device=device if isinstance(device, str | Device) else some("device", device),
        runtime=runtime if isinstance(runtime, str) else some("runtime", runtime),
        threads=threads,
        precision=precision,
        batch=batch,
        configuration=configuration,
        space=spaces.pop() if len(spaces) == 1 else "",
        devices_file=devices_file,
    )
    return stored_latencies(store, choice, listed_networks(named))


def stored_latencies(
    store: Store, choice: ConfigurationChoice = ANY, models: str | Sequence[str] = ()
) -> LatencyTable:
    """Return the stored latencies of the configurations that fit, as `results` does, with its models and errors."""
    chosen, wanted = _selected(store, choice, several(models))
    rows = (row for c in chosen for row in latencies(store, c, wanted.hashes(c)))
    return LatencyTable(
        rows=tuple(row for row in rows if wanted.has(row)), failures=tuple(_failures(store, chosen, wanted))
    )


def sustained_runs(
    store: Store, choice: ConfigurationChoice = ANY, models: str | Sequence[str] = ()
) -> list[Sustained]:
    """Return the runs under load that are stored, oldest first; models and errors as for `results`.

    >>> sustained_runs(store)
    []
    """
    chosen, wanted = _selected(store, choice, several(models))
    runs = (run for c in chosen for run in store.block_runs(c, "sustained") if wanted.has(run))
    return [sustained(run) for run in sorted(runs, key=lambda run: run.started_utc)]


def failures(
    store: Store, choice: ConfigurationChoice = ANY, models: str | Sequence[str] = ()
) -> list[Failure]:
    """Return the failures under the configurations that fit, oldest first; models and errors as for `results`.

    >>> failures(store)
    []
    """
    return _failures(store, *_selected(store, choice, several(models)))


def _selected(
    store: Store, choice: ConfigurationChoice, named: Sequence[str]
) -> tuple[list[Configuration], _Wanted]:
    """Return the configurations that fit, and what is wanted of them."""
    networks, files = split_names(named)
    found = in_spaces(lambda config: select_models(networks, config)) if networks else {}
    wanted = _Wanted(
        everything=not named,
        networks={space: [one.graph_hash for one in some] for space, some in found.items()},
        files=tuple(files),
    )
    return [c for c in select_configurations(store, choice) if wanted.is_of(c)], wanted


def _failures(store: Store, chosen: Sequence[Configuration], wanted: _Wanted) -> list[Failure]:
    return [one for one in store.failures() if one.configuration in chosen and wanted.has(one)]

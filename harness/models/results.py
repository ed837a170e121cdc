"""What is stored of devices, runtimes and networks that a person names: latencies, and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.estimates.latency import LatencyTable
from harness.models.names import in_spaces, select_architectures
from harness.records import Configuration, Failure
from harness.store import Store
from harness.store.configurations import select_configurations
from harness.store.latencies import latencies


def results(
    store: Store,
    *,
    device: str | Sequence[str] = (),
    runtime: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
    threads: int | None = None,
    configuration: str = "",
    devices_file: str | Path | None = None,
) -> LatencyTable:
    """Return stored latencies with 95 % intervals, those of a configuration together, fastest first; and what failed.

    device, runtime, models: one or several, or all where nothing is given; devices by name, pattern or group of `devices_file`,
    models as for `measure`. `configuration`: an id.
    Raises: ConfigError for a device of which nothing is stored, an unknown runtime or id, or names of no network.

    >>> table = results(store, device="made-up", runtime="onnxruntime")
    >>> row = table[0]
    >>> row.interval_ms[0] < row.latency_ms < row.interval_ms[1], row.grade in "ABCD"
    (True, True)
    """
    chosen, wanted = _selected(store, device, runtime, models, threads, configuration, devices_file)
    rows = [row for c in chosen for row in latencies(store, c, None if wanted is None else wanted[c.space])]
    return LatencyTable(rows=tuple(rows), failures=tuple(_failures(store, chosen, wanted)))


def failures(
    store: Store,
    *,
    device: str | Sequence[str] = (),
    runtime: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
    threads: int | None = None,
    configuration: str = "",
    devices_file: str | Path | None = None,
) -> list[Failure]:
    """Return what failed, oldest first; what is asked for, and raised, as for `results`.

    >>> failures(store, device="made-up")
    []
    """
    return _failures(store, *_selected(store, device, runtime, models, threads, configuration, devices_file))


def _selected(
    store: Store,
    device: str | Sequence[str],
    runtime: str | Sequence[str],
    models: str | Sequence[str],
    threads: int | None,
    identifier: str,
    devices_file: str | Path | None,
) -> tuple[list[Configuration], Mapping[str, list[str]] | None]:
    """Return the configurations that fit, and the graph hashes of named networks by space, None where none is named."""
    named = _several(models)
    found = in_spaces(lambda config: select_architectures(named, config)) if named else None
    wanted = (
        None if found is None else {space: [one.graph_hash for one in some] for space, some in found.items()}
    )
    configurations = select_configurations(
        store,
        devices=_several(device),
        runtimes=_several(runtime),
        threads=threads,
        identifier=identifier,
        devices_file=devices_file,
    )
    return [c for c in configurations if wanted is None or c.space in wanted], wanted


def _failures(
    store: Store, chosen: Sequence[Configuration], wanted: Mapping[str, list[str]] | None
) -> list[Failure]:
    return [
        failure
        for failure in store.failures()
        if failure.configuration in chosen
        and (wanted is None or failure.graph_hash in wanted[failure.configuration.space])
    ]


def _several(given: str | Sequence[str]) -> list[str]:
    """Return what was given as a list: of nothing, one or several."""
    return ([given] if given else []) if isinstance(given, str) else list(given)

"""What is stored of devices, runtimes and networks that a person names: latencies, and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.estimates.latency import LatencyTable
from harness.models.names import in_spaces, select_architectures
from harness.records import Configuration, Failure
from harness.store import Store
from harness.store.configurations import ANY, ConfigurationChoice, select_configurations, several
from harness.store.latencies import latencies


def results(
    store: Store,
    *,
    device: str | Sequence[str] = (),
    runtime: str | Sequence[str] = (),
    models: str | Sequence[str] = (),
    threads: int | None = None,
    precision: str = "",
    configuration: str = "",
    devices_file: str | Path | None = None,
) -> LatencyTable:
    """Return stored latencies with 95 % intervals, those of a configuration together, fastest first; and what failed.

    device, runtime, models: one or several, or all where nothing is given; devices by name, pattern or group of `devices_file`,
    models as for `measure`. `precision`: fp32, fp16 or int8. `configuration`: an id.
    Raises: ConfigError for a device of which nothing is stored, an unknown runtime, precision or id, or names of no network.

    >>> table = results(store, device="made-up", runtime="onnxruntime")
    >>> row = table[0]
    >>> row.interval_ms[0] < row.latency_ms < row.interval_ms[1], row.grade in "ABCD"
    (True, True)
    """
    choice = ConfigurationChoice(
        device=device,
        runtime=runtime,
        threads=threads,
        precision=precision,
        configuration=configuration,
        devices_file=devices_file,
    )
    chosen, wanted = _selected(store, choice, several(models))
    rows = [row for c in chosen for row in latencies(store, c, None if wanted is None else wanted[c.space])]
    return LatencyTable(rows=tuple(rows), failures=tuple(_failures(store, chosen, wanted)))


def failures(
    store: Store, choice: ConfigurationChoice = ANY, models: str | Sequence[str] = ()
) -> list[Failure]:
    """Return what failed under the configurations that fit, oldest first; models, and what is raised, as for `results`.

    >>> failures(store)
    []
    """
    return _failures(store, *_selected(store, choice, several(models)))


def _selected(
    store: Store, choice: ConfigurationChoice, named: Sequence[str]
) -> tuple[list[Configuration], Mapping[str, list[str]] | None]:
    """Return the configurations that fit, and the graph hashes of named networks by space, None where none is named."""
    found = in_spaces(lambda config: select_architectures(named, config)) if named else None
    wanted = (
        None if found is None else {space: [one.graph_hash for one in some] for space, some in found.items()}
    )
    configurations = select_configurations(store, choice)
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

"""Finished networks on devices: the very model of the trained weights is measured, at level final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.campaigns import run_all, summarise
from harness.commands.verify import final_options, turns
from harness.models.trained import PURPOSE, Finished, FinishedModels
from harness.records import Configuration
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.estimates.latency import Latency


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

"""Energy of an inference as a cost of networks: measured by the device's own sensor, and never predicted."""

from __future__ import annotations

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.estimates.energy import Energy, newest_energy
from harness.prediction.provenance import Provenance, provenance_of
from harness.prediction.space_prediction import space_of
from harness.query.latencies import LatencySource
from harness.records import BlockRun, Configuration
from harness.store import Store
from harness.store.configurations import measure_command
from search.table import Cost
from search.table.constraints import FRESH
from space import Architecture
from space.errors import ConfigError


def energy_cost(
    store: Store, name: str, configuration: Configuration, latencies: LatencySource
) -> tuple[Cost, Provenance]:
    """Return the energy of an inference in mJ, with what the device takes at rest; NaN of networks that were not measured.

    Intervals hold with 95 %, whatever coverage latencies are asked for. What is in part another program's counts with --doubtful
    alone. Raises: ConfigError where nothing is measured.
    """
    config = space_of(configuration)
    by_network: dict[str, list[BlockRun]] = {}
    for run in store.block_runs(configuration, "energy"):
        by_network.setdefault(run.architecture, []).append(run)
    told = {network: energy for network, runs in by_network.items() if (energy := newest_energy(runs))}
    found = {
        network: energy for network, energy in told.items() if latencies.doubtful or not energy.is_doubtful
    }
    if not found:
        left_out = (
            f" ({len(told)} measured while other cores were busy: --doubtful takes them in)" if told else ""
        )
        raise ConfigError(
            f"{name}: no energy is measured on device {configuration.device!r} in {configuration.runtime}{left_out}; measure it: "
            f"{measure_command(configuration)} --energy --models design:1"
        )
    values, low, high = (np.full(len(config), np.nan) for _ in range(3))
    for network, energy in found.items():
        index = Architecture.parse(network, config).index
        total = energy.total
        values[index], low[index], high[index] = total.value, total.low, total.high
    newest = max(found.values(), key=lambda energy: energy.measured_utc)
    cost = Cost(
        name=name,
        unit=FRESH["energy"],
        title=f"energy of an inference on {configuration.device} ({configuration.runtime}; {newest.scope})",
        values=values,
        low=low,
        high=high,
        coverage=0.95,
        measured=~np.isnan(values),
        supported=np.ones(len(config), dtype=np.bool_),
    )
    return cost, provenance_of(configuration, _about(found, newest))


def _about(found: dict[str, Energy], newest: Energy) -> dict[str, object]:
    return {
        "measured": len(found),
        "predicted": 0,
        "grades": {},
        "predictor": None,
        "error": None,
        "conditions": {},
        "measured_utc": newest.measured_utc,
        "doubtful": Doubtful().to_json(),
        "repeatability": None,
    }
